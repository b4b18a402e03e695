"""Histograms of a set, split by split, and of injections against controls. Object API only: no pyplot."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dhs.inject.validate.arcs import claimed_snr
from dhs.inject.validate.evidence import Evidence

FIGURE_DPI = 120
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SPLIT_COLOURS = (BLUE, ORANGE, GREEN, VERMILION)
MUTED, GRID = "#6b6b6b", "#e4e4e4"
MAX_BINS = 40
PER_BIN = 8
"""Values a bin on average, at least."""
MAX_POINTS = 4000
"""Positions and colours drawn of each split."""
SNR_SHOWN = (0.1, 300.0)


def figures(e: Evidence) -> dict[str, tuple[Figure, str]]:
    """Figure and caption by name; what the set has no columns for is left out."""
    makers: dict[str, tuple[bool, Callable[[Axes, Evidence], None], str]] = {
        "snr": (
            bool(np.isfinite(claimed_snr(e)).any()),
            _snr,
            "Arc S/N of the brightest pixel, best band. Dotted: 1, 10 and 50.",
        ),
        "theta_e": (
            e.has("theta_e_arcsec"),
            lambda axes, e: _of_splits(axes, e, "theta_e_arcsec", arcs=True, label="theta_E (arcsec)"),
            "Einstein radii of the injections.",
        ),
        "colours": (
            e.has("arc_g_mag", "arc_r_mag", "arc_z_mag"),
            _colours,
            "Arc colours. One fixed colour is one point here, and a shortcut for the network.",
        ),
        "hlr": (
            e.has("lensed_hlr_arcsec") or e.has("source_hlr_arcsec"),
            _hlr,
            "Half-light radii of the lensed arc and of the source: two things with two names.",
        ),
        "magnification": (
            e.has("magnification"),
            lambda axes, e: _of_splits(axes, e, "magnification", arcs=True, label="magnification"),
            "Total magnification of the injections.",
        ),
        "psf": (
            e.has("psfsize_r_arcsec"),
            lambda axes, e: _of_labels(axes, e, e.rows["psfsize_r_arcsec"], label="seeing r (arcsec)"),
            "Seeing under arcs and without: the two should lie on one another.",
        ),
        "depth": (
            e.has("psfdepth_r_mag"),
            lambda axes, e: _of_labels(axes, e, e.rows["psfdepth_r_mag"], label="depth r (mag)"),
            "Depth under arcs and without.",
        ),
        "noise": (
            e.has("ring_sigma_r"),
            lambda axes, e: _of_labels(axes, e, e.rows["ring_sigma_r"], label="noise in the outer ring, r (nMgy)"),
            "Noise measured in the stamps' outer ring, under arcs and without.",
        ),
        "core": (
            e.has("core_z"),
            lambda axes, e: _of_labels(axes, e, _log10(e.rows["core_z"]), label="log10 light of the core, z (nMgy)"),
            "Light within 0.5 arcsec of the centre in z, where arcs add least; of all classes of galaxies.",
        ),
        "sky": (
            e.has("ra_deg", "dec_deg"),
            _sky,
            "Where the galaxies lie. Splits must not share pieces of the sky.",
        ),
    }
    return {name: (_drawn(draw, e), caption) for name, (known, draw, caption) in makers.items() if known}


def _drawn(draw: Callable[[Axes, Evidence], None], e: Evidence) -> Figure:
    figure = Figure(figsize=(5.6, 3.3), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8.5, color=MUTED)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    draw(axes, e)
    figure.legend(loc="outside upper left", ncols=4, fontsize=8, frameon=False, markerscale=4)
    return figure


def _snr(axes: Axes, e: Evidence) -> None:
    edges = np.geomspace(*SNR_SHOWN, _n_bins(e.injections.sum()) + 1)
    for split, colour in _splits(e):
        values = claimed_snr(e)[e.injections & e.in_split(split)]
        _stairs(axes, np.clip(values[np.isfinite(values)], *SNR_SHOWN), edges, colour=colour, label=split)
    for limit in (1, 10, 50):
        axes.axvline(limit, color=MUTED, lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_xlabel("arc S/N of the brightest pixel", fontsize=9)


def _of_splits(axes: Axes, e: Evidence, name: str, *, arcs: bool, label: str) -> None:
    values = e.rows[name].astype(np.float64)
    chosen = e.injections if arcs else e.rows["cutout_ok"]
    edges = _edges(values[chosen])
    for split, colour in _splits(e):
        here = values[chosen & e.in_split(split)]
        _stairs(axes, np.clip(here[np.isfinite(here)], edges[0], edges[-1]), edges, colour=colour, label=split)
    axes.set_xlabel(label, fontsize=9)


def _of_labels(axes: Axes, e: Evidence, values: np.ndarray, *, label: str) -> None:
    edges = _edges(values[e.rows["cutout_ok"]])
    for name, chosen, colour in (("injections", e.injections, VERMILION), ("controls", e.controls, BLUE)):
        known = values[chosen & np.isfinite(values)]
        named = f"{name}, N = {len(known):,}"
        _stairs(axes, np.clip(known, edges[0], edges[-1]), edges, colour=colour, label=named)
    axes.set_xlabel(label, fontsize=9)


def _hlr(axes: Axes, e: Evidence) -> None:
    named = (("lensed_hlr_arcsec", "lensed arc", VERMILION), ("source_hlr_arcsec", "source", BLUE))
    here = [(e.rows[name][e.injections].astype(np.float64), label, c) for name, label, c in named if e.has(name)]
    edges = _edges(np.concatenate([values for values, _, _ in here]))
    for values, label, colour in here:
        known = values[np.isfinite(values)]
        _stairs(axes, np.clip(known, edges[0], edges[-1]), edges, colour=colour, label=label)
    axes.set_xlabel("half-light radius (arcsec)", fontsize=9)


def _colours(axes: Axes, e: Evidence) -> None:
    g, r, z = (e.rows[f"arc_{band}_mag"].astype(np.float64) for band in "grz")
    for split, colour in _splits(e):
        rows = np.flatnonzero(e.injections & e.in_split(split))[:MAX_POINTS]
        axes.plot((g - r)[rows], (r - z)[rows], ".", ms=2, color=colour, alpha=0.5, label=split)
    axes.set(xlim=(-1, 2), ylim=(-1, 2))
    axes.set_xlabel("arc g - r (mag)", fontsize=9)
    axes.set_ylabel("arc r - z (mag)", fontsize=9)


def _sky(axes: Axes, e: Evidence) -> None:
    for split, colour in _splits(e):
        rows = np.flatnonzero(e.in_split(split))[:MAX_POINTS]
        axes.plot(e.rows["ra_deg"][rows], e.rows["dec_deg"][rows], ".", ms=2, color=colour, alpha=0.5, label=split)
    axes.set(xlim=(360, 0), ylim=(-90, 40))
    axes.set_xlabel("RA (degrees)", fontsize=9)
    axes.set_ylabel("Dec (degrees)", fontsize=9)


def _splits(e: Evidence) -> list[tuple[str | None, str]]:
    return list(zip(e.splits or (None,), SPLIT_COLOURS, strict=False))


def _stairs(axes: Axes, values: np.ndarray, edges: np.ndarray, *, colour: str, label: str | None) -> None:
    """Shares, so that splits of different size compare."""
    counts, _ = np.histogram(values, edges)
    axes.stairs(counts / max(counts.sum(), 1), edges, color=colour, lw=1.5, label=label or "all")
    axes.set_ylabel("share", fontsize=9)


def _edges(values: np.ndarray) -> np.ndarray:
    """From the 0.5% to the 99.5% quantile; what lies outside is drawn at the ends."""
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, (0.005, 0.995)) if len(known) else (0.0, 1.0)
    return np.linspace(low, high if high > low else low + 1, _n_bins(len(known)) + 1)


def _n_bins(n: int) -> int:
    return int(np.clip(n // PER_BIN, 8, MAX_BINS))


def _log10(values: np.ndarray) -> np.ndarray:
    return np.log10(np.where(values > 0, values, np.nan))
