"""A finder whose law is known: the chance to find an arc is a function of its true S/N."""

import numpy as np
import pyarrow as pa

from dhs.evaluate.selection.analysis import injections_of
from dhs.evaluate.selection.cells import Injections
from dhs.evaluate.selection.grid import SelectionGrid
from dhs.evaluate.selection.items import SelectionItems
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies

HALF_FOUND_SNR, STEEPNESS = 15.0, 2.5


class SnrFinder:
    """`dhs.train.finder.Finder`: logit = steepness ln(S/N / 15) + logistic noise that hangs on the stamp's key."""

    config = None

    def maker(self, cutouts: Galaxies):
        return _snr_and_noise

    def logits(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(batch)


def _snr_and_noise(stamps: StampBatch) -> np.ndarray:
    draws = [np.random.default_rng([7, abs(int(key))]).random() for key in stamps.recipes.key[:, 3]]
    u = np.array(draws)
    snr = np.nan_to_num(stamps.arc_snr_sum.max(axis=1), nan=1.0)  # controls have none: they pass for faint arcs
    return law_logit(snr) + np.log(u / (1 - u))


def law_logit(snr: np.ndarray) -> np.ndarray:
    return STEEPNESS * np.log(np.maximum(snr, 1e-3) / HALF_FOUND_SNR)


def scored(items: SelectionItems) -> tuple[pa.Table, np.ndarray]:
    """The table of scores of ``items`` by `SnrFinder`, and (N,) the chance of each to be found."""
    finder, index = SnrFinder(), np.arange(len(items))
    stamps = items.stamps(index)
    columns = items.columns(stamps, index)
    logit = finder.logits(finder.maker(items.cutouts)(stamps))
    return pa.table(columns | {"logit": logit}), 1 / (1 + np.exp(-law_logit(columns["arc_snr_sum"].astype(float))))


def injections_from(table: pa.Table, *, grid: SelectionGrid) -> Injections:
    return injections_of(table, grid=grid)
