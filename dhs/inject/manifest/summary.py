"""What a manifest holds, in numbers: gathered block by block, written as JSON beside it (printed by `console`).

Percentiles come from histograms of fixed fine bins (their width is the error), so that memory does not grow with rows.
"""

from typing import Any

import numpy as np

from dhs.config.colour import PLAUSIBLE_R_MAG
from dhs.config.manifest import StampEstimate
from dhs.constants import BANDS
from dhs.inject.manifest.design import Design
from dhs.inject.manifest.draw import Drawn
from dhs.inject.manifest.plan import Plan

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

RANGES: dict[str, tuple[float, float, float]] = {
    "theta_e_arcsec": (0.0, 6.5, 0.001),
    "source_r_mag": (10.0, 40.0, 0.005),
    "psf_fwhm_r_arcsec": (0.0, 6.5, 0.001),
    "theta_e_over_psf_r": (0.0, 20.0, 0.002),
}
"""Quantity: lowest, highest, width of a bin."""

MAX_LISTED = 1000
"""Empty cells that the JSON lists by number."""


class Histogram:
    """Counts of one quantity in bins of fixed width; values beyond the ends fall into the last bin there."""

    def __init__(self, low: float, high: float, width: float) -> None:
        self._low, self._width = low, width
        self._counts = np.zeros(round((high - low) / width), np.int64)

    def add(self, values: np.ndarray) -> None:
        place = np.clip(((values - self._low) / self._width).astype(np.int64), 0, len(self._counts) - 1)
        self._counts += np.bincount(place, minlength=len(self._counts))

    def percentile(self, percent: float) -> float | None:
        """Middle of the bin that holds it; None without values."""
        total = int(self._counts.sum())
        if total == 0:
            return None
        place = int(np.searchsorted(np.cumsum(self._counts), percent / 100 * total))
        return self._low + (min(place, len(self._counts) - 1) + 0.5) * self._width


class SplitSummary:
    """Counts of one split."""

    def __init__(self, plan: Plan, *, design: Design) -> None:
        self._plan, self._design = plan, design
        self._histograms = {name: Histogram(*limits) for name, limits in RANGES.items()}
        self._cells = np.zeros(plan.n_cells, np.int64)
        self._n_injected = self._n_bright = self._n_reused = 0

    def add(self, drawn: Drawn) -> None:
        """A block of rows."""
        where = drawn.rows.injected
        recipes = drawn.recipes.take(where)
        r = BANDS.index("r")
        self._n_injected += len(recipes)
        self._n_bright += int((recipes.source_mag[:, r] < PLAUSIBLE_R_MAG).sum())
        self._cells += np.bincount(drawn.rows.cell[where], minlength=len(self._cells))
        psf = recipes.psf_fwhm_arcsec[:, r].astype(np.float64)
        self._histograms["theta_e_arcsec"].add(recipes.theta_e_arcsec)
        self._histograms["source_r_mag"].add(recipes.source_mag[:, r])
        self._histograms["psf_fwhm_r_arcsec"].add(psf)
        self._histograms["theta_e_over_psf_r"].add(recipes.theta_e_arcsec / psf)

    def numbers(self) -> dict[str, Any]:
        empty = np.flatnonzero(self._cells == 0)
        hosts = self._cells if self._plan.cell_hosts is None else self._plan.cell_hosts
        reused = np.flatnonzero(hosts < self._cells)
        return {
            "rows": self._plan.n_rows,
            "injected": self._n_injected,
            "controls": self._plan.n_rows - self._n_injected,
            "galaxies": len(self._plan.galaxies),
            "injected_brighter_than_plausible": self._n_bright,
            "percentiles": {
                name: {str(percent): histogram.percentile(percent) for percent in PERCENTILES}
                for name, histogram in self._histograms.items()
            },
            "cells": {
                "filled": int((self._cells > 0).sum()),
                "empty": len(empty),
                "empty_cells": empty[:MAX_LISTED].tolist(),
                "hosts_reused": len(reused),
                "hosts_reused_cells": reused[:MAX_LISTED].tolist(),
            },
            "hosts_by_condition": hosts_by_condition(hosts, design=self._design),
        }


def hosts_by_condition(cell_hosts: np.ndarray, *, design: Design) -> list[dict[str, Any]]:
    """Hosts in each combination of the design's intervals of seeing and depth; nothing where it has none."""
    axes = [axis for axis in design.axes if axis.of_host]
    if not axes:
        return []
    others = tuple(i for i, axis in enumerate(design.axes) if not axis.of_host)
    counts = cell_hosts.reshape(design.shape).max(axis=others)
    return [
        {axis.name: [float(axis.low[i]), float(axis.high[i])] for axis, i in zip(axes, place, strict=True)}
        | {"hosts": int(counts[place])}
        for place in np.ndindex(*counts.shape)
    ]


def expectation(n_rows: int, estimate: StampEstimate) -> dict[str, float]:
    """Size and time of the stamps under the stated assumptions."""
    return {
        "bytes": n_rows * estimate.bytes_per_stamp,
        "seconds": n_rows / (estimate.stamps_per_s_per_core * estimate.cores),
        "assumed_bytes_per_stamp": estimate.bytes_per_stamp,
        "assumed_stamps_per_s_per_core": estimate.stamps_per_s_per_core,
        "assumed_cores": estimate.cores,
    }
