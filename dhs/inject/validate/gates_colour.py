"""Gates of the arcs' colours: every arc its own, in the columns and in the pixels."""

import numpy as np

from dhs.inject.validate.arcs import (
    MIN_LIGHT_NMGY,
    MIN_PAIRS,
    differences,
    magnitudes,
    scatter,
    single_colours,
)
from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.gate import Gate, Question

SAME_COLOUR_MAG = 0.01
MAX_NULL_SCATTER = 0.35
"""Magnitudes: where controls alone scatter single arcs' g - r by more, a fixed colour cannot be told from others."""

COLOUR_MEANING = (
    "All arcs have one colour: the network finds light of that colour, and no lens (every Gen5 arc had g - r = -0.32)."
)
COLOUR_REMEDY = "Draw each source's own colours (colour=population or colour=bank)."
COLUMNS = Question("colour_columns", "Arcs have their own colours: columns", COLOUR_MEANING, COLOUR_REMEDY)
PIXELS = Question(
    "colour_pixels",
    "Arcs have their own colours: pixels",
    COLOUR_MEANING,
    COLOUR_REMEDY + " Where the columns say otherwise, colours were drawn and not passed to the renderer.",
)


def colour_columns(e: Evidence) -> Gate:
    """Scatter of g - r and r - z by the columns, and the share of the most common g - r."""
    stem = next((stem for stem in ("arc", "source") if e.has(*(f"{stem}_{band}_mag" for band in "grz"))), None)
    if stem is None or "injected" not in e.rows:
        return COLUMNS.lacks(["arc_g_mag, arc_r_mag, arc_z_mag (or the sources')"])
    chosen = e.injections
    g, r, z = (e.rows[f"{stem}_{band}_mag"][chosen].astype(np.float64) for band in "grz")
    found = {"g_r": scatter(g - r), "r_z": scatter(r - z)}
    one = most_common_share(g - r)
    least, most = e.limits.min_colour_scatter, e.limits.max_one_colour
    good = min(found.values()) >= least and one <= most
    measured = (
        f"{stem}s: scatter of g-r {found['g_r']:.3f}, of r-z {found['r_z']:.3f} mag; "
        f"{one:.1%} within {SAME_COLOUR_MAG:g} mag of one g-r"
    )
    numbers = found | {"median_g_r": float(np.nanmedian(g - r)), "most_common_share": one}
    return COLUMNS.judged(measured, good=good, allowed=f">= {least:g} mag, <= {most:.0%}", numbers=numbers)


def colour_pixels(e: Evidence) -> Gate:
    """The same from the light itself: of repeated galaxies exactly, of single stamps as well as galaxies allow."""
    if "injected" not in e.rows or e.n_pixel_rows == 0:
        return PIXELS.not_checked("needs pixels and labels")
    light = differences(e).light
    usable = (np.abs(light) > MIN_LIGHT_NMGY).all(axis=1)
    g_r, r_z = (magnitudes(light[usable, i] / light[usable, i + 1]) for i in (0, 1))
    if usable.sum() >= MIN_PAIRS:
        found = {"g_r": scatter(g_r), "r_z": scatter(r_z), "n": int(usable.sum())}
        measured = (
            f"{found['n']:,} differences of stamps of one galaxy: scatter of g-r {found['g_r']:.3f}, "
            f"of r-z {found['r_z']:.3f} mag"
        )
        least = e.limits.min_colour_scatter
        good = min(found["g_r"], found["r_z"]) >= least and most_common_share(g_r) <= e.limits.max_one_colour
        return PIXELS.judged(measured, good=good, allowed=f">= {least:g} mag", numbers=found)
    return _of_single(e)


def _of_single(e: Evidence) -> Gate:
    single = single_colours(e)
    if single is None:
        return PIXELS.not_checked("no galaxy has two stamps, and too few bright arcs (arc_snr, theta_e) stand alone")
    numbers = {"scatter": single.scatter, "null_scatter": single.null_scatter, "own_scatter": single.own_scatter}
    said = (
        f"{len(single.g_r):,} single arcs: scatter of g-r {single.scatter:.3f} mag, of which galaxies and noise make "
        f"{single.null_scatter:.3f}: {single.own_scatter:.3f} is the arcs' own"
    )
    if not single.null_scatter <= MAX_NULL_SCATTER:
        return PIXELS.not_checked(f"{said}; above {MAX_NULL_SCATTER:g} nothing can be told", numbers=numbers)
    least = e.limits.min_colour_scatter
    return PIXELS.judged(said, good=single.own_scatter >= least, allowed=f">= {least:g} mag", numbers=numbers)


def most_common_share(colours: np.ndarray) -> float:
    """Largest share of the finite colours within SAME_COLOUR_MAG of one value."""
    known = np.sort(colours[np.isfinite(colours)])
    if len(known) == 0:
        return 1.0
    ends = np.searchsorted(known, known + 2 * SAME_COLOUR_MAG, side="right")
    return float((ends - np.arange(len(known))).max() / len(known))
