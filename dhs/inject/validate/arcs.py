"""What the pixels say of the arcs: from stamps of one galaxy by subtraction, from single stamps by symmetry.

*Stamps of one galaxy* (a pair, or a grid of arcs on one galaxy) differ in their arcs and in nothing else, so the
difference of their total light is the arcs' light, exactly, in every band: the galaxy and the survey's noise cancel.

*Single stamps* have lopsided galaxies and neighbours among their arcs (`dhs.inject.validate.pixels`). Only arcs that
the columns call bright (S/N of the brightest pixel above MIN_CLAIMED_SNR) and that the pixels show at about that
strength are used, and the same pixels of controls say how much of the colours' scatter is not the arcs'. That measures
g - r; in z the galaxy is too bright, and r - z is not judged.
"""

from dataclasses import dataclass

import numpy as np

from dhs.constants import BANDS, MAD_TO_SIGMA
from dhs.inject.validate.evidence import Evidence
from dhs.lens.photometry import flux_nmgy

MIN_PAIRS = 20
"""Differences of stamps of one galaxy below which they say nothing."""
MIN_SINGLE = 50
MIN_CLAIMED_SNR = 4.0
PEAK_PER_SNR = 1.85
"""`arc_peak` over `arc_snr` of arcs above MIN_CLAIMED_SNR: median of 560 on the mock survey (of one colour: 1.95)."""
MAX_PEAK_PER_SNR = 2.5
"""Above it the pixels' peak is something else than the arc."""
SAME_NOISE = 0.02
"""Stamps whose ring noise differs by more (relative) are not of the same pixels."""
MIN_LIGHT_NMGY = 0.02
"""Of a difference whose colour is taken: 26.7 mag."""


@dataclass(frozen=True)
class Differences:
    """Stamps less another one of their galaxy; M differences."""

    light: np.ndarray
    """(M, 3) nMgy in the pixels."""
    expected: np.ndarray
    """(M, 3) nMgy from the columns; NaN where they do not say."""
    against_control: np.ndarray
    """(M,) bool: the other stamp has no arc, so the light is one arc's."""
    stamps: np.ndarray
    """(M,) kept row."""


def differences(e: Evidence) -> Differences:
    """Every usable injection less a control of its galaxy, else less the first injection of its galaxy."""
    rows = e.rows
    if not e.has("galaxy", "injected", "total_g", "ring_sigma_r"):
        return _none()
    usable = np.isfinite(rows["total_g"]) & (rows["injected"] >= 0)
    index = np.flatnonzero(usable)
    order = index[np.lexsort((rows["row"][index], rows["injected"][index], rows["galaxy"][index]))]
    galaxy = rows["galaxy"][order]
    first = np.flatnonzero(np.append(True, galaxy[1:] != galaxy[:-1])) if len(order) else np.zeros(0, np.int64)
    base = np.repeat(order[first], np.diff(np.append(first, len(order))))
    pair = (order != base) & (rows["injected"][order] == 1)
    stamps, base = order[pair], base[pair]
    same = np.abs(rows["ring_sigma_r"][stamps] / rows["ring_sigma_r"][base] - 1) < SAME_NOISE
    stamps, base = stamps[same], base[same]
    total = np.stack([rows[f"total_{band}"] for band in BANDS], axis=1)
    flux = expected_flux_nmgy(e)
    expected = flux[stamps] - np.where((rows["injected"][base] == 1)[:, None], flux[base], 0.0)
    return Differences(total[stamps] - total[base], expected, rows["injected"][base] == 0, stamps)


def _none() -> Differences:
    return Differences(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, bool), np.zeros(0, np.int64))


def expected_flux_nmgy(e: Evidence) -> np.ndarray:
    """(M, 3) light of the kept rows' arcs: by their magnitudes, else the sources' and the magnification; else NaN."""
    out = np.full((len(e.rows["row"]), len(BANDS)), np.nan)
    for i, band in enumerate(BANDS):
        if e.has(f"arc_{band}_mag"):
            out[:, i] = flux_nmgy(e.rows[f"arc_{band}_mag"])
        elif e.has(f"source_{band}_mag", "magnification"):
            out[:, i] = flux_nmgy(e.rows[f"source_{band}_mag"]) * e.rows["magnification"]
    return out


def claimed_snr(e: Evidence) -> np.ndarray:
    """(M,) S/N of the brightest pixel by the columns, the best band's; NaN where they do not say."""
    if e.has("arc_snr"):
        return e.rows["arc_snr"].astype(np.float64)
    return _best_band(e, "arc_snr_{}")


def claimed_snr_sum(e: Evidence) -> np.ndarray:
    """(M,) integrated S/N by the columns, the best band's."""
    if e.has("arc_snr_sum"):
        return e.rows["arc_snr_sum"].astype(np.float64)
    return _best_band(e, "arc_snr_sum_{}")


def _best_band(e: Evidence, pattern: str) -> np.ndarray:
    bands = [e.rows[pattern.format(band)] for band in BANDS if e.has(pattern.format(band))]
    return np.fmax.reduce(bands).astype(np.float64) if bands else np.full(len(e.rows["row"]), np.nan)


@dataclass(frozen=True)
class SingleColours:
    """g - r of single arcs, and what controls would scatter it by."""

    g_r: np.ndarray
    """(M,) mag."""
    scatter: float
    """1.4826 MAD of them."""
    null_scatter: float
    """The same of arcs of one colour with the light of controls added."""

    @property
    def own_scatter(self) -> float:
        """What is left for the arcs."""
        return float(np.sqrt(max(0.0, self.scatter**2 - self.null_scatter**2)))


def single_colours(e: Evidence) -> SingleColours | None:
    """From bright single arcs; None where fewer than MIN_SINGLE can be used."""
    if not e.has("arc_peak", "arc_light_g", "arc_null_g", "injected"):
        return None
    claimed, peak = claimed_snr(e), e.rows["arc_peak"].astype(np.float64)
    g, r = (e.rows[f"arc_light_{band}"].astype(np.float64) for band in ("g", "r"))
    null_g, null_r = (e.rows[f"arc_null_{band}"].astype(np.float64) for band in ("g", "r"))
    chosen = e.injections & (claimed > MIN_CLAIMED_SNR) & (peak < MAX_PEAK_PER_SNR * claimed)
    chosen &= (g > 0) & (r > 0) & np.isfinite(null_g)
    if chosen.sum() < MIN_SINGLE:
        return None
    colours = magnitudes(g[chosen] / r[chosen])
    one = 10 ** (-0.4 * np.median(colours))
    with np.errstate(invalid="ignore", divide="ignore"):
        null = magnitudes((r[chosen] * one + null_g[chosen]) / (r[chosen] + null_r[chosen]))
    return SingleColours(colours, scatter(colours), scatter(null))


def magnitudes(ratio: np.ndarray) -> np.ndarray:
    """-2.5 log10; NaN where the ratio is not positive."""
    return -2.5 * np.log10(np.where(ratio > 0, ratio, np.nan))


def scatter(values: np.ndarray) -> float:
    """1.4826 MAD of the finite values; NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(MAD_TO_SIGMA * np.median(np.abs(known - np.median(known)))) if len(known) else float("nan")
