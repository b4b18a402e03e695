"""A small sky of many hosts, with bright wide arcs: enough visible lenses for the gates in a second."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dhs.config.cli import compose_job
from dhs.config.root import TrainConfig
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector

SKY = (
    "debug=fast",
    "max_galaxies=null",
    "sky.n_galaxies=320",
    "sky.class_weights={lrg: 1.0}",
    "sky.num_processes=1",
    "sky.split.train=0.35",
    "sky.split.val=0.05",
    "sky.split.test=0.6",
    "sky.neighbour_density_arcmin2=0",
    "sky.star_density_arcmin2=0",
    "inject.controls=paired",
    "source=sersic",
    "preprocess=annulus",
)
BRIGHT = ("lens.theta_e_arcsec.low=1.5", "colour.r_mag={low: 22.0, high: 24.0}")
INVISIBLE = ("colour.r_mag={low: 25.5, high: 26.0}", "inject.acceptance={min_arc_snr_sum: 0, min_magnification: 0}")


@pytest.fixture(scope="session")
def gate_config(cache_dir: Path) -> Callable[..., TrainConfig]:
    def make(*overrides: str) -> TrainConfig:
        return compose_job("train", [*SKY, f"paths.cache_dir={cache_dir}", *overrides], schema=TrainConfig)

    return make


@pytest.fixture(scope="session")
def bright(gate_config) -> Injector:
    """Visible arcs in colours of a population."""
    return build_injector(gate_config(*BRIGHT))


@pytest.fixture(scope="session")
def natural(gate_config) -> Injector:
    """Arcs as the priors give them, most of them faint; none so wide that its light reaches the outer ring."""
    return build_injector(gate_config("lens.theta_e_arcsec.high=1.5"))


@pytest.fixture(scope="session")
def one_coloured(gate_config) -> Injector:
    """Visible arcs of the seeds' one colour."""
    return build_injector(gate_config(*BRIGHT, "colour=seed_sed"))


@pytest.fixture(scope="session")
def invisible(gate_config) -> Injector:
    """Arcs that nobody sees: what a finder learns of them is something else."""
    return build_injector(gate_config(*INVISIBLE))
