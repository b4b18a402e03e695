"""A source of a size that a design asks for, from a source whose galaxies have the sizes they have.

A bank cannot draw a galaxy of 0.15 arcsec to order. Of those within ``tolerance`` of the size asked for one is chosen
by its weight, so that a cell of a grid has many morphologies; where there are fewer than ``n_neighbours`` of them, the
``n_neighbours`` nearest in size (as a ratio) stand in, and the summary says how far off they are. Templates are never
rescaled: that would invent galaxies of another surface brightness, and blur or sharpen their noise and PSF.
"""

from typing import Any

import numpy as np

from dhs.source.base import Source
from dhs.source.mixture import MixtureSourceBank

CHUNK = 4096
"""Sources whose size is asked for at once."""


class SourceSizes:
    """The half-light radii of a source, and choices by them."""

    def __init__(self, source: Source, *, tolerance: float, n_neighbours: int) -> None:
        self._tolerance = tolerance
        self._n_neighbours = min(n_neighbours, source.n_sources)
        self.hlr_arcsec = all_sizes(source)
        """(n_sources,) float32, by index."""
        self._weight = source_weights(source)
        self._order = np.argsort(self.hlr_arcsec, kind="stable")
        self._log_sorted = np.log(self.hlr_arcsec[self._order].astype(np.float64))

    def choose(self, u: np.ndarray, *, asked_arcsec: np.ndarray) -> np.ndarray:
        """(P,) int64 source indices for (P,) uniforms in [0, 1) and sizes."""
        chosen = np.empty(len(u), np.int64)
        for size in np.unique(asked_arcsec):
            mine = asked_arcsec == size
            alike = self.alike(float(size))
            upper = np.cumsum(self._weight[alike])
            chosen[mine] = alike[np.minimum(np.searchsorted(upper, u[mine] * upper[-1], side="right"), len(alike) - 1)]
        return chosen

    def alike(self, asked_arcsec: float) -> np.ndarray:
        """Indices of the sources that serve for this size."""
        wanted = np.log(asked_arcsec)
        first, last = np.searchsorted(self._log_sorted, wanted + np.log1p([-self._tolerance, self._tolerance]))
        if last - first >= self._n_neighbours:
            return self._order[first:last]
        nearest = np.argsort(np.abs(self._log_sorted - wanted), kind="stable")[: self._n_neighbours]
        return self._order[np.sort(nearest)]

    def report(self, asked_arcsec: float) -> dict[str, Any]:
        """What is given for a size: numbers for the summary."""
        sizes = self.hlr_arcsec[self.alike(asked_arcsec)].astype(np.float64)
        within = np.abs(sizes / asked_arcsec - 1) <= self._tolerance
        return {
            "asked_arcsec": asked_arcsec,
            "median_arcsec": float(np.median(sizes)),
            "low_arcsec": float(sizes.min()),
            "high_arcsec": float(sizes.max()),
            "n_sources": len(sizes),
            "share_within_tolerance": float(within.mean()),
        }


def all_sizes(source: Source) -> np.ndarray:
    """(n_sources,) float32 half-light radii."""
    parts = [
        source.half_light_radius_arcsec(np.arange(start, min(start + CHUNK, source.n_sources)))
        for start in range(0, source.n_sources, CHUNK)
    ]
    return np.concatenate(parts).astype(np.float32)


def source_weights(source: Source) -> np.ndarray:
    """(n_sources,) chance of each source under `Source.choose`, up to a constant."""
    if not isinstance(source, MixtureSourceBank):
        return np.ones(source.n_sources)
    parts = zip(source.sources, source.weights, strict=True)
    return np.concatenate([np.full(part.n_sources, weight / part.n_sources) for part, weight in parts])
