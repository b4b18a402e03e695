"""The selection function in words, tables and rows of numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dhs.config.colour import BankColour, ColourConfig, SeedSedColour
from dhs.config.lens import LensConfig
from dhs.evaluate.intervals import Estimate
from dhs.evaluate.rows import Row
from dhs.evaluate.selection.analysis import CURVES, Selection
from dhs.evaluate.selection.cells import Injections
from dhs.evaluate.selection.natural import hosts_by_condition
from dhs.evaluate.wording import rate
from dhs.page import table

FILE_NAME = "selection_function.parquet"

LIMITS = (
    "It holds for this finder at this threshold, on galaxies like those of this test sky, for sources like those "
    "injected: completeness for real arcs is lower where they look different.",
    "Hosts are galaxies chosen as lens galaxies (LRG cuts); lenses outside these cuts are not in it, nor is the "
    "selection of targets.",
    "theta_E and the host are drawn independently: a galaxy of low mass gets arcs of any radius.",
    "Sources lie inside the caustics, so every injection is multiply imaged; singly imaged arcs are not lenses here.",
    "Seeing and depth are the r band's; the other bands come as they come with it on this sky.",
)
"""What no number of it shows."""


def priors_words(lens: LensConfig, colour: ColourConfig) -> str:
    """What is injected, but for theta_E."""
    if isinstance(colour, BankColour) and colour.brightness == "bank":
        magnitudes = "the magnitudes that the source bank measured"
    else:
        limits = colour.r_mag
        magnitudes = f"unlensed r magnitudes {limits.low:g} to {limits.high:g}, p(r) ~ 10^({colour.r_mag_slope:g} r),"
    colours = "the bank's colours" if isinstance(colour, BankColour) else "the seeds' fixed colours"
    if not isinstance(colour, BankColour | SeedSedColour):
        colours = f"colours of their own (g-r {colour.g_r_mean:g} +- {colour.g_r_sigma:g})"
    where = "uniform in area inside the caustics"
    if lens.source_offset == "fraction":
        where = f"uniform in a disc of {lens.source_offset_fraction:g} theta_E"
    return (
        f"Sources have {magnitudes} and {colours} (colour={colour.name}), positions {where}, shapes and shear from the "
        f"priors of the training run (lens={lens.name}); its acceptance cuts are not applied."
    )


def hosts_words(injections: Injections) -> str:
    """How many injections, galaxies and cells."""
    grid = injections.grid
    filled = len(np.unique(injections.cell))
    used = len(np.unique(injections.host))
    n_hosts = injections.hosts_of_sky
    outside = n_hosts - int(hosts_by_condition(injections).sum())
    text = (
        f"{len(injections):,} injections into {used:,} of the {n_hosts:,} lens galaxies of the test sky, in {filled} "
        f"of {grid.n_cells} cells ({grid.shape[0]} Einstein radii x {grid.shape[1]} intervals of r-band seeing x "
        f"{grid.shape[2]} of r-band depth). A galaxy serves in the cells of its own seeing and depth, unchanged."
    )
    if filled < grid.n_cells:
        text += f" {grid.n_cells - filled} cells are empty: the test sky has no galaxy with their seeing and depth."
    if outside:
        text += f" {outside:,} of the galaxies lie beyond the edges of the grid and count nowhere."
    return text


def natural_table(results: dict[str, Selection]) -> str:
    """HTML: completeness of nature's lenses at every threshold."""
    lines = []
    for result in results.values():
        overall = result.natural.overall
        half = half_found_arcsec(result)
        rho = result.cells.rho
        cells = (
            result.cut.label + (f" ({result.cut.note})" if result.cut.note else ""),
            rate(overall.as_dict()),
            f"{100 * result.natural.binomial_error:.2f}%",
            "unknown" if rho is None else f"{rho:.3f}",
            "nowhere" if half is None else f"{half:.2f} arcsec",
        )
        lines.append(cells)
    heads = (
        "threshold", "completeness of nature's lenses, 95%", "of it: the injections' own scatter (1 sigma)",
        "correlation within a galaxy", "half are found from",
    )  # fmt: skip
    return table(heads, lines)


def half_found_arcsec(result: Selection) -> float | None:
    """theta_E from which half of the lenses are found, over the sky's conditions; None where it is not on the grid."""
    theta = result.theta_e_arcsec
    values = np.array([estimate.value for estimate in result.natural.by_theta], float)
    above = np.flatnonzero((values[:-1] < 0.5) & (values[1:] >= 0.5))
    if len(above) == 0:
        return None
    i = int(above[0])
    return float(np.interp(0.5, values[i : i + 2], theta[i : i + 2]))


def rows_of(injections: Injections, results: dict[str, Selection]) -> list[Row]:
    """Every number, for metrics.csv."""
    rows: list[Row] = []
    for name, result in results.items():
        rows.append(
            _row(f"natural_completeness_{name}", "nature's theta_E, the sky's conditions", result.natural.overall)
        )
        for theta, estimate in zip(injections.grid.theta_e_arcsec, result.natural.by_theta, strict=True):
            rows.append(_row(f"completeness_{name}", f"theta_e {theta:g}", estimate))
        for quantity in CURVES:
            rows += _curve_rows(result, name=name, quantity=quantity)
        rows += _cell_rows(injections, result, name=name)
    return rows


def _row(quantity: str, subset: str, estimate: Estimate) -> Row:
    return Row(quantity, subset, estimate.value, estimate.low, estimate.high, estimate.n, estimate.note)


def _curve_rows(result: Selection, *, name: str, quantity: str) -> Iterator[Row]:
    curve = result.curves[quantity]
    for i, (low, high) in enumerate(zip(curve.edges[:-1], curve.edges[1:], strict=True)):
        value, lower, upper = (_plain(values[i]) for values in (curve.value, curve.low, curve.high))
        note = "no injections" if curve.n[i] == 0 else f"{curve.n_effective[i]:.0f} independent"
        yield Row(f"completeness_{name}", f"{quantity} {low:g} - {high:g}", value, lower, upper, int(curve.n[i]), note)


def _cell_rows(injections: Injections, result: Selection, *, name: str) -> Iterator[Row]:
    grid, cells = injections.grid, result.cells
    psf, depth = grid.psf_edges_arcsec, grid.depth_edges_mag
    for t, p, d in np.ndindex(*grid.shape):
        subset = (
            f"theta_e {grid.theta_e_arcsec[t]:g}, fwhm_r {psf[p]:g} - {psf[p + 1]:g}, "
            f"depth_r {depth[d]:g} - {depth[d + 1]:g}"
        )
        value, low, high = (_plain(float(values[t, p, d])) for values in (cells.value, cells.low, cells.high))
        note = (
            f"{cells.n_hosts[t, p, d]} galaxies" if cells.n[t, p, d] else "empty: no galaxy with this seeing and depth"
        )
        yield Row(f"completeness_{name}", subset, value, low, high, int(cells.n[t, p, d]), note)


def data_of(injections: Injections, results: dict[str, Selection]) -> dict[str, Any]:
    """Plain values for metrics.json; the cells are in the Parquet file."""
    grid = injections.grid
    return {
        "n_injections": len(injections),
        "n_cells": grid.n_cells,
        "n_empty_cells": int(grid.n_cells - len(np.unique(injections.cell))),
        "theta_e_arcsec": grid.theta_e_arcsec.tolist(),
        "table": FILE_NAME,
        "thresholds": {
            name: {
                "label": result.cut.label,
                "logit": result.cut.logit,
                "natural": result.natural.overall.as_dict(),
                "natural_binomial_error": result.natural.binomial_error,
                "by_theta_e": [estimate.as_dict() for estimate in result.natural.by_theta],
                "half_found_arcsec": half_found_arcsec(result),
                "host_correlation": result.cells.rho,
                "curves": {
                    quantity: {
                        "edges": curve.edges.tolist(),
                        "n": curve.n.tolist(),
                        **{part: [_plain(v) for v in getattr(curve, part)] for part in ("value", "low", "high")},
                        "share_outside": curve.share_outside,
                    }
                    for quantity, curve in result.curves.items()
                },
            }
            for name, result in results.items()
        },
    }


def warnings_of(injections: Injections, results: dict[str, Selection]) -> list[str]:
    """What a reader must be told first."""
    found = []
    grid = injections.grid
    empty = grid.n_cells - len(np.unique(injections.cell))
    if empty:
        found.append(f"{empty} of {grid.n_cells} cells have no galaxy of the test sky: completeness there is unknown.")
    first = next(iter(results.values()))
    for quantity, curve in first.curves.items():
        if curve.share_outside > 0.01:
            found.append(
                f"{curve.share_outside:.0%} of the lenses have a {quantity} outside evaluate.selection."
                f"{CURVES[quantity][0]}, or none: they are in no bin of that curve."
            )
    some = first.cells.n > 0
    few = int((first.cells.n_hosts[some] < 5).sum())
    if few:
        found.append(
            f"{few} of {int(some.sum())} filled cells rest on fewer than five galaxies; their intervals assume that "
            "galaxies differ there as elsewhere on the grid."
        )
    if first.cells.rho is None:
        found.append(
            "No galaxy carries enough arcs to tell how alike its scores are: intervals take them as independent."
        )
    return found


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
