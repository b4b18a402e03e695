"""Figures of the gates: what was done to the stamps, what it did to the scores, and how it stands to the limits.

Object API only, as in `dhs.evaluate.figures`. Stamps shown are drawn at random among the pairs, never chosen.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dhs.display import rgb
from dhs.evaluate.figures import BLUE, GRID, INK, MUTED, ORANGE, VERMILION
from dhs.evaluate.gates.judge import Condition, Gate, Outcome
from dhs.evaluate.gates.model_gates import PairScores
from dhs.evaluate.gates.variants import GALAXY, LENS, PairItems
from dhs.rng import Purpose, keyed_rng

LABELS = {
    "lens": "lens",
    "galaxy": "its galaxy",
    "core_only": "core only",
    "annulus_only": "annulus only",
    "arc_suppressed": "arc suppressed",
    "shuffled": "rings shuffled",
    "shuffled_galaxy": "rings shuffled,\ngalaxy",
    "permuted": "bands permuted",
    "permuted_galaxy": "bands permuted,\ngalaxy",
    "recoloured": "arc recoloured",
    "moved": "turned, moved",
    "moved_galaxy": "turned, moved,\ngalaxy",
    "null": "null injection",
}
"""Of the variants, in words."""

STATE_COLOURS: dict[Outcome, str] = {"PASS": BLUE, "FAIL": VERMILION, "cannot tell": ORANGE, "not applicable": MUTED}


def picture_table(items: PairItems, *, n_shown: int, seed: int) -> pa.Table:
    """Composites (rgb, uint8) of ``n_shown`` pairs drawn at random, in every variant."""
    rng = keyed_rng(seed, Purpose.GATES, 4, 0)
    pairs = np.sort(rng.permutation(len(items.pairs))[:n_shown])
    n_variants = len(items.variants)
    indices = (pairs[:, None] * n_variants + np.arange(n_variants)).ravel()
    composites = rgb(items.stamps(indices).images.numpy())
    return pa.table(
        {
            "pair": indices // n_variants,
            "variant": np.array(items.variants)[indices % n_variants],
            "size_px": np.full(len(indices), composites.shape[1]),
            "rgb": pa.array([composite.tobytes() for composite in composites], type=pa.binary()),
        }
    )


def stamp_figure(pictures: pa.Table, scores: PairScores) -> Figure:
    """A row for every variant, a column for every pair, the finder's p under each stamp."""
    rows = pictures.to_pylist()
    shown = {(row["variant"], row["pair"]): row for row in rows}
    pairs = sorted({row["pair"] for row in rows})
    variants = [name for name in LABELS if any(row["variant"] == name for row in rows)]
    size = 1.25
    figure = Figure(figsize=(size * len(pairs) + 1.5, (size + 0.22) * len(variants) + 0.1), layout="constrained")
    grid = figure.subplots(len(variants), len(pairs), squeeze=False)
    for i, variant in enumerate(variants):
        p = scores.p(variant)
        for j, pair in enumerate(pairs):
            _stamp(grid[i, j], shown[variant, pair], caption=f"p = {p[pair]:.3f}")
        grid[i, 0].set_ylabel(LABELS[variant], fontsize=8, rotation=0, ha="right", va="center", color=INK)
    return figure


def _stamp(axes: Axes, row: dict[str, object], *, caption: str) -> None:
    size = int(row["size_px"])  # type: ignore[call-overload]
    image = np.frombuffer(row["rgb"], np.uint8).reshape(size, size, 3)  # type: ignore[call-overload]
    axes.imshow(image, origin="lower", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(caption, fontsize=7.5, color=INK, labelpad=2)


def score_figure(scores: PairScores) -> Figure:
    """Histograms of the logit of every variant, over those of the lenses and of the galaxies as they are."""
    variants = [name for name in LABELS if name in scores.logit]
    figure = Figure(figsize=(7.2, 0.5 * len(variants) + 0.9), layout="constrained")
    rows = figure.subplots(len(variants), 1, sharex=True)
    everything = np.concatenate([scores.logit[name] for name in variants])
    low, high = everything.min(), everything.max()
    edges = np.linspace(low, high if high > low else low + 1, 60)
    for axes, name in zip(rows, variants, strict=True):
        _histogram(axes, scores, name, edges)
    rows[0].text(1.01, 1.0, "mean p", transform=rows[0].transAxes, va="bottom", fontsize=8, color=MUTED)
    rows[-1].spines["bottom"].set_visible(True)
    rows[-1].tick_params(bottom=True, labelbottom=True, labelsize=8.5)
    rows[-1].set_xlabel(
        f"score (logit) of {len(scores):,} pairs; outlines: lenses (blue) and galaxies (grey)", fontsize=9
    )
    return figure


def _histogram(axes: Axes, scores: PairScores, name: str, edges: np.ndarray) -> None:
    of_galaxy = name.endswith(GALAXY)
    for reference, colour in ((LENS, BLUE), (GALAXY, MUTED)):
        counts, _ = np.histogram(scores.logit[reference], edges)
        axes.stairs(counts / max(1, counts.max()), edges, color=colour, lw=0.9)
    counts, _ = np.histogram(scores.logit[name], edges)
    axes.stairs(counts / max(1, counts.max()), edges, fill=True, color=MUTED if of_galaxy else BLUE, alpha=0.45, lw=0)
    axes.axvline(0.0, color=GRID, lw=0.9, zorder=0)
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False, labelleft=False, bottom=False)
    axes.set_ylim(0, 1.15)
    label = LABELS[name].replace("\n", " ")
    axes.text(-0.01, 0.2, label, transform=axes.transAxes, ha="right", fontsize=8, color=INK)
    axes.text(1.01, 0.2, f"{scores.p(name).mean():.3f}", transform=axes.transAxes, fontsize=8, color=INK)


def limits_figure(gates: Sequence[Gate]) -> Figure | None:
    """Every condition with its interval; the white part of its row is what is allowed. None without any number."""
    rows = [
        (gate, condition) for gate in gates for condition in gate.conditions if condition.estimate.value is not None
    ]
    if not rows:
        return None
    figure = Figure(figsize=(7.6, 0.36 * len(rows) + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#fbeae3")
    values = [v for _, c in rows for v in (c.estimate.value, c.estimate.low, c.estimate.high) if v is not None]
    left, right = min(-0.15, min(values) - 0.05), max(1.15, max(values) + 0.05)
    for y, (_gate, condition) in enumerate(rows):
        _condition(axes, y, condition, left=left, right=right)
    names = [f"{gate.question.title}: {condition.name}" for gate, condition in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set(xlim=(left, right), ylim=(len(rows) - 0.5, -0.5))
    axes.tick_params(axis="x", labelsize=8.5)
    axes.set_xlabel("value, 95% interval; shaded: not allowed", fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure


def _condition(axes: Axes, y: int, condition: Condition, *, left: float, right: float) -> None:
    low, high = max(condition.low, left), min(condition.high, right)
    axes.barh(y, high - low, left=low, height=0.86, color="white", zorder=1)
    colour = STATE_COLOURS["cannot tell" if condition.kept is None else "PASS" if condition.kept else "FAIL"]
    e = condition.estimate
    assert e.value is not None
    if e.low is not None and e.high is not None:
        axes.plot([e.low, e.high], [y, y], color=colour, lw=2, zorder=2, solid_capstyle="butt")
    axes.plot([e.value], [y], "o", color=colour, ms=5, zorder=3)
