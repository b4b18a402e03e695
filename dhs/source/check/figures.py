"""Figures of the check page: each distribution beside the two things it must be told from, noise and an empty box.

Object API only: no pyplot, nothing global. Every panel states its N and its limit.
"""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dhs.rng import Purpose, keyed_rng
from dhs.source import measure
from dhs.source.check.run import BankReport

FIGURE_DPI = 130
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, MUTED, GRID = "#1a1a1a", "#6b6b6b", "#e4e4e4"
N_BINS = 40
N_CURVES = 12
SNR_SHOWN_MAX = 1e4
PEDESTAL_FLOOR = 1e-5
"""Pedestals below it are drawn there: a logarithmic axis has no zero."""
NOISE_SPECKLE = (0.27, 0.43)
"""Pure noise clipped at zero, from ACS's correlation to white."""


def figures(report: BankReport, *, seed: int) -> dict[str, tuple[Figure, str]]:
    """Figure and caption by name."""
    drawn: dict[str, tuple[Callable[[Axes, BankReport], None], str]] = {
        "hlr": (
            _draw_hlr,
            "Half-light radii as measured now, as the catalogue fitted them where the file knows, "
            "and of an evenly lit box of this size. Galaxies are well to the left of the box.",
        ),
        "growth": (
            lambda axes, report: _draw_growth(axes, report, seed=seed),
            "Curves of growth about the stamp's centre. A galaxy rises and then is flat; noise follows the empty box.",
        ),
        "pedestal": (_draw_pedestal, "Share of the flux in an even pedestal, from the level in the outer ring."),
        "speckle": (
            _draw_speckle,
            "How often neighbouring pixels of the outer box differ in being lit. Shaded: noise clipped at zero.",
        ),
        "clumpiness": (
            _draw_clumpiness,
            "Clumpiness of the sources, of the Sersic profiles that match them in size, concentration and axis ratio, "
            "and of pure noise after the seeds' recipe.",
        ),
        "snr": (_draw_snr, "Signal-to-noise ratio of the templates."),
    }
    result = {}
    for name, (draw, caption) in drawn.items():
        figure = Figure(figsize=(5.6, 3.5), layout="constrained")
        axes = figure.subplots()
        _plain(axes)
        draw(axes, report)
        result[name] = (figure, caption)
    return result


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8.5, color=MUTED)
    axes.grid(axis="y", color=GRID, lw=0.6)
    axes.set_axisbelow(True)


def _known(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _finish(axes: Axes, *, xlabel: str, ylabel: str = "sources", columns: int = 1) -> None:
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.figure.legend(loc="outside upper left", ncols=columns, fontsize=8, frameon=False)


def _stairs(axes: Axes, values: np.ndarray, edges: np.ndarray, *, colour: str, label: str, fill: bool = True) -> None:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    if fill:
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.65, lw=0, label=label)
    else:
        axes.stairs(counts, edges, color=colour, lw=1.6, label=label)


def _draw_hlr(axes: Axes, report: BankReport) -> None:
    bank, box = report.evidence.bank, report.evidence.noise.hlr_arcsec
    values = _known(report.evidence.measured.hlr_arcsec)
    edges = np.linspace(0, 1.15 * box, N_BINS + 1)
    _stairs(axes, values, edges, colour=BLUE, label=f"measured, N = {len(values):,}")
    if "catalog_hlr_arcsec" in bank.meta:
        fitted = _known(bank.meta["catalog_hlr_arcsec"].astype(float))
        _stairs(axes, fitted, edges, colour=ORANGE, label=f"catalogue's fits, N = {len(fitted):,}", fill=False)
    axes.axvline(box, color=VERMILION, lw=1.6, ls="--", label=f"empty box, {box:.2f} arcsec")
    axes.set_xlim(0, edges[-1])
    _finish(axes, xlabel="half-light radius (arcsec)", columns=3)


def _draw_growth(axes: Axes, report: BankReport, *, seed: int) -> None:
    measured, radii = report.evidence.measured, report.growth_radii_arcsec
    rows = np.flatnonzero(measured.usable)
    if len(rows):
        low, middle, high = np.quantile(measured.growth[rows], (0.05, 0.5, 0.95), axis=0)
        axes.fill_between(radii, low, high, color=BLUE, alpha=0.15, lw=0, label="5% to 95% of sources")
        for row in keyed_rng(seed, Purpose.BANK, 3, 0).permutation(rows)[:N_CURVES]:
            axes.plot(radii, measured.growth[row], color=BLUE, lw=0.6, alpha=0.6)
        axes.plot(radii, middle, color=BLUE, lw=2, label="median")
    size, scale = report.evidence.bank.size_px, report.evidence.bank.pixel_scale_arcsec
    pixels = np.sort(measure.radius_px(size), axis=None) * scale
    flat = np.searchsorted(pixels, radii, side="right") / size**2
    axes.plot(radii, flat, color=VERMILION, lw=1.6, ls="--", label="empty box")
    axes.axhline(0.5, color=MUTED, lw=0.7, ls=":")
    axes.set(xlim=(0, radii[-1]), ylim=(0, 1.05))
    _finish(axes, xlabel="radius (arcsec)", ylabel="share of the flux", columns=3)


def _draw_pedestal(axes: Axes, report: BankReport) -> None:
    values = np.maximum(_known(report.evidence.measured.pedestal), PEDESTAL_FLOOR)
    edges = np.geomspace(PEDESTAL_FLOOR * 0.8, 2.0, N_BINS + 1)
    _stairs(axes, values, edges, colour=BLUE, label=f"sources, N = {len(values):,}; {PEDESTAL_FLOOR:g}: less or none")
    _limit(axes, report.evidence.limits.max_pedestal_fraction)
    axes.axvline(1.0, color=VERMILION, lw=1.6, ls="--", label="pure noise")
    axes.set_xscale("log")
    _finish(axes, xlabel="pedestal (share of the flux)", columns=3)


def _draw_speckle(axes: Axes, report: BankReport) -> None:
    values = _known(report.evidence.measured.speckle)
    edges = np.linspace(0, 0.6, N_BINS + 1)
    axes.axvspan(*NOISE_SPECKLE, color=VERMILION, alpha=0.15, lw=0, label="pure noise")
    _stairs(axes, values, edges, colour=BLUE, label=f"sources, N = {len(values):,}")
    _limit(axes, report.evidence.limits.max_speckle)
    _finish(axes, xlabel="changes of sign per pair of pixels in the outer box", columns=3)


def _draw_clumpiness(axes: Axes, report: BankReport) -> None:
    evidence = report.evidence
    noise, measured = evidence.noise.clumpiness, _known(evidence.measured.clumpiness)
    edges = np.linspace(0, max(1.15 * noise, min(1.0, measured.max(initial=0.0))), N_BINS + 1)
    if evidence.sersic is not None:
        matched = evidence.measured.clumpiness[evidence.sersic.rows]
        _stairs(axes, matched, edges, colour=BLUE, label=f"sources, N = {len(matched):,}")
        _stairs(axes, evidence.sersic.clumpiness, edges, colour=ORANGE, label="their smooth twins", fill=False)
    axes.axvline(noise, color=VERMILION, lw=1.6, ls="--", label=f"pure noise, {noise:.2f}")
    _finish(axes, xlabel="clumpiness", columns=3)


def _draw_snr(axes: Axes, report: BankReport) -> None:
    stored = report.evidence.bank.meta.get("snr")
    pixels = _known(np.minimum(report.evidence.measured.snr, SNR_SHOWN_MAX))
    edges = np.geomspace(1, SNR_SHOWN_MAX, N_BINS + 1)
    if stored is not None:
        values = _known(stored.astype(float))
        _stairs(axes, values, edges, colour=BLUE, label=f"stored, N = {len(values):,}")
        _stairs(axes, pixels, edges, colour=GREEN, label="from the pixels", fill=False)
    else:
        _stairs(axes, pixels, edges, colour=BLUE, label=f"from the pixels, N = {len(pixels):,}")
    _limit(axes, report.evidence.limits.min_snr)
    axes.set_xscale("log")
    _finish(axes, xlabel=f"S/N (above {SNR_SHOWN_MAX:.0e}: drawn there)", columns=3)


def _limit(axes: Axes, value: float) -> None:
    axes.axvline(value, color=INK, lw=1.0, ls=":", label=f"limit, {value:g}")
