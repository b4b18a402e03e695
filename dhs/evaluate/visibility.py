"""Visibility grades of real lenses: could a ground-based survey see the arc at all?

A: theta_E > 1.2 FWHM_r and integrated g-band S/N of the ring > 25 ("DECaLS-visible", SCIENCE.md section 6);
B: theta_E > 0.8 FWHM_r and S/N > 10; C: the rest; ungraded: theta_E or pixels unknown. About one SLACS lens in five and
one BELLS lens in eight is an A; recall over all of a catalogue measures the catalogue. A human's CSV overrides.

theta_E not published is that of a singular isothermal sphere with the SDSS aperture velocity dispersion,
``4 pi (sigma / c)^2 D_ls / D_s`` (Schneider, Ehlers & Falco 1992, section 8.1.4). On the 56 lenses that have both it is
13% low in the median with a scatter of 16%: good enough for a grade, marked wherever it is shown.
The ring's S/N is an estimate from the pixels: the galaxy is modelled by clipped medians in ellipses of its own shape,
which a full ring drags up, so a complete ring's S/N is underestimated.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units
from astropy.constants import c
from astropy.cosmology import Planck18

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.sky.anchors import AnchorList
from dhs.sky.cutouts import CutoutSet, good_pixels
from dhs.sky.galaxy_model import elliptical_radius_px, smooth_galaxy

GRADES: tuple[str, ...] = ("A", "B", "C")
UNGRADED = "ungraded"
MIN_THETA_E_OVER_PSF = {"A": 1.2, "B": 0.8}
MIN_RING_SNR = {"A": 25.0, "B": 10.0}
SHAPE_RADIUS_ARCSEC = 1.0
"""The galaxy's ellipse is measured within this radius."""
RING_HALF_WIDTH_FWHM = 0.6
"""The ring reaches this many seeing FWHM to either side of theta_E."""


@dataclass(frozen=True)
class Visibility:
    """Grades of N anchors."""

    grade: np.ndarray
    """(N,) str of GRADES or UNGRADED."""
    by_hand: np.ndarray
    """(N,) bool: the grade is a human's."""
    theta_e_arcsec: np.ndarray
    """(N,) published, or from sigma_v; NaN where neither is known."""
    theta_e_is_published: np.ndarray
    """(N,) bool."""
    theta_e_over_psf: np.ndarray
    """(N,) theta_E / FWHM_r of the object's own cutout."""
    ring_snr_g: np.ndarray
    """(N,) integrated g-band S/N of the light left in the ring at theta_E."""


def visibility(
    anchors: AnchorList, *, cutouts: CutoutSet | None, cutout_row: np.ndarray, by_hand: dict[str, str]
) -> Visibility:
    """Grade ``anchors``; ``cutout_row`` (N,) as `dhs.sky.anchor_audit.Audit.cutout_row`, -1: no pixels."""
    theta_e = np.where(np.isfinite(anchors.theta_e_arcsec), anchors.theta_e_arcsec, sis_theta_e_arcsec(anchors))
    over_psf, snr = np.full(len(anchors), np.nan), np.full(len(anchors), np.nan)
    for i in np.flatnonzero((cutout_row >= 0) & np.isfinite(theta_e)):
        assert cutouts is not None
        row = cutout_row[i]
        fwhm = float(cutouts.psf_fwhm_arcsec[row, BANDS.index("r")])
        over_psf[i] = theta_e[i] / fwhm
        good = good_pixels(cutouts.invvar[row], cutouts.maskbits[row])[BANDS.index("g")]
        snr[i] = ring_snr(
            np.asarray(cutouts.images[row, BANDS.index("g")], float),
            invvar=np.asarray(cutouts.invvar[row, BANDS.index("g")], float),
            good=good,
            theta_e_arcsec=float(theta_e[i]),
            fwhm_arcsec=fwhm,
        )
    computed = [grade_of(ratio, ring) for ratio, ring in zip(over_psf, snr, strict=True)]
    grade = [by_hand.get(str(name), auto) for name, auto in zip(anchors.name, computed, strict=True)]
    return Visibility(
        grade=np.array(grade),
        by_hand=np.array([str(name) in by_hand for name in anchors.name]),
        theta_e_arcsec=theta_e,
        theta_e_is_published=np.isfinite(anchors.theta_e_arcsec),
        theta_e_over_psf=over_psf,
        ring_snr_g=snr,
    )


def sis_theta_e_arcsec(anchors: AnchorList) -> np.ndarray:
    """(N,) Einstein radius of an isothermal sphere; NaN where a redshift or sigma_v is unknown."""
    z_lens, z_source = anchors.z_lens, anchors.z_source
    known = np.isfinite(z_lens) & np.isfinite(z_source) & np.isfinite(anchors.sigma_v_km_s) & (z_source > z_lens)
    theta_e = np.full(len(anchors), np.nan)
    if not known.any():
        return theta_e
    # D_ls / D_s of a flat universe, from comoving distances: 1 - D_C(l) / D_C(s).
    ratio = 1 - (Planck18.comoving_distance(z_lens[known]) / Planck18.comoving_distance(z_source[known])).value
    sigma_over_c = (anchors.sigma_v_km_s[known] * units.km / units.s / c).to_value(units.one)
    theta_e[known] = (4 * np.pi * sigma_over_c**2 * ratio * units.rad).to_value(units.arcsec)
    return theta_e


def ring_snr(
    image: np.ndarray, *, invvar: np.ndarray, good: np.ndarray, theta_e_arcsec: float, fwhm_arcsec: float
) -> float:
    """Integrated S/N of what the galaxy's own azimuthal median leaves in the ring at theta_E; (y, x) arrays, nMgy."""
    shape_px = SHAPE_RADIUS_ARCSEC / PIXEL_SCALE_ARCSEC
    radius_px = elliptical_radius_px(np.where(good, image, 0.0), shape_radius_px=shape_px)
    model = smooth_galaxy(image, good=good, radius_px=radius_px)
    half_width = max(RING_HALF_WIDTH_FWHM * fwhm_arcsec, PIXEL_SCALE_ARCSEC)
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in image.shape), indexing="ij")
    ring = good & (np.abs(np.hypot(x, y) * PIXEL_SCALE_ARCSEC - theta_e_arcsec) <= half_width)
    if not ring.any():
        return float("nan")
    return float((image - model)[ring].sum() / np.sqrt((1 / invvar[ring]).sum()))


def read_grades(path: Path | None) -> dict[str, str]:
    """A human's grades by name: CSV with `name`, `grade`.

    Raises:
        FileNotFoundError, ValueError: no such file, a column is missing, a grade is not one of GRADES.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise FileNotFoundError(f"anchors.grades = {path}: no such file; give a CSV with name, grade")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"name", "grade"} <= set(rows[0]):
        raise ValueError(f"{path}: columns are {', '.join(rows[0])}; a list of grades has name, grade")
    wrong = [row for row in rows if row["grade"] not in GRADES]
    if wrong:
        raise ValueError(
            f"{path}: {wrong[0]['name']}: grade = {wrong[0]['grade']!r}: must be one of {', '.join(GRADES)}"
        )
    return {row["name"]: row["grade"] for row in rows}


def grade_of(theta_e_over_psf: float, ring_snr_g: float) -> str:
    """The grade of the numbers; UNGRADED where one of them is NaN."""
    if not (np.isfinite(theta_e_over_psf) and np.isfinite(ring_snr_g)):
        return UNGRADED
    for grade in ("A", "B"):
        if theta_e_over_psf > MIN_THETA_E_OVER_PSF[grade] and ring_snr_g > MIN_RING_SNR[grade]:
            return grade
    return "C"
