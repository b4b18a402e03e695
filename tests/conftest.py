"""Fixtures shared by all tests: a small mock sky drawn once a session, and configurations on top of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dhs.config.cli import compose_job
from dhs.config.root import TrainConfig

REPO = Path(__file__).resolve().parents[1]

SMALL = [
    "debug=fast",
    "max_galaxies=256",
    "inject.n_val_positives=24",
    "inject.n_test_positives=32",
    "trainer.num_workers=0",
    "trainer.threads=1",
    "trainer.batch_size=16",
    "inject.samples_per_epoch=96",
    "model.backbone=test_resnet",
    "model.backbone_kwargs={}",
    "evaluate.bootstrap_resamples=100",
    "logger.n_worst=0",
    "logger.images_every_epochs=0",
]
"""Overrides that make a run small enough for a test."""


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sky for all tests of the session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout (or in $DHS_SHARED_DATA); skips where absent."""
    path = Path(os.environ.get("DHS_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no shared data at {path}; set DHS_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def small_config(cache_dir: Path) -> Callable[..., TrainConfig]:
    """``small_config("loss=focal", ...)``: a validated TrainConfig of a small run."""

    def make(*overrides: str) -> TrainConfig:
        return compose_job("train", [*SMALL, f"paths.cache_dir={cache_dir}", *overrides], schema=TrainConfig)

    return make
