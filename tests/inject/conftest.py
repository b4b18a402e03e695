"""One small injector for the tests of this folder."""

import pytest

from dhs.inject.build import build_injector
from dhs.inject.injector import Injector


@pytest.fixture(scope="session")
def small_injector(small_config) -> Injector:
    return build_injector(small_config())
