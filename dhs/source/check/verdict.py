"""The checks of a bank: each a figure, what is allowed, a verdict and what it means.

A check of a source's own figure counts the sources beyond its limit and allows `max_outlier_fraction` of them, so that
a bank of good galaxies with a tenth of noise among them fails too. Advice (support radius, square footprints, the
ends of the size filter, repeated catalogue rows, the clumpiness column, S/N from the grain) warns and does not fail.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dhs.config.bank_check import BankLimits
from dhs.config.base import Range
from dhs.source.check.duplicates import exact_copies, near_copies
from dhs.source.check.measure import Measured
from dhs.source.check.read import BankFile
from dhs.source.check.reference import MatchedSersic, NoiseReference

Outcome = Literal["pass", "warn", "fail", "absent"]
FLOAT16_FLUX_ERROR = 2e-3
"""Rounding 9,216 pixels to float16, subnormals included."""
CLIPPED_LOWEST = -1e-6
"""An image that never goes below this fraction of its peak has had its negative noise clipped."""
HLR_EDGE = 0.05
"""Within this fraction of an end of the size filter a source counts as piled up there."""
MAX_OUTSIDE_FILTER = 0.01
GRID_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Grid:
    """What the configuration's `source` group expects."""

    size_px: int
    pixel_scale_arcsec: float


@dataclass(frozen=True)
class Evidence:
    """Everything the checks look at."""

    bank: BankFile
    measured: Measured
    noise: NoiseReference
    sersic: MatchedSersic | None
    grid: Grid
    hlr_filter: Range
    hlr_filter_is_stated: bool
    limits: BankLimits


@dataclass(frozen=True)
class Check:
    """One line of the verdict."""

    key: str
    quantity: str
    measured: str
    allowed: str
    outcome: Outcome
    meaning: str
    badness: np.ndarray | None = None
    """(N,) how far each source is in the wrong direction, NaN where not measured: the worst are shown."""
    beyond: int = 0
    """Sources beyond the limit."""


def run_checks(evidence: Evidence) -> list[Check]:
    """Every check, in the order in which a reader wants them."""
    return [check(evidence) for check in CHECKS]


def passed(checks: list[Check]) -> bool:
    """True when no check failed."""
    return all(check.outcome != "fail" for check in checks)


def _of_each(
    evidence: Evidence,
    *,
    key: str,
    quantity: str,
    values: np.ndarray,
    limit: float,
    meaning: str,
    style: str,
    at_least: bool = False,
    advice: bool = False,
) -> Check:
    """Check that all but ``max_outlier_fraction`` of the sources keep ``limit``; NaN values are not counted."""
    known = np.isfinite(values)
    sign = -1.0 if at_least else 1.0
    if not known.any():
        return Check(key, quantity, "not measurable", "", "fail", "No source has pixels to measure this on.")
    beyond = int((sign * values[known] > sign * limit).sum())
    share, allowed_share = beyond / known.sum(), evidence.limits.max_outlier_fraction
    outcome: Outcome = "pass" if share <= allowed_share else "warn" if advice else "fail"
    return Check(
        key,
        quantity,
        f"median {style.format(np.median(values[known]))}, {share:.1%} beyond",
        f"{'>=' if at_least else '<='} {style.format(limit)} for {1 - allowed_share:.0%}",
        outcome,
        meaning,
        sign * values,
        beyond,
    )


def _ratio(
    key: str,
    quantity: str,
    ratio: np.ndarray,
    *,
    bias: float,
    scatter: float,
    meaning: str,
    absent: str,
    advice: bool = False,
) -> Check:
    """Check the median and the scatter of an (N,) ratio, NaN where one side is not known."""
    known = np.isfinite(ratio) & (ratio > 0)
    if not known.any():
        return Check(key, quantity, "", "", "absent", absent)
    median, spread = float(np.median(ratio[known])), float(np.std(ratio[known]))
    good = abs(median - 1) <= bias and spread <= scatter
    return Check(
        key,
        quantity,
        f"median {median:.3f}, scatter {spread:.3f}",
        f"{1 - bias:.2f} to {1 + bias:.2f}, scatter <= {scatter:.2f}",
        "pass" if good else "warn" if advice else "fail",
        meaning,
        np.where(known, np.abs(np.log(np.where(known, ratio, 1))), np.nan),
        int((np.abs(ratio[known] - 1) > scatter).sum()),
    )


def _grid(e: Evidence) -> Check:
    found, wanted = (e.bank.size_px, e.bank.pixel_scale_arcsec), (e.grid.size_px, e.grid.pixel_scale_arcsec)
    same = found[0] == wanted[0] and bool(np.isclose(found[1], wanted[1], rtol=GRID_TOLERANCE))
    return Check(
        "grid",
        "Stamp size and pixel scale",
        f"{found[0]} px of {found[1]:g} arcsec",
        f"{wanted[0]} px of {wanted[1]:g} arcsec",
        "pass" if same else "fail",
        "The grid of the configuration, whose rays would sample these templates."
        if same
        else f"Training would refuse it: set source.stamp_size_px={found[0]} source.pixel_scale_arcsec={found[1]:g}.",
    )


def _finite(e: Evidence) -> Check:
    bad = ~e.measured.finite
    meaning = "One NaN in a template is a NaN in every stamp that it lights."
    return _count("finite", "NaN or infinity", bad, e.bank.n_sources, meaning=meaning)


def _constant(e: Evidence) -> Check:
    meaning = "An image that is one number, or has no light, is no galaxy."
    return _count("constant", "Constant or empty images", e.measured.constant, e.bank.n_sources, meaning=meaning)


def _count(key: str, quantity: str, bad: np.ndarray, n: int, *, meaning: str) -> Check:
    outcome: Outcome = "fail" if bad.any() else "pass"
    return Check(
        key, quantity, f"{int(bad.sum()):,} of {n:,} sources", "none", outcome, meaning, bad * 1.0, int(bad.sum())
    )


def _flux(e: Evidence) -> Check:
    limit = max(e.limits.max_flux_error, FLOAT16_FLUX_ERROR if e.bank.dtype == np.float16 else 0.0)
    off = np.abs(e.measured.flux - 1).max(axis=1)
    known = np.isfinite(off)
    worst = float(off[known].max(initial=0.0))
    return Check(
        "flux",
        "Unit flux of every image" + (" and band" if e.bank.n_channels > 1 else ""),
        f"worst |flux - 1| {worst:.1e}",
        f"<= {limit:.0e}",
        "pass" if known.any() and worst <= limit else "fail",
        "A template is multiplied with the source's flux: its own must be 1.",
        off,
        int((off[known] > limit).sum()),
    )


def _pedestal(e: Evidence) -> Check:
    return _of_each(
        e,
        key="pedestal",
        quantity="Pedestal: rim level x box / flux",
        values=e.measured.pedestal,
        limit=e.limits.max_pedestal_fraction,
        style="{:.2%}",
        meaning="Clipped noise and unsubtracted sky fill the box evenly; a galaxy leaves the rim dark.",
    )


def _frame(e: Evidence) -> Check:
    return _of_each(
        e,
        key="frame",
        quantity="Edge light: flux in the outermost 2 px",
        values=e.measured.frame_flux,
        limit=e.limits.max_frame_flux,
        style="{:.3%}",
        meaning="Light that ends at the box edge is lensed into a straight-edged patch.",
    )


def _speckle(e: Evidence) -> Check:
    positive = e.measured.usable & (e.measured.lowest > CLIPPED_LOWEST)
    noisy = e.measured.usable & (e.measured.speckle > e.limits.max_speckle)
    clipped = float((positive & noisy).sum() / max(1, noisy.sum()))
    what = "negative noise was clipped to zero: it became light" if clipped > 0.5 else "noise fills the box"
    return _of_each(
        e,
        key="speckle",
        quantity="Clipped noise: changes of sign in the outer box",
        values=e.measured.speckle,
        limit=e.limits.max_speckle,
        style="{:.3f}",
        meaning=f"{noisy.sum():,} sources are speckled, {clipped:.0%} of them without one negative pixel: {what}."
        if noisy.any()
        else "The outer box is dark or smooth. Noise clipped at zero changes at 0.29 to 0.42 of all pixel pairs.",
    )


def _galaxy_light(e: Evidence) -> Check:
    return _of_each(
        e,
        key="galaxy_light",
        quantity="Light in one object, above the rim's noise",
        values=e.measured.galaxy_light,
        limit=e.limits.min_galaxy_light,
        at_least=True,
        style="{:.1%}",
        meaning="The light of the largest isophote; the rest is noise, sky or neighbours. Pure noise has below 2%.",
    )


def _empty_box(e: Evidence) -> Check:
    ratio = e.measured.hlr_arcsec / e.noise.hlr_arcsec
    known = np.isfinite(ratio)
    median = float(np.median(ratio[known])) if known.any() else np.nan
    limit = e.limits.max_hlr_of_empty_box
    return Check(
        "empty_box",
        "Half-light radius over that of an empty box",
        f"median {median:.2f} ({median * e.noise.hlr_arcsec:.2f} of {e.noise.hlr_arcsec:.2f} arcsec)",
        f"<= {limit:.2f}",
        "pass" if median <= limit else "fail",
        "An evenly lit box has 1: sizes near it are the box's, not the galaxies'.",
        ratio,
        int((ratio[known] > limit).sum()),
    )


def _hlr_column(e: Evidence) -> Check:
    stored = e.bank.meta["hlr_arcsec"].astype(np.float64)
    definitions = {"of the ellipse": e.measured.hlr_arcsec, "of the circle": e.measured.hlr_of_circle_arcsec}
    ratios = {name: _quotient(values, stored) for name, values in definitions.items()}
    name, ratio = min(ratios.items(), key=lambda item: _misfit(item[1]))
    return _ratio(
        "hlr_column",
        f"Half-light radius {name} measured now / meta/hlr_arcsec",
        ratio,
        bias=e.limits.max_hlr_column_bias,
        scatter=e.limits.max_hlr_column_scatter,
        meaning="The column must describe these pixels, as the radius of an ellipse or of a circle.",
        absent="meta/hlr_arcsec holds no positive number.",
    )


def _misfit(ratio: np.ndarray) -> float:
    known = np.isfinite(ratio) & (ratio > 0)
    return float(np.median(np.abs(np.log(ratio[known])))) if known.any() else np.inf


def _clumpiness_column(e: Evidence) -> Check:
    return _ratio(
        "clumpiness_column",
        "Clumpiness measured now / meta/clumpiness",
        _quotient(e.measured.clumpiness, e.bank.meta["clumpiness"].astype(np.float64)),
        bias=e.limits.max_hlr_column_bias,
        scatter=e.limits.max_hlr_column_scatter,
        meaning="The column must describe these pixels: sum |I - G(I, 1 px)| / sum I. Advice.",
        absent="meta/clumpiness holds no positive number.",
        advice=True,
    )


def _catalog(e: Evidence) -> Check:
    key = "catalog_hlr_arcsec"
    fitted = e.bank.meta[key].astype(np.float64) if key in e.bank.meta else np.full(e.bank.n_sources, np.nan)
    return _ratio(
        "catalog",
        "Half-light radius measured now / catalogue's fit",
        _quotient(e.measured.hlr_arcsec, fitted),
        bias=e.limits.max_catalog_hlr_bias,
        scatter=e.limits.max_catalog_hlr_scatter,
        meaning="Independent fits to the same galaxies: a pedestal makes the templates larger than they are.",
        absent="The file has no meta/catalog_hlr_arcsec: nothing independent to compare the sizes with.",
    )


def _quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=np.isfinite(below) & (below > 0))


def _snr(e: Evidence) -> Check:
    stored = e.bank.meta.get("snr")
    rim = float(e.measured.snr_from_rim[e.measured.usable].mean()) if e.measured.usable.any() else 0.0
    if stored is not None:
        values, origin = stored.astype(np.float64), "as stored"
    else:
        values, origin = e.measured.snr, f"from the pixels: rim noise ({rim:.0%} of sources), else grain"
    return _of_each(
        e,
        key="snr",
        quantity=f"S/N, {origin}",
        values=np.where(values == np.inf, np.finfo(float).max, values),
        limit=e.limits.min_snr,
        at_least=True,
        advice=stored is None and rim < 0.5,
        style="{:.3g}",
        meaning="Below it a template is as much noise as galaxy, and a lens magnifies both.",
    )


def _clumpiness(e: Evidence) -> Check:
    quantity = "Clumpiness between matched Sersic (0) and noise (1)"
    if e.sersic is None:
        return Check("clumpiness", quantity, "not measurable", "", "fail", "No source has pixels to measure this on.")
    values = np.full(e.bank.n_sources, np.nan)
    values[e.sersic.rows] = e.sersic.noise_likeness
    return _of_each(
        e,
        key="clumpiness",
        quantity=quantity,
        values=values,
        limit=e.limits.max_noise_likeness,
        style="{:.2f}",
        meaning=f"{len(e.sersic.rows):,} sources against smooth twins: sources {_median(e.measured.clumpiness):.3f}, "
        f"twins {_median(e.sersic.clumpiness):.3f}, noise {e.noise.clumpiness:.3f} in the median.",
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values[np.isfinite(values)]))


def _centroid(e: Evidence) -> Check:
    return _of_each(
        e,
        key="centroid",
        quantity="Centroid's distance from the stamp's centre",
        values=e.measured.centroid_arcsec,
        limit=e.limits.max_centroid_offset_half_boxes * e.bank.half_box_arcsec,
        style="{:.3f} arcsec",
        meaning="The source position of a lens is that of the stamp's centre.",
    )


def _duplicates(e: Evidence) -> Check:
    exact, near = exact_copies(e.measured), near_copies(e.measured)
    index = e.bank.meta["index"]
    repeated = len(index) - len(np.unique(index))
    share, limit = float(near.sum() / e.bank.n_sources), e.limits.max_duplicate_fraction
    outcome: Outcome = "fail" if share > limit else "warn" if repeated else "pass"
    return Check(
        "duplicates",
        "The same galaxy twice",
        f"{exact.sum():,} exact copies, {(near & ~exact).sum():,} turned or near, {repeated:,} repeated index",
        f"<= {limit:.1%} copies, no repeated index",
        outcome,
        "Copies, also turned and mirrored ones, make a bank smaller than it says.",
        near * 1.0,
        int(near.sum()),
    )


def _support(e: Evidence) -> Check:
    return _of_each(
        e,
        key="support",
        quantity="Farthest lit pixel, in half boxes",
        values=e.measured.support_arcsec / e.bank.half_box_arcsec,
        limit=e.limits.max_support_half_boxes,
        style="{:.2f}",
        advice=True,
        meaning="Light beyond 1 is in the corners: not round, and every ray must look for it. Advice.",
    )


def _box_fill(e: Evidence) -> Check:
    return _of_each(
        e,
        key="box_fill",
        quantity="Square footprints: share of its rectangle that an isophote fills",
        values=e.measured.box_fill,
        limit=e.limits.max_box_fill,
        style="{:.2f}",
        advice=True,
        meaning="An ellipse fills 0.79 at most. More: galaxies cut off by the edges of their pictures. Advice.",
    )


def _hlr_filter(e: Evidence) -> Check:
    low, high = e.hlr_filter.low, e.hlr_filter.high
    values = e.bank.meta["hlr_arcsec"].astype(np.float64)
    known = np.isfinite(values)
    outside = known & ((values < low) | (values > high))
    piled = known & ~outside & ((values < low * (1 + HLR_EDGE)) | (values > high * (1 - HLR_EDGE)))
    n = max(1, known.sum())
    good = outside.sum() <= MAX_OUTSIDE_FILTER * n and piled.sum() <= e.limits.max_hlr_edge_fraction * n
    origin = "stated by the file" if e.hlr_filter_is_stated else "task.hlr_filter_arcsec: the file states none"
    return Check(
        "hlr_filter",
        f"meta/hlr_arcsec against the filter {low:g} to {high:g} arcsec",
        f"{outside.sum() / n:.1%} outside, {piled.sum() / n:.1%} within {HLR_EDGE:.0%} of an end",
        f"<= {MAX_OUTSIDE_FILTER:.0%} outside, <= {e.limits.max_hlr_edge_fraction:.0%} near an end",
        "pass" if good else "warn",
        f"Filter {origin}. Sizes outside it: it was not applied; sizes piled up at an end: it shapes the bank. Advice.",
        np.where(known, np.maximum(low - values, values - high), np.nan),
        int(outside.sum() + piled.sum()),
    )


CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    _finite,
    _constant,
    _flux,
    _pedestal,
    _speckle,
    _galaxy_light,
    _frame,
    _empty_box,
    _hlr_column,
    _catalog,
    _clumpiness,
    _snr,
    _centroid,
    _duplicates,
    _grid,
    _support,
    _box_fill,
    _hlr_filter,
    _clumpiness_column,
)
