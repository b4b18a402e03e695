"""Class weights against the sky, before the first step: a weight for galaxies that are not there weighs nothing."""

import numpy as np

from dhs.config.network import LossConfig
from dhs.constants import CLASSES
from dhs.inject.injector import Injector
from dhs.inject.supply import StampSupply


def require_weighted_classes(supply: StampSupply, *, loss: LossConfig) -> None:
    """ValueError where a class that was given a weight has no negative to train on, or those there are weigh nothing.

    A weight of 1 is what every class has, one of 0 asks for nothing.
    """
    kinds = supply.cutouts.kind
    if isinstance(supply, Injector):
        kinds = kinds[supply.mix.drawn_negatives]
    counts = dict(zip(CLASSES, np.bincount(kinds, minlength=len(CLASSES)), strict=True))
    there = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    for name, weight in loss.class_weights.items():
        if weight not in (0, 1) and counts[name] == 0:
            raise ValueError(
                f"loss.class_weights.{name} = {weight:g}: the training sky has no {name} (its negatives: {there}); set "
                "it to 1, or give a sky that has some"
            )
    if sum(loss.class_weights.get(name, 1.0) for name, count in counts.items() if count) == 0:
        raise ValueError(
            f"loss.class_weights: the weights of the negatives that the training sky has sum to nothing ({there}); "
            "raise one"
        )
