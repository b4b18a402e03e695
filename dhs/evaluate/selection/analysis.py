"""Scores of the injections -> everything that is said of them. No network, no sky, no files.

result = analyse(injections, cuts, settings=config.evaluate.selection, population=config.lens.population, ...)
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dhs.config.base import Range
from dhs.config.lens import LensPopulation
from dhs.config.selection import SelectionSettings
from dhs.evaluate.selection.cells import Completeness, Injections, completeness
from dhs.evaluate.selection.curves import Curve, completeness_curve
from dhs.evaluate.selection.grid import SelectionGrid
from dhs.evaluate.selection.natural import Natural, injection_weights, natural_completeness, theta_weights
from dhs.evaluate.table import column
from dhs.lens.population import NaturalLaw
from dhs.rng import Purpose, keyed_rng

CURVES: dict[str, tuple[str, str]] = {
    "arc_snr_sum": ("arc_snr_sum_edges", "integrated S/N of the arc (best band)"),
    "source_r_mag": ("source_r_mag_edges", "source magnitude, unlensed (r, AB)"),
    "lens_r_mag": ("lens_r_mag_edges", "magnitude of the lens galaxy (r, AB)"),
}
"""Quantity: (its edges in the settings, what it is called on an axis)."""

COLUMNS = (
    "target_id", "cell", "hosts_available", "hosts_of_sky", "theta_e_arcsec", "psf_fwhm_r_arcsec", "psf_depth_r_mag",
    "arc_snr_sum", "source_r_mag", "lens_r_mag", "logit",
)  # fmt: skip
"""Of the scores' table that are read here."""

_BOOTSTRAP_INDEX = 8
"""Of the generator, among those of the other bootstraps of a report."""


@dataclass(frozen=True)
class Cut:
    """A threshold: a stamp is found when its logit is above it."""

    name: str
    """In tables: fpr_0.01, p_0.5."""
    label: str
    """In words."""
    logit: float
    note: str = ""
    """What makes it weak."""


@dataclass(frozen=True)
class Selection:
    """What is known at one threshold."""

    cut: Cut
    theta_e_arcsec: np.ndarray
    """(T,) of ``natural.by_theta``."""
    cells: Completeness
    natural: Natural
    curves: dict[str, Curve]
    """By the names of CURVES."""


def injections_of(table: pa.Table, *, grid: SelectionGrid) -> Injections:
    """The injections of a table of scores.

    Raises:
        ValueError: a column is missing, or the cells are not those of ``grid`` (scores of other settings).
    """
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"selection scores: missing column(s) {', '.join(missing)}; score again with task=all")
    cell = column(table, "cell").astype(np.int64)
    if not _lie_in_cells(table, cell, grid=grid):
        raise ValueError(
            "selection scores: their cells are not those of evaluate.selection (theta_e_arcsec, psfsize_r_edges_arcsec,"
            " psfdepth_r_edges_mag); give the settings they were made with, or score again with task=all"
        )
    return Injections(
        grid=grid,
        cell=cell,
        host=column(table, "target_id"),
        hosts_available=column(table, "hosts_available"),
        hosts_of_sky=int(column(table, "hosts_of_sky")[0]),
        logit=column(table, "logit"),
        arc_snr_sum=column(table, "arc_snr_sum"),
        source_r_mag=column(table, "source_r_mag"),
        lens_r_mag=column(table, "lens_r_mag"),
    )


def analyse(
    injections: Injections,
    cuts: list[Cut],
    *,
    settings: SelectionSettings,
    population: LensPopulation,
    resamples: int,
    seed: int,
) -> dict[str, Selection]:
    """Cells, natural completeness and curves at each of ``cuts``, by name."""
    weights = natural_theta_weights(injections.grid.theta_e_arcsec, population=population)
    each = injection_weights(injections, theta_weight=weights)
    out = {}
    for place, cut in enumerate(cuts):
        found = injections.logit > cut.logit
        cells = completeness(injections, found=found)
        natural = natural_completeness(
            injections,
            cells,
            found=found,
            theta_weight=weights,
            resamples=resamples,
            rng=keyed_rng(seed, Purpose.BOOTSTRAP, _BOOTSTRAP_INDEX, place),
        )
        curves = {
            name: completeness_curve(
                getattr(injections, name),
                edges=np.array(getattr(settings, edges), np.float64),
                found=found,
                weight=each,
                host=injections.host,
                rho=cells.rho or 0.0,
            )
            for name, (edges, _) in CURVES.items()
        }
        out[cut.name] = Selection(cut, injections.grid.theta_e_arcsec, cells, natural, curves)
    return out


def natural_theta_weights(theta_e_arcsec: np.ndarray, *, population: LensPopulation) -> np.ndarray:
    """(T,) weights of the natural p(theta_E) between the first and last ``theta_e_arcsec``."""
    if len(theta_e_arcsec) == 1:
        return np.ones(1)
    limits = Range(low=float(theta_e_arcsec[0]), high=float(theta_e_arcsec[-1]))
    return theta_weights(theta_e_arcsec, density=NaturalLaw(population, theta_e_arcsec=limits).density)


def _lie_in_cells(table: pa.Table, cell: np.ndarray, *, grid: SelectionGrid) -> bool:
    if len(cell) == 0 or cell.min() < 0 or cell.max() >= grid.n_cells:
        return False
    theta, psf, depth = np.unravel_index(cell, grid.shape)
    asked = np.abs(column(table, "theta_e_arcsec") - grid.theta_e_arcsec[theta]) < 1e-5
    seeing, deep = column(table, "psf_fwhm_r_arcsec"), column(table, "psf_depth_r_mag")
    inside = (seeing >= grid.psf_edges_arcsec[psf]) & (seeing < grid.psf_edges_arcsec[psf + 1])
    inside &= (deep >= grid.depth_edges_mag[depth]) & (deep < grid.depth_edges_mag[depth + 1])
    return bool((asked & inside).all())
