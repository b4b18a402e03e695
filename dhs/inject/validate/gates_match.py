"""Gates between injections and controls: nothing but the arc may tell one from the other.

For every variable the standardised difference of the means (Cohen's d) and the Kolmogorov-Smirnov distance, in every
split and over all. Rows of one galaxy are one measurement: standard errors count galaxies, not rows, and a difference
fails when it exceeds its limit by three of them. A set too small to show a large difference is not
checked, and says so.

Controls are compared in kinds that also carry arcs: rings and spirals among the negatives are meant to look different.
Sky, depth and seeing have no such excuse: there all negatives count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.gate import Gate, Question
from dhs.sky.depth import sigma_of_depth

ERRORS = 3.0
"""Standard errors by which a difference must exceed its limit to fail."""
KS_NOISE = 1.95
"""KS distance over sqrt((n + m) / n m) that one of a thousand pairs of equal samples exceeds (Smirnov 1948)."""
WINSOR = 0.01
"""Values beyond these quantiles are moved to them: one bright star must not hide a difference."""
MIN_EACH = 10
WIDE_THETA_E_ARCSEC = 1.2
"""Arcs closer in lie on the core. Wider ones brighten it by 0.09 of its scatter in z, where galaxies are bright, but by
0.3 in r and 0.8 in g (measured on the mock survey): in g real arcs brighten the core too."""

MATCH_REMEDY = (
    "Draw injections and controls from one list by a hash of the galaxy (controls=unpaired), or use the same galaxies "
    "for both (controls=paired)."
)
SKY = Question(
    "same_sky",
    "Same footprint, depth and seeing",
    "Depth or seeing tells the label: the network learns the survey, and on real data finds it again.",
    MATCH_REMEDY,
)
GALAXIES = Question(
    "same_galaxies",
    "Same galaxies under arcs and without",
    "Controls are fainter, bluer or of another kind than the galaxies with arcs; these differences are learnt instead.",
    MATCH_REMEDY,
)
NOISE = Question(
    "same_noise",
    "Same background and noise",
    "The outer ring tells the label: noise was added to injections alone, or their sky was subtracted differently. "
    "These are the numbers that normalisation divides by.",
    "Treat controls as injections in every step; inject.arc_noise adds noise under the arc alone.",
)
CORES = Question(
    "same_cores",
    "Same light in the core",
    "Injections have brighter cores than their galaxies: unlensed source light, or a PSF wing, sits on the lens.",
    "Run task=selfcheck (brightness, background); look at the arc alone with task=one.",
)


@dataclass(frozen=True)
class Variable:
    """A number a row that must not tell the label."""

    name: str
    values: np.ndarray
    same_kinds: bool
    """Compared with controls of the kinds that carry arcs only."""


@dataclass(frozen=True)
class Difference:
    """Injections less controls."""

    variable: str
    split: str
    d: float
    d_error: float
    ks: float
    ks_noise: float

    def excess(self, *, max_d: float, max_ks: float) -> float:
        """Above 1 fails: the difference over its limit and three errors, the worse of d and KS."""
        return max(abs(self.d) / (max_d + ERRORS * self.d_error), self.ks / (max_ks + self.ks_noise))


def same_sky(e: Evidence) -> Gate:
    """Position, depth and seeing."""
    names = ["ra_deg", "dec_deg"]
    names += [f"{what}_{band}_{unit}" for what, unit in (("psfdepth", "mag"), ("psfsize", "arcsec")) for band in BANDS]
    found = [Variable(name, e.rows[name].astype(np.float64), False) for name in names if e.has(name)]
    if not found:
        return SKY.lacks(["ra, dec, psfdepth_r or psfsize_r"])
    return _compared(e, SKY, found, max_d=e.limits.max_cohens_d)


def same_galaxies(e: Evidence) -> Gate:
    """Magnitude, colours and redshift of the galaxy, among one kind."""
    found = [Variable(name, e.rows[name], True) for name in ("mag_r", "redshift") if e.has(name)]
    for blue, red in (("g", "r"), ("r", "z")):
        if e.has(f"mag_{blue}", f"mag_{red}"):
            found.append(Variable(f"{blue} - {red}", e.rows[f"mag_{blue}"] - e.rows[f"mag_{red}"], True))
    if not found:
        return GALAXIES.lacks(["mag_r"])
    return _compared(e, GALAXIES, found, max_d=e.limits.max_cohens_d)


def same_noise(e: Evidence) -> Gate:
    """Median and noise of the outer ring, and the noise over that of the depth."""
    if not e.has("ring_sigma_r"):
        return NOISE.not_checked("no pixels were looked at")
    found = []
    for band in BANDS:
        sigma = e.rows[f"ring_sigma_{band}"].astype(np.float64)
        found.append(Variable(f"ring level {band}", e.rows[f"ring_median_{band}"].astype(np.float64), True))
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(Variable(f"ln ring noise {band}", np.log(sigma), True))
        depth, size = f"psfdepth_{band}_mag", f"psfsize_{band}_arcsec"
        if e.has(depth, size):
            expected = sigma_of_depth(e.rows[depth], fwhm_arcsec=e.rows[size], pixel_scale_arcsec=PIXEL_SCALE_ARCSEC)
            with np.errstate(divide="ignore", invalid="ignore"):
                found.append(Variable(f"ln noise over depth's {band}", np.log(sigma / expected), True))
    return _compared(e, NOISE, found, max_d=e.limits.max_cohens_d)


def same_cores(e: Evidence) -> Gate:
    """z-band light of the core under wide arcs, and over the galaxy's own where its magnitude is known."""
    if not e.has("core_z"):
        return CORES.not_checked("no pixels were looked at")
    core = e.rows["core_z"].astype(np.float64)
    narrow = e.rows.get("theta_e_arcsec", np.full(len(core), np.inf)) < WIDE_THETA_E_ARCSEC
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(np.where((core > 0) & ~(e.injections & narrow), core, np.nan))
    found = [Variable("ln core z", log, True)]
    if e.has("mag_z"):
        found.append(Variable("ln core over galaxy z", log + 0.4 * np.log(10) * e.rows["mag_z"], True))
    return _compared(e, CORES, found, max_d=e.limits.max_core_d)


GATES: tuple[Callable[[Evidence], Gate], ...] = (same_sky, same_galaxies, same_noise, same_cores)


def _compared(e: Evidence, question: Question, variables: Sequence[Variable], *, max_d: float) -> Gate:
    """The gate of several variables: the worst decides."""
    if "injected" not in e.rows:
        return question.lacks(["injected, is_control, label or lens_model"])
    found = [
        difference
        for variable in variables
        for split in (None, *(e.splits if len(e.splits) > 1 else ()))
        if (difference := _difference(e, variable, split)) is not None
    ]
    limit_ks = e.limits.max_ks
    everywhere = [difference for difference in found if difference.split == "all"]
    if not everywhere:
        return question.not_checked("fewer than 10 injections or controls to compare")
    numbers = {"differences": [difference.__dict__ for difference in found]}
    worst = max(found, key=lambda difference: difference.excess(max_d=max_d, max_ks=limit_ks))
    measured = (
        f"largest of {len(found)} differences: {worst.variable} ({worst.split}) "
        f"d {worst.d:+.3f} +- {worst.d_error:.3f}, KS {worst.ks:.3f}"
    )
    allowed = f"|d| <= {max_d:g} + {ERRORS:g} errors, KS <= {limit_ks:g} + noise"
    if worst.excess(max_d=max_d, max_ks=limit_ks) > 1:
        return question.judged(measured, good=False, allowed=allowed, numbers=numbers)
    blind = max(max_d + ERRORS * difference.d_error for difference in everywhere)
    if blind > e.limits.max_unseen_d:
        return question.not_checked(f"too few galaxies: a d up to {blind:.2f} would go unseen", numbers=numbers)
    return question.judged(measured, good=True, allowed=allowed, numbers=numbers | {"would_show_d": blind})


def _difference(e: Evidence, variable: Variable, split: str | None) -> Difference | None:
    """Of one split; None where there is too little to compare."""
    known = np.isfinite(variable.values) & e.in_split(split)
    arcs, controls = e.injections & known, e.controls & known
    if variable.same_kinds and "kind" in e.rows:
        controls &= np.isin(e.rows["kind"], np.unique(e.rows["kind"][e.injections]))
    n, m = _galaxies(e, arcs), _galaxies(e, controls)
    if min(n, m) < MIN_EACH:
        return None
    a, b = _winsorised(variable.values[arcs], variable.values[controls])
    spread = np.sqrt(0.5 * (a.var() + b.var()))
    d = float((a.mean() - b.mean()) / spread) if spread > 0 else 0.0
    error = float(np.sqrt(1 / n + 1 / m))
    ks = float(ks_2samp(a, b, method="asymp").statistic)
    return Difference(variable.name, split or "all", d, error, ks, KS_NOISE * error)


def _galaxies(e: Evidence, rows: np.ndarray) -> int:
    """Distinct galaxies among the rows (rows where galaxies are not known)."""
    return len(np.unique(e.rows["galaxy"][rows])) if "galaxy" in e.rows else int(rows.sum())


def _winsorised(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.quantile(np.concatenate([a, b]), (WINSOR, 1 - WINSOR))
    return np.clip(a, low, high), np.clip(b, low, high)
