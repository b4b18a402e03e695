"""Class weights that cannot do what they say are one line before the first step."""

import dataclasses

import numpy as np
import pytest

from dhs.config.root import TrainConfig
from dhs.constants import CLASSES
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.train.class_check import require_weighted_classes


@pytest.fixture
def only_lrg(small_config, monkeypatch):
    """A sky of luminous red galaxies, and the configuration."""

    def make(*overrides: str) -> tuple[TrainConfig, Injector]:
        config = small_config(*overrides)
        sky = build_injector(config).cutouts
        sky = sky.take(np.flatnonzero(sky.kind == CLASSES.index("lrg")))
        monkeypatch.setattr("dhs.inject.build.load_sky", lambda *_, **__: dataclasses.replace(sky))
        return config, build_injector(config)

    return make


def test_a_weight_for_a_class_that_the_sky_has_not_is_refused(only_lrg):
    config, injector = only_lrg("loss.class_weights.ring=3")
    with pytest.raises(ValueError, match=r"loss\.class_weights\.ring = 3: the training sky has no ring .*\d+ lrg\)"):
        require_weighted_classes(injector, loss=config.loss)


def test_weights_that_sum_to_nothing_on_this_sky_are_refused(only_lrg):
    config, injector = only_lrg("loss.class_weights.lrg=0")
    with pytest.raises(ValueError, match=r"sum to nothing \(\d+ lrg\)"):
        require_weighted_classes(injector, loss=config.loss)


def test_weights_of_classes_that_are_there_pass(small_config):
    config = small_config("loss.class_weights.lrg=0.5", "loss.class_weights.edge_on=0")
    require_weighted_classes(build_injector(config), loss=config.loss)
