"""Completeness over one quantity: arc S/N, source magnitude, lens magnitude.

The injections of a bin carry the weights of `natural.injection_weights`, so a curve speaks of nature's Einstein radii
and the test sky's conditions, not of the grid, whose cells all have as many injections. The interval is Wilson's with
the effective number of the weights and of the hosts (`clusters.effective_number`).
"""

from dataclasses import dataclass

import numpy as np

from dhs.evaluate.selection.clusters import effective_number, wilson


@dataclass(frozen=True)
class Curve:
    """Completeness in B bins of one quantity; NaN in a bin without injections."""

    edges: np.ndarray
    """(B + 1,)"""
    n: np.ndarray
    """(B,) int64 injections."""
    n_effective: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_outside: int
    """Injections beyond the first or last edge, or without a value: in no bin."""
    share_outside: float
    """Of the weight: of nature's lenses."""


def completeness_curve(
    values: np.ndarray,
    *,
    edges: np.ndarray,
    found: np.ndarray,
    weight: np.ndarray,
    host: np.ndarray,
    rho: float,
) -> Curve:
    """Weighted share of (N,) bool ``found`` in bins [edge, next edge) of (N,) ``values``."""
    n_bins = len(edges) - 1
    bins = np.searchsorted(edges, values, side="right") - 1
    inside = (values >= edges[0]) & (values < edges[-1])  # False for NaN too
    groups, w = bins[inside], weight[inside]
    total = np.bincount(groups, weights=w, minlength=n_bins)
    hit = np.bincount(groups, weights=w * found[inside], minlength=n_bins)
    value = np.divide(hit, total, out=np.full(n_bins, np.nan), where=total > 0)
    value = np.clip(value, 0.0, 1.0)  # sums of weights round
    n_effective = effective_number(groups, n_groups=n_bins, weight=w, host=host[inside], rho=rho)
    low, high = wilson(value, n=n_effective)
    return Curve(
        edges=edges,
        n=np.bincount(groups, minlength=n_bins),
        n_effective=n_effective,
        value=value,
        low=low,
        high=high,
        n_outside=int((~inside).sum()),
        share_outside=float(weight[~inside].sum() / weight.sum()),
    )
