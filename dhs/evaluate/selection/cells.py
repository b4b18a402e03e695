"""Counts of found injections -> completeness of every cell, with its interval. Arrays in, arrays out."""

from dataclasses import dataclass

import numpy as np

from dhs.evaluate.selection.clusters import Z, effective_number, intraclass_correlation, wilson
from dhs.evaluate.selection.grid import SelectionGrid


@dataclass(frozen=True)
class Injections:
    """N scored injections of a grid: what the scores' table holds, and nothing of the network."""

    grid: SelectionGrid
    cell: np.ndarray
    """(N,) int64, row by row of the grid."""
    host: np.ndarray
    """(N,) target_id of the galaxy."""
    hosts_available: np.ndarray
    """(N,) int64: galaxies of the test sky whose conditions lie in the cell, used or not."""
    hosts_of_sky: int
    """Lens galaxies of the test sky, inside the grid or not."""
    logit: np.ndarray
    """(N,) float64."""
    arc_snr_sum: np.ndarray
    """(N,) of the best band."""
    source_r_mag: np.ndarray
    """(N,) unlensed, AB."""
    lens_r_mag: np.ndarray
    """(N,) of the host galaxy, AB; NaN where unknown."""

    def __len__(self) -> int:
        return len(self.cell)

    @property
    def conditions(self) -> np.ndarray:
        """(N,) number of the seeing and depth."""
        return self.grid.conditions(self.cell)

    @property
    def theta(self) -> np.ndarray:
        """(N,) place of theta_E."""
        return self.grid.theta_place(self.cell)


@dataclass(frozen=True)
class Completeness:
    """Of the cells at one threshold; arrays are (T, P, D), NaN where a cell is empty."""

    n: np.ndarray
    """int64 injections."""
    k: np.ndarray
    """int64 found."""
    n_hosts: np.ndarray
    """int64 different galaxies."""
    n_effective: np.ndarray
    """Independent injections, see `dhs.evaluate.selection.clusters`."""
    value: np.ndarray
    low: np.ndarray
    """95%, Wilson's with ``n_effective``."""
    high: np.ndarray
    error: np.ndarray
    """One standard deviation: half the interval over 1.96. Above 0 also where all or none are found."""
    rho: float | None
    """Correlation of the injections into one galaxy; None where no galaxy carries enough of them to tell."""


def completeness(injections: Injections, *, found: np.ndarray) -> Completeness:
    """Of every cell, from (N,) bool ``found``."""
    grid, cell = injections.grid, injections.cell
    rho = intraclass_correlation(found, host=injections.host, conditions=injections.conditions, theta=injections.theta)
    n = np.bincount(cell, minlength=grid.n_cells)
    k = np.bincount(cell, weights=found, minlength=grid.n_cells).astype(np.int64)
    n_effective = effective_number(
        cell, n_groups=grid.n_cells, weight=np.ones(len(cell)), host=injections.host, rho=rho or 0.0
    )
    value = np.divide(k, n, out=np.full(grid.n_cells, np.nan), where=n > 0)
    low, high = wilson(value, n=n_effective)
    shape = grid.shape
    return Completeness(
        n=n.reshape(shape),
        k=k.reshape(shape),
        n_hosts=_different(cell, injections.host, n_groups=grid.n_cells).reshape(shape),
        n_effective=n_effective.reshape(shape),
        value=value.reshape(shape),
        low=low.reshape(shape),
        high=high.reshape(shape),
        error=((high - low) / (2 * Z)).reshape(shape),
        rho=rho,
    )


def _different(groups: np.ndarray, values: np.ndarray, *, n_groups: int) -> np.ndarray:
    """(G,) how many different ``values`` (N,) each of the ``groups`` (N,) has."""
    _, number = np.unique(values, return_inverse=True)
    span = number.max(initial=0) + 1
    return np.bincount(np.unique(groups * span + number) // span, minlength=n_groups)
