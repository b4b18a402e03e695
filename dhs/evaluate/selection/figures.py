"""Figures of the selection function: maps of theta_E x seeing at each depth, and curves. Object API only.

map_figure(grid, cells, title="FPR 1e-2")
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from dhs.evaluate.figures import BLUE, GREEN, GRID, INK, MUTED, ORANGE, PURPLE, VERMILION
from dhs.evaluate.intervals import Estimate
from dhs.evaluate.selection.cells import Completeness
from dhs.evaluate.selection.curves import Curve
from dhs.evaluate.selection.grid import SelectionGrid

COLOUR_MAP = "viridis"
"""Even in lightness, and told apart by colour-blind readers."""
EMPTY: dict[str, Any] = {"facecolor": "white", "edgecolor": MUTED, "hatch": "////", "lw": 0}
WIDE = 0.30
"""Width of the 95% interval from which a cell is marked: its colour could be another's."""
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (VERMILION, "v"))


def map_figure(grid: SelectionGrid, cells: Completeness, *, title: str) -> Figure:
    """Completeness over theta_E and seeing, a panel for each depth; empty cells hatched, line where half is found."""
    n_depths = grid.shape[2]
    figure = Figure(figsize=(max(1.55 * n_depths + 1.6, 4.6), 3.1), layout="constrained")
    panels = figure.subplots(1, n_depths, sharex=True, sharey=True, squeeze=False)[0]
    for place, axes in enumerate(panels):
        _draw_map(axes, grid, cells, depth=place)
    panels[0].set_ylabel("seeing, FWHM$_r$ (arcsec)", fontsize=9)
    panels[n_depths // 2].set_xlabel(r"Einstein radius $\theta_\mathrm{E}$ (arcsec)", fontsize=9)
    bar = figure.colorbar(panels[-1].collections[0], ax=list(panels), pad=0.015, aspect=28)
    bar.set_label("completeness", fontsize=9)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left", color=INK)
    if keys := _map_keys(cells):
        figure.legend(handles=keys, loc="outside lower left", ncols=3, fontsize=7.5, frameon=False)
    return figure


def _draw_map(axes: Axes, grid: SelectionGrid, cells: Completeness, *, depth: int) -> None:
    theta, psf, _ = grid.nodes
    value = cells.value[:, :, depth].T
    edges = _edges_about(theta)
    axes.pcolormesh(
        edges,
        grid.psf_edges_arcsec,
        np.ma.masked_invalid(value),
        cmap=COLOUR_MAP,
        norm=Normalize(0, 1),
        rasterized=True,
    )
    for y, x in np.argwhere(np.isnan(value)):
        corner, top = (edges[x], grid.psf_edges_arcsec[y]), grid.psf_edges_arcsec[y + 1]
        axes.add_patch(Rectangle(corner, edges[x + 1] - edges[x], top - corner[1], **EMPTY))
    wide = cells.high[:, :, depth].T - cells.low[:, :, depth].T > WIDE
    y, x = np.nonzero(wide)
    axes.plot(theta[x], psf[y], ".", color="white", ms=3.5, mec=INK, mew=0.4)
    if _has_contour(value):
        half = axes.contour(theta, psf, np.ma.masked_invalid(value), levels=[0.5], colors="white", linewidths=1.5)
        half.set_path_effects([withStroke(linewidth=2.6, foreground=INK)])
    axes.set_title(f"depth {grid.depth_edges_mag[depth]:g}\u2013{grid.depth_edges_mag[depth + 1]:g} mag", fontsize=8.5)
    axes.tick_params(labelsize=8)


def _map_keys(cells: Completeness) -> list[Patch | Line2D]:
    keys: list[Patch | Line2D] = []
    if np.isnan(cells.value).any():
        keys.append(Patch(label="empty: no such galaxy", **EMPTY))
    if (cells.high - cells.low > WIDE).any():
        label = f"95% interval wider than {WIDE:.0%}"
        keys.append(Line2D([], [], ls="", marker=".", color="white", mec=INK, mew=0.5, ms=6, label=label))
    if any(_has_contour(cells.value[:, :, depth]) for depth in range(cells.value.shape[2])):
        outline = [withStroke(linewidth=2.6, foreground=INK)]
        keys.append(Line2D([], [], color="white", lw=1.5, path_effects=outline, label="half are found"))
    return keys


def _has_contour(value: np.ndarray) -> bool:
    """Whether half is crossed somewhere on (P, T) or (T, P) cells."""
    return min(value.shape) > 1 and bool(np.nanmin(value, initial=1) < 0.5 < np.nanmax(value, initial=0))


def _edges_about(nodes: np.ndarray) -> np.ndarray:
    """Edges half-way between ``nodes``, as far beyond the outermost."""
    if len(nodes) == 1:
        return np.array([nodes[0] - 0.1, nodes[0] + 0.1])
    middles = 0.5 * (nodes[1:] + nodes[:-1])
    return np.concatenate([[2 * nodes[0] - middles[0]], middles, [2 * nodes[-1] - middles[-1]]])


def curves_figure(
    theta_e_arcsec: np.ndarray,
    by_theta: dict[str, list[Estimate]],
    curves: dict[str, dict[str, Curve]],
    *,
    labels: dict[str, str],
) -> Figure:
    """Completeness over theta_E and over every quantity of ``curves`` (axis label: threshold: curve), 95% intervals."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(2, 2, sharey=True).ravel()
    series = dict(zip(labels, SERIES, strict=False))
    for axes in panels:
        _style(axes)
    for name, (colour, marker) in series.items():
        estimates = by_theta[name]
        value, low, high = (np.array([getattr(e, part) for e in estimates], float) for part in ("value", "low", "high"))
        _bars(panels[0], theta_e_arcsec, value, low, high, colour=colour, marker=marker, label=labels[name])
    panels[0].set_xlabel(r"Einstein radius $\theta_\mathrm{E}$ (arcsec)", fontsize=9)
    for axes, (title, of_threshold) in zip(panels[1:], curves.items(), strict=True):
        for name, (colour, marker) in series.items():
            _draw_curve(axes, of_threshold[name], colour=colour, marker=marker)
        axes.set_xlabel(title, fontsize=9)
        _say_empty(axes, next(iter(of_threshold.values())))
    for axes in panels[::2]:
        axes.set_ylabel("completeness", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=8, frameon=False)
    return figure


def _draw_curve(axes: Axes, curve: Curve, *, colour: str, marker: str) -> None:
    place = np.arange(len(curve.value)) + 0.5
    _bars(axes, place, curve.value, curve.low, curve.high, colour=colour, marker=marker, label="")
    axes.set_xticks(np.arange(len(curve.edges)), [f"{edge:g}" for edge in curve.edges])
    axes.set_xlim(0, len(curve.value))


def _say_empty(axes: Axes, curve: Curve) -> None:
    for place in np.flatnonzero(curve.n == 0):
        axes.text(place + 0.5, 0.02, "none", rotation=90, ha="center", va="bottom", fontsize=7.5, color=MUTED)


def _bars(
    axes: Axes,
    x: np.ndarray,
    value: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    colour: str,
    marker: str,
    label: str,
) -> None:
    some = np.isfinite(value)
    errors = np.clip([(value - low)[some], (high - value)[some]], 0, None)
    axes.errorbar(
        x[some],
        value[some],
        yerr=errors,
        fmt=f"{marker}-",
        color=colour,
        ms=3.8,
        lw=1.1,
        capsize=2,
        label=label or None,
    )


def _style(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
