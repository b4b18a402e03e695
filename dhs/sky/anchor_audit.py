"""The audit of an anchor list: is there really a lens, or a galaxy, at each position?

Three checks, and all must pass before an object counts in any recall or contamination:

* J-name: the position lies within 1.5 arcsec of the box that the object's own J-name stands for;
* catalogue: a second, independent catalogue has a lens within 3 arcsec (lenses only);
* pixels: the cutout shows a galaxy brighter than r = 20 within 1 arcsec of its centre.

A check that could not be made (no cutout) is neither passed nor failed: the object does not count either, and the
verdict says so. The seeds' 68 positions agree with their short J-names to the minute and fail the second check by
20 to 600 arcsec (SCIENCE.md section 7).
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from scipy.ndimage import gaussian_filter

from dhs.constants import BANDS, MAD_TO_SIGMA, PIXEL_SCALE_ARCSEC
from dhs.sky.anchors import AnchorList
from dhs.sky.cutouts import CutoutSet, good_pixels
from dhs.sky.jname import decode_jname, distance_arcsec
from dhs.sky.known_lenses import KnownLenses, nearest

Verdict = Literal["pass", "fail", "not checked"]

SHORT_NAME_ARCSEC = 10.0
"""A J-name whose box is larger proves nothing about a position inside it."""
APERTURE_ARCSEC = 3.0
"""Radius of the magnitude's aperture: holds 90% and more of a luminous red galaxy at z > 0.1."""
SMOOTH_SIGMA_PX = 1.0
BACKGROUND_FRACTION = 0.75
"""The sky is measured outside this fraction of the half-size."""
MIN_SNR = 10.0
"""Of the light in the aperture: below it there is no object."""
SAME_OBJECT_ARCSEC = 1.0
"""A cutout belongs to an anchor when its centre is this near."""


class AuditLimits(NamedTuple):
    """What passes."""

    jname_arcsec: float = 1.5
    catalogue_arcsec: float = 3.0
    centre_arcsec: float = 1.0
    max_r_mag: float = 20.0


@dataclass(frozen=True)
class Audit:
    """Verdicts on N anchors; NaN or '' where there was nothing to measure."""

    jname: np.ndarray
    """(N,) Verdict."""
    jname_arcsec: np.ndarray
    jname_is_short: np.ndarray
    """(N,) bool: the name is too coarse to prove the position right; it may still prove it wrong."""
    catalogue: np.ndarray
    catalogue_name: np.ndarray
    catalogue_arcsec: np.ndarray
    pixels: np.ndarray
    cutout_row: np.ndarray
    """(N,) row of the object's cutout, -1 without one."""
    r_mag: np.ndarray
    """(N,) aperture magnitude of the object nearest the centre."""
    centre_arcsec: np.ndarray
    """(N,) its distance from the centre."""
    reason: np.ndarray
    """(N,) str: why it failed or was not checked, '' when it counts."""

    @property
    def counts(self) -> np.ndarray:
        """(N,) bool: every check was made and passed."""
        return self.reason == ""

    @property
    def failed(self) -> np.ndarray:
        """(N,) bool: at least one check failed."""
        return (self.jname == "fail") | (self.catalogue == "fail") | (self.pixels == "fail")


def audit(
    anchors: AnchorList, *, known: KnownLenses, cutouts: CutoutSet | None, limits: AuditLimits | None = None
) -> Audit:
    """Audit ``anchors`` against the lenses of ``known`` and the pixels of ``cutouts`` (None: not checked)."""
    limits = limits or AuditLimits()
    jname, jname_arcsec, is_short = _check_names(anchors, limit_arcsec=limits.jname_arcsec)
    row, separation = nearest(anchors.ra_deg, anchors.dec_deg, known=known)
    is_lens = anchors.kind == "lens"
    matched = np.where(separation <= limits.catalogue_arcsec, "pass", "fail")
    catalogue = np.where(is_lens, matched, "not checked")
    pixels, cutout_row, r_mag, centre = _check_pixels(anchors, cutouts, limits=limits)
    without_reasons = Audit(
        jname=jname,
        jname_arcsec=jname_arcsec,
        jname_is_short=is_short,
        catalogue=catalogue,
        catalogue_name=known.name[row],
        catalogue_arcsec=separation,
        pixels=pixels,
        cutout_row=cutout_row,
        r_mag=r_mag,
        centre_arcsec=centre,
        reason=np.full(len(anchors), ""),
    )
    reasons = [_reason(without_reasons, i, limits=limits) for i in range(len(anchors))]
    return replace(without_reasons, reason=np.array(reasons))


def find_cutouts(anchors: AnchorList, cutouts: CutoutSet) -> np.ndarray:
    """(N,) row of each anchor's cutout, by position; -1 where no cutout is centred within SAME_OBJECT_ARCSEC."""
    placed = np.flatnonzero(np.isfinite(cutouts.ra_deg) & np.isfinite(cutouts.dec_deg))
    if len(placed) == 0:
        return np.full(len(anchors), -1)
    there = SkyCoord(cutouts.ra_deg[placed] * units.deg, cutouts.dec_deg[placed] * units.deg)
    here = SkyCoord(anchors.ra_deg * units.deg, anchors.dec_deg * units.deg)
    index, separation, _ = here.match_to_catalog_sky(there)
    return np.where(separation.arcsec <= SAME_OBJECT_ARCSEC, placed[index], -1)


class CentralObject(NamedTuple):
    """The brightest object near the middle of a stamp."""

    r_mag: float
    distance_arcsec: float
    snr: float


def central_object(image: np.ndarray, *, good: np.ndarray, search_arcsec: float) -> CentralObject:
    """Peak of the smoothed r-band ``image`` (y, x) in nMgy, as near to the centre as a local maximum can be found.

    The brightest local maximum within ``search_arcsec``, else the nearest one. NaN where no pixel is good.
    """
    filled = np.where(good, image, 0.0)
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in image.shape), indexing="ij")
    radius = np.hypot(x, y) * PIXEL_SCALE_ARCSEC
    sky_ring = good & (radius > BACKGROUND_FRACTION * 0.5 * min(image.shape) * PIXEL_SCALE_ARCSEC)
    if not sky_ring.any():
        return CentralObject(np.nan, np.nan, np.nan)
    background = float(np.median(filled[sky_ring]))
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(filled[sky_ring] - background)))
    smooth = gaussian_filter(np.where(good, image - background, 0.0), SMOOTH_SIGMA_PX)
    core = smooth[1:-1, 1:-1]
    shifted = [smooth[1 + dy : smooth.shape[0] - 1 + dy, 1 + dx : smooth.shape[1] - 1 + dx] for dy, dx in _NEIGHBOURS]
    is_peak = np.zeros_like(good)
    is_peak[1:-1, 1:-1] = np.all([core >= other for other in shifted], axis=0) & (core > 3 * sigma)
    if not is_peak.any():
        return CentralObject(np.nan, np.nan, 0.0)
    rank = np.where(is_peak, np.where(radius <= search_arcsec, smooth + 1e6, -radius), -np.inf)
    py, px = np.unravel_index(int(rank.argmax()), image.shape)
    aperture = good & (np.hypot(x - x[py, px], y - y[py, px]) * PIXEL_SCALE_ARCSEC <= APERTURE_ARCSEC)
    flux = float((image[aperture] - background).sum())
    snr = flux / max(sigma * np.sqrt(aperture.sum()), 1e-30)
    return CentralObject(22.5 - 2.5 * np.log10(flux) if flux > 0 else np.nan, float(radius[py, px]), snr)


_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def _check_names(anchors: AnchorList, *, limit_arcsec: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    verdicts, distances, short = [], [], []
    for full, name, ra, dec in zip(anchors.sdss_name, anchors.name, anchors.ra_deg, anchors.dec_deg, strict=True):
        try:
            named = decode_jname(str(full) or str(name))
        except ValueError:
            verdicts.append("not checked")
            distances.append(np.nan)
            short.append(True)
            continue
        distance = distance_arcsec(named, ra_deg=float(ra), dec_deg=float(dec))
        verdicts.append("pass" if distance <= limit_arcsec else "fail")
        distances.append(distance)
        short.append(named.size_arcsec > SHORT_NAME_ARCSEC)
    return np.array(verdicts), np.array(distances), np.array(short)


def _check_pixels(
    anchors: AnchorList, cutouts: CutoutSet | None, *, limits: AuditLimits
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = len(anchors)
    rows = np.full(n, -1) if cutouts is None else find_cutouts(anchors, cutouts)
    verdicts = np.full(n, "not checked", dtype="<U11")
    mags, centres = np.full(n, np.nan), np.full(n, np.nan)
    r = BANDS.index("r")
    for i in np.flatnonzero(rows >= 0):
        assert cutouts is not None
        row = rows[i]
        good = good_pixels(cutouts.invvar[row], cutouts.maskbits[row])[r]
        found = central_object(np.asarray(cutouts.images[row, r], float), good=good, search_arcsec=limits.centre_arcsec)
        mags[i], centres[i] = found.r_mag, found.distance_arcsec
        there = (
            found.snr >= MIN_SNR and found.r_mag < limits.max_r_mag and found.distance_arcsec <= limits.centre_arcsec
        )
        verdicts[i] = "pass" if there else "fail"
    return verdicts, rows, mags, centres


def _reason(found: Audit, i: int, *, limits: AuditLimits) -> str:
    """What stands against anchor ``i``; '' when nothing does."""
    against = []
    if found.jname[i] == "fail":
        against.append(f"{found.jname_arcsec[i]:.1f} arcsec from its own J-name (allowed {limits.jname_arcsec:g})")
    if found.catalogue[i] == "fail":
        distance = found.catalogue_arcsec[i]
        against.append(f"nearest catalogued lens {distance:.1f} arcsec away (allowed {limits.catalogue_arcsec:g})")
    if found.pixels[i] == "fail":
        against.append(_pixel_reason(found.r_mag[i], found.centre_arcsec[i], limits))
    if found.pixels[i] == "not checked":
        against.append("no cutout: pixels not checked")
    return "; ".join(against)


def _pixel_reason(r_mag: float, centre_arcsec: float, limits: AuditLimits) -> str:
    if not np.isfinite(r_mag):
        return "no object in the cutout"
    if centre_arcsec > limits.centre_arcsec:
        return f"nearest object {centre_arcsec:.1f} arcsec from the centre (allowed {limits.centre_arcsec:g})"
    return f"the central object has r = {r_mag:.1f} (needs < {limits.max_r_mag:g})"
