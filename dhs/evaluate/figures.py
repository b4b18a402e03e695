"""The report's figures, from the score table and its summary. Object API only: no pyplot, nothing global.

Colours are Okabe & Ito's (2008), told apart by colour-blind readers, and classes are named beside the data, not
only by colour. Every panel states its N, every rate its 95% interval, and what the sample cannot resolve is shaded.

    for name, figure in figures(table, summary).items():
        save_png(figure, path=out_dir / f"{name}.png", dpi=FIGURE_DPI)
"""

from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter

from dhs.constants import CLASSES
from dhs.evaluate.bootstrap import bootstrap
from dhs.evaluate.table import column, visible_mask
from dhs.evaluate.wording import CLASS_NAMES, threshold_words
from dhs.rng import Purpose, keyed_rng

FIGURE_DPI = 150

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, MUTED, GRID = "#1a1a1a", "#6b6b6b", "#e4e4e4"
SHADE, DARK_SHADE = "#f0f0f0", "#d4d4d4"

ROC_POINTS = 80
BAND_RESAMPLES = 200
"""Resamples of the ROC band: it is drawn, not quoted."""

Summary = dict[str, Any]


def figures(table: pa.Table, summary: Summary) -> dict[str, Figure]:
    """Every figure of the report by file name (without .png)."""
    return {
        "roc": roc_figure(table, summary),
        "scores": score_figure(table, summary),
        "recall_theta_e": recall_figure(
            summary, key="by_theta_e_over_psf", xlabel=r"Einstein radius / seeing,  $\theta_\mathrm{E}$ / FWHM$_r$"
        ),
        "recall_arc_snr": recall_figure(summary, key="by_arc_snr_sum", xlabel="integrated S/N of the arc (best band)"),
    }


def roc_figure(table: pa.Table, summary: Summary) -> Figure:
    """ROC on a logarithmic FPR axis with bootstrap bands; shaded where N negatives resolve little or nothing."""
    figure, axes = new_figure(6.4, 4.8)
    n_negatives = summary["counts"]["negatives"]
    left = min(0.3 / n_negatives, min(summary["settings"]["fprs"]) / 2)
    fprs = _fpr_grid(n_negatives)
    subsets = (("visible", "visible lenses", BLUE, "-"), ("all", "all injected lenses", VERMILION, "--"))
    for index, (name, label, colour, style) in enumerate(subsets):
        if summary[name]["n_positives"]:
            _draw_roc(axes, table, summary, name=name, label=label, colour=colour, style=style, fprs=fprs, index=index)
    grid = np.geomspace(left, 1, 200)
    axes.plot(grid, grid, color=MUTED, lw=0.9, ls=":", label="chance")
    _shade_unresolved(axes, n_negatives=n_negatives, left=left)
    axes.set(xscale="log", xlim=(left, 1), ylim=(0, 1.02), xlabel="false-positive rate", ylabel="true-positive rate")
    axes.yaxis.set_major_locator(MultipleLocator(0.2))
    figure.legend(loc="outside upper left", ncols=2, fontsize=8, frameon=False)
    return figure


def _fpr_grid(n_negatives: int) -> np.ndarray:
    """False-positive rates 1/N, 2/N ... where single negatives show, then evenly in the logarithm, up to 1."""
    single = np.arange(1, min(30, n_negatives) + 1) / n_negatives
    return np.unique(np.concatenate([single, np.geomspace(single[-1], 1.0, ROC_POINTS)]))


def _draw_roc(
    axes: Axes,
    table: pa.Table,
    summary: Summary,
    *,
    name: str,
    label: str,
    colour: str,
    style: str,
    fprs: np.ndarray,
    index: int,
) -> None:
    labels = column(table, "label")
    rows = (labels == 0) | (visible_mask(table) if name == "visible" else labels == 1)
    logit, galaxy_id, labels = column(table, "logit")[rows], column(table, "target_id")[rows], labels[rows]
    rng = keyed_rng(summary["settings"]["seed"], Purpose.BOOTSTRAP, 1, index)
    tpr = bootstrap(logit, labels, galaxy_id=galaxy_id, fprs=fprs, max_fpr=1.0, resamples=BAND_RESAMPLES, rng=rng).tpr
    low, high = np.quantile(tpr, (0.025, 0.975), axis=0)
    axes.fill_between(fprs, low, high, color=colour, alpha=0.18, lw=0, step="post")
    area = summary[name]["auroc"]["value"]
    text = f"{label}: AUROC {area:.3f} (N = {summary[name]['n_positives']:,})"
    axes.step(fprs, _curve(logit, labels, fprs), where="post", color=colour, lw=1.6, ls=style, label=text)


def _curve(logit: np.ndarray, labels: np.ndarray, fprs: np.ndarray) -> np.ndarray:
    """TPR of the sample at each FPR: positives above the (floor(fpr N) + 1)-th negative."""
    negative = np.sort(logit[labels == 0])[::-1]
    positive = np.sort(logit[labels == 1])
    allowed = np.minimum(np.floor(fprs * len(negative) + 1e-9).astype(int), len(negative))
    thresholds = np.append(negative, -np.inf)[allowed]
    return 1 - np.searchsorted(positive, thresholds, side="right") / len(positive)


def _shade_unresolved(axes: Axes, *, n_negatives: int, left: float) -> None:
    limit = 1 / n_negatives
    axes.axvspan(limit, min(10 * limit, 1), color=SHADE, lw=0, zorder=0, label="weak: < 10 false positives")
    words = f"not resolvable: FPR < 1/N, N = {n_negatives:,}"
    axes.axvspan(left, limit, color=DARK_SHADE, lw=0, zorder=0, label=words)
    axes.axvline(limit, color=MUTED, lw=0.9)


def score_figure(table: pa.Table, summary: Summary) -> Figure:
    """Histograms of the logit, one row per population, with the operating threshold; small multiples, one x axis."""
    groups = _populations(table)
    figure = Figure(figsize=(6.4, 0.62 * len(groups) + 0.9), layout="constrained")
    rows = figure.subplots(len(groups), 1, sharex=True)
    logit = column(table, "logit")
    low, high = logit.min(), logit.max()
    edges = np.linspace(low, high if high > low else low + 1, 70)
    threshold = summary["operating_point"]["threshold_logit"]
    for axes, (name, (values, colour)) in zip(rows, groups.items(), strict=True):
        _draw_histogram(axes, values, name=name, colour=colour, edges=edges, threshold=threshold)
    rows[0].text(1.01, 0.95, "above\nthreshold", transform=rows[0].transAxes, va="top", fontsize=7, color=MUTED)
    rows[-1].spines["bottom"].set_visible(True)
    rows[-1].tick_params(bottom=True, labelbottom=True, labelsize=8.5)
    rows[-1].set_xlabel(f"score (logit); vertical line: threshold, {threshold_words(summary)}", fontsize=9)
    return figure


def _populations(table: pa.Table) -> dict[str, tuple[np.ndarray, str]]:
    logit, label = column(table, "logit"), column(table, "label")
    kind, visible = np.asarray(table.column("kind").to_pylist(), dtype=str), visible_mask(table)
    groups = {
        "visible lenses": (logit[visible], BLUE),
        "other lenses": (logit[(label == 1) & ~visible], SKY),
    }
    for name in CLASSES:
        groups[CLASS_NAMES[name]] = (logit[(label == 0) & (kind == name)], ORANGE)
    return groups


def _draw_histogram(
    axes: Axes, values: np.ndarray, *, name: str, colour: str, edges: np.ndarray, threshold: float
) -> None:
    counts, _ = np.histogram(values, edges)
    axes.stairs(counts / max(1, counts.max()), edges, fill=True, color=colour, alpha=0.75, lw=0)
    axes.axvline(threshold, color=INK, lw=0.9)
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.axhline(0, color=GRID, lw=0.8, zorder=0)
    axes.tick_params(left=False, labelleft=False, bottom=False)
    axes.set_ylim(0, 1.15)
    axes.text(-0.01, 0.18, f"{name}\nN = {len(values):,}", transform=axes.transAxes, ha="right", fontsize=8, color=INK)
    passed = f"{(values > threshold).mean():.1%}" if len(values) else "none"
    axes.text(1.01, 0.18, passed, transform=axes.transAxes, ha="left", fontsize=8, color=MUTED)


def recall_figure(summary: Summary, *, key: str, xlabel: str) -> Figure:
    """Recall in bins with Wilson intervals; counts under each bin, empty bins said so."""
    figure, axes = new_figure(6.4, 3.6)
    cells = summary[key]
    for x, cell in enumerate(cells):
        _draw_cell(axes, x, cell, colour=BLUE)
    axes.set_xticks(range(len(cells)), [f"{_bin_label(cell['name'])}\n{cell['k']} / {cell['n']}" for cell in cells])
    axes.set(xlim=(-0.6, len(cells) - 0.4), ylim=(0, 1.03), xlabel=xlabel, ylabel="recall")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_title(f"Recall at {threshold_words(summary)}; found / injected under each bin", fontsize=9, loc="left")
    return figure


def _bin_label(name: str) -> str:
    return name.replace(">= ", "\u2265 ").replace(" - ", "\u2013")


def _draw_cell(axes: Axes, x: float, cell: Summary, *, colour: str) -> None:
    if cell["value"] is None:
        axes.text(x, 0.03, "none", ha="center", va="bottom", fontsize=8, color=MUTED, rotation=90)
        return
    _error_bar(axes, x, cell, colour=colour, marker="o", label="")


def _error_bar(axes: Axes, x: float, cell: Summary, *, colour: str, marker: str, label: str) -> None:
    below, above = cell["value"] - cell["low"], cell["high"] - cell["value"]
    axes.errorbar(
        x, cell["value"], yerr=[[max(below, 0)], [max(above, 0)]], fmt=marker, color=colour, ms=5, lw=1.3, capsize=3,
        label=label or None, clip_on=False,
    )  # fmt: skip


def rates_figure(rates: dict[str, dict[str, Summary]], *, names: dict[str, str]) -> Figure:
    """False-positive rates of groups (rows) at several cuts (series), Clopper-Pearson intervals; counts under each."""
    figure, axes = new_figure(8.6, 3.9)
    cuts = list(next(iter(rates.values())))
    colours = (VERMILION, ORANGE, GREEN, SKY, BLUE)
    for i, cut in enumerate(cuts):
        colour, marker = (INK, "D") if cut.startswith("p") and i == len(cuts) - 1 else (colours[i % 5], "osv^P"[i % 5])
        if cut.startswith("p") and i < len(cuts) - 1:
            colour, marker = PURPLE, "s"
        axes.errorbar([], [], yerr=[], fmt=marker, color=colour, ms=4.5, lw=1.2, capsize=2.5, label=f"at {cut}")
        shift = 0.16 * (i - (len(cuts) - 1) / 2)
        for x, cells in enumerate(rates.values()):
            if cells[cut]["value"] is not None:
                _error_bar(axes, x + shift, cells[cut], colour=colour, marker=marker, label="")
    counts = [next(iter(cells.values()))["n"] for cells in rates.values()]
    for x, n in enumerate(counts):
        if n == 0:
            axes.text(x, 0.01, "none", ha="center", va="bottom", fontsize=8, color=MUTED, rotation=90)
    labels = [f"{names[name].replace(' + ', ' +' + chr(10))}\nN = {n:,}" for name, n in zip(rates, counts, strict=True)]
    axes.set_xticks(range(len(labels)), labels)
    axes.set(xlim=(-0.6, len(labels) - 0.4), ylabel="false-positive rate")
    axes.set_ylim(0, min(1.03, max(0.02, 1.08 * max((c["high"] or 0) for g in rates.values() for c in g.values()))))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(fontsize=8, frameon=False, loc="best", ncols=2)
    return figure


def new_figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """A figure of one panel in the report's style."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5)
    return figure, axes
