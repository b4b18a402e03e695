"""Figures of the recall of anchors; those of stand-ins carry their label across the top."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dhs.evaluate.binned import Cell
from dhs.evaluate.figures import BLUE, GRID, MUTED, VERMILION

TITLES = {"theta_e/fwhm_r": r"$\theta_\mathrm{E}$ / FWHM$_r$", "survey": "survey", "grade": "visibility grade"}


def recall_figure(divided: Mapping[str, Sequence[tuple[str, Sequence[Cell]]]], *, label: str, target: float) -> Figure:
    """A panel for each division (theta_E/seeing, survey, grade): recall at each (words, cells) of it, with intervals.

    ``label`` is printed on the figure: '' for survey cutouts of real lenses, and nothing else.
    """
    widths = [max(2, len(series[0][1])) for series in divided.values()]
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    panels = figure.subplots(1, len(divided), sharey=True, width_ratios=widths, squeeze=False)[0]
    for axes, (name, series) in zip(panels, divided.items(), strict=True):
        _panel(axes, series, title=TITLES.get(name, name), target=target)
    panels[0].set_ylabel("recall")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8, frameon=False)
    figure.suptitle(label or "Real lenses in survey cutouts", fontsize=10, color=VERMILION if label else "black")
    return figure


def _panel(axes: Axes, series: Sequence[tuple[str, Sequence[Cell]]], *, title: str, target: float) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color=GRID, lw=0.6, axis="y")
    axes.set_axisbelow(True)
    axes.axhline(target, color=MUTED, lw=0.8, ls=":", label=f"target {target:.0%}")
    for place, (words, cells) in enumerate(series):
        shift = 0.14 * (2 * place - len(series) + 1)
        axes.errorbar([], [], yerr=[], fmt="os"[place], color=(BLUE, VERMILION)[place], ms=5, lw=1.3, label=words)
        for x, cell in enumerate(cells):
            _point(axes, x + shift, cell, marker="os"[place], colour=(BLUE, VERMILION)[place])
    names = [f"{cell.name.replace(' - ', '-')}\n{cell.rate.n}" for cell in series[0][1]]
    axes.set_xticks(range(len(names)), names, fontsize=7.5)
    axes.set(ylim=(-0.02, 1.03), xlim=(-0.6, len(names) - 0.4))
    axes.set_title(f"{title}; N below", fontsize=9)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _point(axes: Axes, x: float, cell: Cell, *, marker: str, colour: str) -> None:
    rate = cell.rate
    if rate.value is None:
        return  # its N says 0
    assert rate.low is not None and rate.high is not None
    error = [[max(rate.value - rate.low, 0)], [max(rate.high - rate.value, 0)]]
    axes.errorbar(x, rate.value, yerr=error, fmt=marker, color=colour, ms=5, lw=1.3, capsize=3, clip_on=False)
