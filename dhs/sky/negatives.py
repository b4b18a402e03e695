"""Classes of negatives from catalogue columns: which rule, if any, takes a galaxy.

The rules are proxies. Tractor fits smooth profiles, so a ring is only seen as a flat or hollow core (SERSIC < 0.8), a
spiral as a large or blue disc. Their purity is not known: look at cutouts, or bring votes (dhs.sky.morphology).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dhs.config.targets import CatalogueRule

SERSIC_OF_TYPE = {"EXP": 1.0, "REX": 1.0, "DEV": 4.0}
"""Sersic index that a Tractor type stands for; SER has its own column."""


@dataclass(frozen=True)
class Appearance:
    """What rules look at, (N,) each: magnitudes AB (NaN: no positive flux), sizes in arcsec."""

    type: np.ndarray
    g_mag: np.ndarray
    r_mag: np.ndarray
    shape_r_arcsec: np.ndarray
    axis_ratio: np.ndarray
    sersic: np.ndarray


def first_rule(galaxies: Appearance, *, rules: Sequence[CatalogueRule]) -> np.ndarray:
    """(N,) int: index of the first rule that holds for each galaxy, -1 where none does."""
    chosen = np.full(len(galaxies.type), -1)
    for index, rule in enumerate(rules):
        chosen[(chosen < 0) & holds(galaxies, rule=rule)] = index
    return chosen


def holds(galaxies: Appearance, *, rule: CatalogueRule) -> np.ndarray:
    """(N,) bool: every given threshold holds; an unknown value (NaN) fails its threshold."""
    result = np.isin(galaxies.type, rule.types)
    for values, low, high in (
        (galaxies.r_mag, None, rule.r_mag_max),
        (galaxies.g_mag - galaxies.r_mag, None, rule.g_r_max),
        (galaxies.shape_r_arcsec, rule.shape_r_min_arcsec, None),
        (galaxies.axis_ratio, rule.axis_ratio_min, rule.axis_ratio_max),
        (galaxies.sersic, None, rule.sersic_max),
    ):
        if low is not None:
            result &= values >= low
        if high is not None:
            result &= values <= high
    return result


def sersic_index(tractor_type: np.ndarray, sersic_column: np.ndarray) -> np.ndarray:
    """(N,) float32 Sersic index: the fitted one of SER, that of the profile for the other types."""
    index = np.asarray(sersic_column, np.float32).copy()
    for name, value in SERSIC_OF_TYPE.items():
        index[tractor_type == name] = value
    return index
