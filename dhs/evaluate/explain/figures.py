"""Pictures of occlusion maps: the stamp, its map over it, and where the arc is, with a scale bar."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.display import rgb
from dhs.evaluate.figures import VERMILION

BAR_ARCSEC = 5.0
COLUMNS = 4
"""Stamps a row, each a pair of panels."""


@dataclass(frozen=True)
class Explained:
    """One stamp with its map."""

    image: np.ndarray
    """(3, N, N) nMgy."""
    map: np.ndarray
    """(N, N) logits."""
    caption: str
    theta_e_arcsec: float
    """Radius of the dashed circle; NaN for none."""


def explain_figure(stamps: Sequence[Explained], *, title: str, label: str) -> Figure:
    """Pairs of panels: composite, and grey r band under the map, red where pixels speak for a lens.

    Every map has its own scale, printed on it: patches of a confident finder move the logit more. ``label`` of what
    is no survey cutout is printed across the top.
    """
    n_rows = -(-len(stamps) // COLUMNS)
    figure = Figure(figsize=(11.0, 1.5 * n_rows + 0.3 + (0.25 if label else 0)), layout="constrained")
    grid = figure.subplots(n_rows, 2 * COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, stamp in enumerate(stamps):
        row, column = divmod(number, COLUMNS)
        _composite(grid[row][2 * column], stamp)
        _map(grid[row][2 * column + 1], stamp)
    figure.suptitle(f"{title}\n{label}" if label else title, fontsize=10, color=VERMILION if label else "black")
    return figure


def _composite(axes: Axes, stamp: Explained) -> None:
    axes.imshow(rgb(stamp.image[None])[0], origin="lower", interpolation="nearest")
    size = stamp.map.shape[0]
    length = BAR_ARCSEC / PIXEL_SCALE_ARCSEC
    axes.plot([4, 4 + length], [4, 4], color="white", lw=1.6, solid_capstyle="butt")
    axes.text(4 + length / 2, 6, f"{BAR_ARCSEC:g}\u2033", color="white", fontsize=6.5, ha="center", va="bottom")
    axes.set_title(stamp.caption, fontsize=6.5, loc="left", pad=2)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(-0.5, size - 0.5))


def _map(axes: Axes, stamp: Explained) -> None:
    size, peak = stamp.map.shape[0], max(float(np.abs(stamp.map).max()), 1e-9)
    r = stamp.image[1]
    low, high = np.quantile(r, 0.02), np.quantile(r, 0.995)
    axes.imshow(np.arcsinh((r - low) / max(high - low, 1e-9) * 5), origin="lower", cmap="gray")
    axes.imshow(
        stamp.map,
        origin="lower",
        cmap="RdBu_r",
        norm=TwoSlopeNorm(0.0, -peak, peak),
        alpha=0.62,
        interpolation="bilinear",
    )
    if np.isfinite(stamp.theta_e_arcsec):
        turn = np.linspace(0, 2 * np.pi, 120)
        radius, middle = stamp.theta_e_arcsec / PIXEL_SCALE_ARCSEC, (size - 1) / 2
        axes.plot(middle + radius * np.cos(turn), middle + radius * np.sin(turn), "k--", lw=0.7)
    axes.text(1, 1, f"\u00b1{peak:.2g}", fontsize=6.5, va="bottom", bbox={"fc": "white", "ec": "none", "pad": 0.8})
    axes.set(xlim=(-0.5, size - 0.5), ylim=(-0.5, size - 0.5))
