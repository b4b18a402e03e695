"""Shared by the tests of dhs.sky: a mock configuration, a drawn set, the shared data folder."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dhs.config.sky import ClassWeights, MockSky, SplitConfig
from dhs.sky.cutouts import CutoutSet
from dhs.sky.mock_cache import load_mock_sky


def make_config(n_galaxies: int = 256, **changes: object) -> MockSky:
    base: dict[str, object] = {
        "name": "mock",
        "n_galaxies": n_galaxies,
        "seed": 11,
        "class_weights": ClassWeights(),
        "num_processes": 1,
        "split": SplitConfig(),
    }
    return MockSky.model_validate({**base, **changes})


@pytest.fixture(scope="session")
def mock_config() -> Callable[..., MockSky]:
    return make_config


@pytest.fixture(scope="session")
def mock_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mock")


@pytest.fixture(scope="session")
def mock_set(mock_cache: Path) -> CutoutSet:
    """512 galaxies of every class, drawn by one process."""
    return load_mock_sky(make_config(512), cache_dir=mock_cache)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("DHS_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"shared data not found at {folder} (set DHS_SHARED_DATA)")
    return folder
