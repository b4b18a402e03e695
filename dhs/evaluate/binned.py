"""Rates in bins at one stated threshold: recall over theta_E/seeing and arc S/N, false positives per class.

Every cell carries its counts and interval, and an empty cell says so: 0 of 0 is not 0%.
"""

from dataclasses import dataclass

import numpy as np

from dhs.constants import CLASSES
from dhs.evaluate.intervals import Estimate, Method, proportion

THETA_E_OVER_PSF_EDGES = (0.0, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0, np.inf)
"""theta_E / FWHM_r; 1.2 is the edge of "visible" (Rojas+2023)."""

ARC_SNR_SUM_EDGES = (0.0, 10.0, 25.0, 50.0, 100.0, 200.0, np.inf)
"""Integrated arc S/N in the best band; 10 is the training acceptance's default, 25 the visible cut."""


@dataclass(frozen=True)
class Cell:
    """One bin or class: its name and the rate in it."""

    name: str
    rate: Estimate


def recall_by_bins(logit: np.ndarray, *, values: np.ndarray, edges: tuple[float, ...], threshold: float) -> list[Cell]:
    """Recall of positives (N,) in bins of ``values`` [edge, next edge), Wilson intervals.

    Raises ValueError when a value lies below the first edge or is NaN: it would be left out unseen.
    """
    if outside := np.count_nonzero(~((values >= edges[0]) & (values < edges[-1]))):
        raise ValueError(f"{outside} of {len(values)} values lie outside [{edges[0]}, {edges[-1]}): widen the edges")
    which = np.digitize(values, edges) - 1
    names = [_bin_name(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return [
        Cell(name, _rate(logit[which == i], threshold=threshold, method="wilson", empty="no lenses in this bin"))
        for i, name in enumerate(names)
    ]


def fpr_by_class(logit: np.ndarray, *, kind: np.ndarray, threshold: float) -> list[Cell]:
    """False-positive rate of negatives (N,) of every class in constants.CLASSES, Clopper-Pearson intervals."""
    return [
        Cell(
            name,
            _rate(
                logit[kind == name], threshold=threshold, method="clopper-pearson", empty="no negatives of this class"
            ),
        )
        for name in CLASSES
    ]


def _rate(logit: np.ndarray, *, threshold: float, method: Method, empty: str) -> Estimate:
    k = int((logit > threshold).sum())
    return proportion(k, n=len(logit), method=method, note="" if len(logit) else empty)


def _bin_name(low: float, high: float) -> str:
    return f">= {low:g}" if np.isinf(high) else f"{low:g} - {high:g}"
