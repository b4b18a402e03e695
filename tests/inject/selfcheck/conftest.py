"""One small physics for all tests of the self-check."""

from collections.abc import Callable, Iterator

import pytest
import torch

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.selfcheck.physics import Physics, load_physics


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the command runs: batches are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_physics(cache_dir) -> Callable[..., Physics]:
    """``make_physics("psf=gaussian", ...)``: the physics of a configuration, on the session's mock sky."""

    def make(*overrides: str, n_reference: int = 4) -> Physics:
        config = compose_job(
            "inject", ["task=selfcheck", f"paths.cache_dir={cache_dir}", *overrides], schema=InjectRoot
        )
        return load_physics(config, max_galaxies=256, n_stamps=24, n_reference=n_reference)

    return make
