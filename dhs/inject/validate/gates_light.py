"""Gates of the arcs' brightness: S/N, flux in columns and in pixels, units, band order, sizes."""

import numpy as np

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.validate.arcs import (
    MIN_CLAIMED_SNR,
    MIN_PAIRS,
    MIN_SINGLE,
    PEAK_PER_SNR,
    Differences,
    claimed_snr,
    claimed_snr_sum,
    differences,
)
from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.gate import Gate, Question
from dhs.lens.photometry import flux_nmgy
from dhs.sky.depth import sigma_of_depth

SEEN_SNR = 5.0
"""Claimed S/N of arcs that pixels must show."""
SEEN_PEAK = 4.0
"""`arc_peak` of an arc that is shown."""
MIN_EXCESS = 0.1
"""Share of arcs, beyond that of controls, that show where the columns give no S/N."""
PLAUSIBLE_SIGMA_NMGY = (3e-4, 6e-2)
"""Noise per pixel of DR10 in any band (SCIENCE section 4: 0.0012 to 0.0116), with a factor 4 to 5 on either side."""
PLAUSIBLE_MAGNIFICATION = (1.0, 40.0)
SAME_SOURCE_SPREAD = 0.01
"""Relative; a source's own radius does not vary."""
MAX_VARYING = 0.1

SNR = Question(
    "arc_snr",
    "Arc S/N is that of lenses",
    "Arcs are too faint to be seen (the seeds' were 1,111 times too faint: flux per pixel given where surface "
    "brightness was asked for), or so bright that no real lens looks like them.",
    "Check units with task=selfcheck; then colour.r_mag and inject.acceptance.min_arc_snr_sum.",
)
TWO_SNRS = Question(
    "two_snrs",
    "Peak and integrated S/N are two things",
    "One is stored under both names; thresholds meant for the one are applied to the other.",
    "arc_snr is the brightest pixel's, arc_snr_sum that of the footprint; write them again.",
)
SEEN = Question(
    "arcs_seen",
    "Pixels show the arcs that the columns claim",
    "Labels say injected and the stamps hold no arc: another column of images was written, or arcs are too faint.",
    "Look at the contact sheet; render one row alone with task=one.",
)
COLUMN_FLUX = Question(
    "arc_flux_columns",
    "Arc magnitudes are the lensed sources'",
    "Lensed flux was renormalised, or the magnification is not that of the stamp.",
    "Run task=selfcheck on the configuration that made the set.",
)
PIXEL_FLUX = Question(
    "arc_flux_pixels",
    "Arc light in the pixels is that of the columns",
    "The stamps hold other arcs than the table says: a wrong unit or zero point, or a shifted column.",
    "Run task=selfcheck; render one row alone with task=one and compare.",
)
UNIT = Question(
    "unit",
    "Noise is that of the depth, in nanomaggies",
    "Pixels are not nMgy per 0.262-arcsec pixel (counts, microjansky, normalised), or the depth belongs to others.",
    "Convert with 10**((22.5 - zero point) / 2.5) per band.",
)
BAND_ORDER = Question(
    "band_order",
    "Bands are g, r, z in this order",
    "A network trained on z, r, g sees every colour inverted on real data.",
    "Write the bands in the order g, r, z.",
)
OUTSHINING = Question(
    "arcs_outshine",
    "Arcs are fainter than their galaxies",
    "Bright arcs make the task easy and real lenses look unlike them (the seeds: 0.5 to 2 mag below the lens).",
    "Draw unlensed sources at r 22.5 to 26 (colour=population).",
)
HLR = Question(
    "hlr_is_the_sources",
    "A source's half-light radius is the source's",
    "The seeds measured the lensed arc and called it the source's: sizes several times too large.",
    "Rename the column to lensed_hlr_arcsec; take the source's from the bank.",
)


def arc_snr(e: Evidence) -> Gate:
    """S/N of the brightest pixel over all injections."""
    snr = claimed_snr(e)[e.injections]
    known = snr[np.isfinite(snr)]
    if "injected" not in e.rows or len(known) == 0:
        return SNR.lacks(["arc_snr"])
    limits = e.limits
    median, above_1, above_50 = float(np.median(known)), float((known > 1).mean()), float((known > 50).mean())
    good = limits.median_arc_snr.low <= median <= limits.median_arc_snr.high
    good &= above_1 >= limits.min_fraction_above_snr_1 and above_50 <= limits.max_fraction_above_snr_50
    measured = f"brightest pixel: median {median:.3g}, {above_1:.1%} above 1, {above_50:.1%} above 50"
    if len(known) < len(snr):
        measured += f", {len(snr) - len(known):,} without a value"
    allowed = (
        f"median {limits.median_arc_snr.low:g} to {limits.median_arc_snr.high:g}, "
        f">= {limits.min_fraction_above_snr_1:.0%}, <= {limits.max_fraction_above_snr_50:.0%}"
    )
    return SNR.judged(
        measured, good=good, allowed=allowed, numbers={"median": median, "above_1": above_1, "above_50": above_50}
    )


def two_snrs(e: Evidence) -> Gate:
    """Whether both columns hold the same numbers."""
    peak, integrated = (values[e.injections] for values in (claimed_snr(e), claimed_snr_sum(e)))
    both = np.isfinite(peak) & np.isfinite(integrated) & (peak > 0)
    if not both.any():
        return TWO_SNRS.lacks([name for name in ("arc_snr", "arc_snr_sum") if not e.has(name)])
    equal = float((np.abs(integrated[both] / peak[both] - 1) < 1e-6).mean())
    ratio = float(np.median(integrated[both] / peak[both]))
    # Below one sigma a footprint is its one brightest pixel: then the two are equal by definition.
    bright = both & (peak > 2)
    same = bright.any() and float((np.abs(integrated[bright] / peak[bright] - 1) < 1e-6).mean()) > 0.5
    return TWO_SNRS.judged(
        f"integrated over peak: median {ratio:.3g}, equal in {equal:.1%}",
        good=not same,
        allowed="not equal",
        numbers={"median_ratio": ratio, "equal": equal},
    )


def arcs_seen(e: Evidence) -> Gate:
    """Share of claimed arcs that the symmetry of galaxies leaves in the pixels."""
    if not e.has("arc_peak", "injected"):
        return SEEN.not_checked(f"needs pixels, labels and theta_e: no {', '.join(e.lacking('theta_e_arcsec'))}")
    peak, claimed = e.rows["arc_peak"], claimed_snr(e)
    looked = np.isfinite(peak)
    bright = e.injections & looked & (claimed > SEEN_SNR)
    arcs, controls = e.injections & looked, e.controls & looked
    lit, dark = (float((peak[rows] > SEEN_PEAK).mean()) if rows.any() else np.nan for rows in (arcs, controls))
    numbers = {"n_bright": int(bright.sum()), "shown_injected": lit, "shown_controls": dark}
    if bright.sum() >= MIN_PAIRS:
        share = float((peak[bright] > SEEN_PEAK).mean())
        measured = f"{share:.1%} of {bright.sum():,} arcs of claimed S/N > {SEEN_SNR:g} stand out of their galaxy"
        limit = e.limits.min_seen
        return SEEN.judged(measured, good=share >= limit, allowed=f">= {limit:.0%}", numbers=numbers | {"share": share})
    if min(arcs.sum(), controls.sum()) < MIN_SINGLE:
        return SEEN.not_checked(f"fewer than {MIN_PAIRS} arcs of claimed S/N > {SEEN_SNR:g}", numbers=numbers)
    error = float(np.sqrt(lit * (1 - lit) / arcs.sum() + dark * (1 - dark) / controls.sum()))
    measured = f"light stands out of {lit:.1%} of injections, {dark:.1%} of controls"
    if abs(lit - dark - MIN_EXCESS) < 2 * error:
        return SEEN.not_checked(f"{measured}: too few stamps to tell", numbers=numbers)
    return SEEN.judged(measured, good=lit - dark > MIN_EXCESS, allowed=f"{MIN_EXCESS:.0%} more", numbers=numbers)


def arc_flux_columns(e: Evidence) -> Gate:
    """Arc magnitude against source magnitude and magnification."""
    columns = [f"{what}_{band}_mag" for band in BANDS for what in ("arc", "source")]
    if not e.has(*columns, "magnification"):
        return COLUMN_FLUX.lacks(e.lacking(*columns, "magnification"))
    chosen = e.injections
    off = {}
    for band in BANDS:
        with np.errstate(invalid="ignore", divide="ignore"):
            lensed = e.rows[f"source_{band}_mag"] - 2.5 * np.log10(e.rows["magnification"])
        error = (e.rows[f"arc_{band}_mag"] - lensed)[chosen]
        off[band] = float(np.median(error[np.isfinite(error)]))
    good = all(abs(value) <= e.limits.max_mag_error for value in off.values())
    measured = "median arc - lensed source: " + ", ".join(f"{band} {value:+.3f} mag" for band, value in off.items())
    return COLUMN_FLUX.judged(measured, good=good, allowed=f"+- {e.limits.max_mag_error:g} mag", numbers=off)


def arc_flux_pixels(e: Evidence) -> Gate:
    """Light in pixels against the columns: stamps of one galaxy where there are some, else single stamps' S/N."""
    found = differences(e)
    known = np.isfinite(found.expected).all(axis=1) & (np.abs(found.expected) > 0).all(axis=1)
    if known.sum() >= MIN_PAIRS:
        return _flux_of_pairs(e, found, known)
    own = found.against_control
    if own.sum() >= MIN_PAIRS and e.has("source_r_mag"):
        return _magnification_in_pixels(e, found)
    return _snr_of_single(e)


def _flux_of_pairs(e: Evidence, found: Differences, known: np.ndarray) -> Gate:
    ratio = {
        band: float(np.sum(found.light[known, i] * found.expected[known, i]) / np.sum(found.expected[known, i] ** 2))
        for i, band in enumerate(BANDS)
    }
    factor = e.limits.max_flux_factor
    good = all(1 / factor <= value <= factor for value in ratio.values())
    measured = f"pixels / columns of {known.sum():,} stamps of repeated galaxies: " + ", ".join(
        f"{band} {value:.4g}" for band, value in ratio.items()
    )
    return PIXEL_FLUX.judged(measured, good=good, allowed=f"{1 / factor:.3g} to {factor:g}", numbers=ratio)


def _magnification_in_pixels(e: Evidence, found: Differences) -> Gate:
    own = found.against_control
    source = flux_nmgy(e.rows["source_r_mag"][found.stamps[own]])
    value = float(np.nanmedian(found.light[own, BANDS.index("r")] / source))
    low, high = PLAUSIBLE_MAGNIFICATION
    measured = f"light in {own.sum():,} pairs is {value:.4g} x the unlensed source's (no magnification to compare with)"
    return PIXEL_FLUX.judged(
        measured, good=low <= value <= high, allowed=f"{low:g} to {high:g}", numbers={"factor": value}
    )


def _snr_of_single(e: Evidence) -> Gate:
    if not e.has("arc_peak", "injected"):
        return PIXEL_FLUX.not_checked("needs pixels, labels, theta_e, and two stamps of one galaxy or arc_snr")
    claimed = claimed_snr(e)
    chosen = e.injections & (claimed > MIN_CLAIMED_SNR) & np.isfinite(e.rows["arc_peak"])
    if chosen.sum() < MIN_SINGLE:
        return PIXEL_FLUX.not_checked(
            f"no galaxy has two stamps, and fewer than {MIN_SINGLE} arcs claim S/N > {MIN_CLAIMED_SNR:g}"
        )
    factor = float(np.median(e.rows["arc_peak"][chosen] / claimed[chosen])) / PEAK_PER_SNR
    limit = e.limits.max_snr_factor
    measured = f"S/N in the pixels / S/N claimed, {chosen.sum():,} single arcs: {factor:.3g}"
    return PIXEL_FLUX.judged(
        measured, good=1 / limit <= factor <= limit, allowed=f"{1 / limit:.2g} to {limit:g}", numbers={"factor": factor}
    )


def unit(e: Evidence) -> Gate:
    """Noise in the outer ring over that of the depth and seeing columns; else over the survey's range."""
    if not e.has("ring_sigma_r"):
        return UNIT.not_checked("no pixels were looked at")
    ratio = {}
    for band in BANDS:
        depth, size = f"psfdepth_{band}_mag", f"psfsize_{band}_arcsec"
        if e.has(depth, size):
            expected = sigma_of_depth(e.rows[depth], fwhm_arcsec=e.rows[size], pixel_scale_arcsec=PIXEL_SCALE_ARCSEC)
            ratio[band] = float(np.nanmedian(e.rows[f"ring_sigma_{band}"] / expected))
    if not ratio:
        sigma = {band: float(np.nanmedian(e.rows[f"ring_sigma_{band}"])) for band in BANDS}
        low, high = PLAUSIBLE_SIGMA_NMGY
        measured = (
            "noise " + ", ".join(f"{band} {value:.2g}" for band, value in sigma.items()) + " nMgy; no depth column"
        )
        good = all(low <= value <= high for value in sigma.values())
        return UNIT.judged(measured, good=good, allowed=f"{low:g} to {high:g} nMgy", numbers=sigma)
    factor = e.limits.max_noise_factor
    mean = float(np.exp(np.mean(np.log(list(ratio.values())))))  # whatever the order of the bands
    measured = "noise in the ring / that of the depth: " + ", ".join(f"{b} {value:.3g}" for b, value in ratio.items())
    measured += f"; mean {mean:.3g}"
    allowed = f"mean {1 / factor:.2g} to {factor:g}"
    return UNIT.judged(measured, good=1 / factor <= mean <= factor, allowed=allowed, numbers=ratio | {"mean": mean})


def band_order(e: Evidence) -> Gate:
    """Noise and the light of galaxies' cores must both rise from g over r to z."""
    if not e.has("ring_sigma_r", "core_r"):
        return BAND_ORDER.not_checked("no pixels were looked at")
    said, good, numbers = [], True, {}
    for what, name in (("noise", "ring_sigma"), ("light of the cores", "core")):
        value = {band: float(np.nanmedian(e.rows[f"{name}_{band}"])) for band in BANDS}
        good &= value["g"] < value["r"] < value["z"]
        said.append(f"{what} " + " : ".join(f"{v / value['r']:.2f}" for v in value.values()))
        numbers[name] = value
    return BAND_ORDER.judged(
        ", ".join(said), good=good, allowed="both rise from the 1st to the 3rd band", numbers=numbers
    )


def arcs_outshine(e: Evidence) -> Gate:
    """Share of arcs brighter than their galaxy in r."""
    if not e.has("arc_r_mag", "mag_r"):
        return OUTSHINING.lacks(e.lacking("arc_r_mag", "mag_r"))
    both = e.injections & np.isfinite(e.rows["arc_r_mag"]) & np.isfinite(e.rows["mag_r"])
    if not both.any():
        return OUTSHINING.not_checked("no injection has both magnitudes")
    share = float((e.rows["arc_r_mag"][both] < e.rows["mag_r"][both]).mean())
    limit = e.limits.max_outshining
    return OUTSHINING.judged(
        f"{share:.1%} of {both.sum():,} arcs are brighter",
        good=share <= limit,
        allowed=f"<= {limit:.0%}",
        numbers={"share": share},
    )


def hlr_is_the_sources(e: Evidence) -> Gate:
    """A radius that is the source's is one number a source, and smaller than its box's."""
    if not e.has("source_hlr_arcsec"):
        if e.has("lensed_hlr_arcsec"):
            return HLR.judged("only lensed_hlr_arcsec, under its own name", good=True)
        return HLR.lacks(["source_hlr_arcsec, cosmos_hlr_arcsec or lensed_hlr_arcsec"])
    name = next(
        (n for n in ("cosmos_hlr_arcsec", "src_hlr_arcsec") if n in e.files.parts[0].columns), "source_hlr_arcsec"
    )
    chosen = e.injections & np.isfinite(e.rows["source_hlr_arcsec"])
    radius = e.rows["source_hlr_arcsec"][chosen].astype(np.float64)
    median = float(np.median(radius)) if len(radius) else np.nan
    varying, n_repeated = _varying_sources(e, chosen, radius)
    numbers = {"column": name, "median": median, "varying": varying, "n_repeated_sources": n_repeated}
    measured = f"{name}: median {median:.2f} arcsec; "
    measured += (
        f"{varying:.1%} of {n_repeated:,} repeated sources have several values" if n_repeated else "no source twice"
    )
    good = median <= e.limits.max_source_hlr_arcsec and not (n_repeated and varying > MAX_VARYING)
    allowed = f"<= {e.limits.max_source_hlr_arcsec:g} arcsec, one value a source"
    return HLR.judged(measured, good=good, allowed=allowed, numbers=numbers)


def _varying_sources(e: Evidence, chosen: np.ndarray, radius: np.ndarray) -> tuple[float, int]:
    """Share of the sources seen twice whose radius differs, and how many were seen twice."""
    if not e.has("source_index"):
        return 0.0, 0
    kind = e.rows.get("source_kind", np.zeros(len(chosen), np.int64))[chosen]
    order = np.lexsort((radius, e.rows["source_index"][chosen], kind))
    key = kind[order].astype(np.int64) * (1 << 40) + e.rows["source_index"][chosen][order].astype(np.int64)
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.zeros(0, np.int64)
    last = np.append(first[1:], len(key)) - 1
    twice = last > first
    if not twice.any():
        return 0.0, 0
    low, high = radius[order][first[twice]], radius[order][last[twice]]
    return float((high - low > SAME_SOURCE_SPREAD * high).mean()), int(twice.sum())
