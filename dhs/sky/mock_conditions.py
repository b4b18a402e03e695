"""Observing conditions of the mock survey: position, seeing and depth of each galaxy, drawn jointly.

DR10-south is two surveys on one sky: DECaLS (g 24.75, r 24.25, z 23.35 mag, 5-sigma point source) and DES
(25.35, 25.15, 23.85). The bands move together, and worse seeing means less depth. Peaks, widths and the
share of DES are those of DR10's published depth histograms; the seeing medians are SCIENCE section 4's.
"""

from dataclasses import dataclass

import numpy as np

DES_FRACTION = 0.36
"""Share of the DR10-south area in the deep peak of the r-band depth histogram."""

DECALS_DEPTH_MAG = np.array([24.75, 24.25, 23.35])
DES_DEPTH_MAG = np.array([25.35, 25.15, 23.85])
"""Median 5-sigma PSF depths in g, r, z (peaks of the DR10 histograms)."""

SEEING_ARCSEC = np.array([1.29, 1.18, 1.11])
"""Median psfsize in g, r, z over the whole survey (SCIENCE section 4)."""

DECALS_SEEING_FACTOR = 1.015
DES_SEEING_FACTOR = 0.96
"""DES sees a little better; together they keep the medians above."""

SEEING_LOG_SIGMA_COMMON = 0.07
SEEING_LOG_SIGMA_BAND = 0.05
"""Scatter of ln(FWHM): shared by the bands (same site) and of each band (own exposures)."""

DEPTH_SIGMA_COMMON_MAG = 0.10
DEPTH_SIGMA_BAND_MAG = 0.07
"""Scatter of depth at fixed seeing; with the seeing's own it gives the histograms' 0.15 mag."""

MAX_DEVIATE = 3.5
"""Standard deviates are clipped here: no stamp is drawn from nonsense."""

DEC_RANGE_DEG = (-65.0, 32.0)
"""Declinations of DR10-south."""


@dataclass(frozen=True)
class Conditions:
    """Where a stamp is and how it was observed; arrays are (3,) in g, r, z."""

    ra_deg: float
    dec_deg: float
    psf_fwhm_arcsec: np.ndarray
    psf_depth_mag: np.ndarray


def draw_conditions(rng: np.random.Generator) -> Conditions:
    """One stamp's position (uniform on the sphere between DEC_RANGE_DEG), seeing and depth."""
    sin_low, sin_high = np.sin(np.radians(DEC_RANGE_DEG))
    ra_deg = rng.uniform(0.0, 360.0)
    dec_deg = float(np.degrees(np.arcsin(rng.uniform(sin_low, sin_high))))
    is_des = rng.random() < DES_FRACTION
    seeing_factor = DES_SEEING_FACTOR if is_des else DECALS_SEEING_FACTOR
    log_seeing = _correlated(rng, SEEING_LOG_SIGMA_COMMON, SEEING_LOG_SIGMA_BAND)
    fwhm = SEEING_ARCSEC * seeing_factor * np.exp(log_seeing)
    # At fixed exposure a wider PSF covers more sky: flux error ~ FWHM, so depth falls by 2.5 log10(FWHM).
    depth = (DES_DEPTH_MAG if is_des else DECALS_DEPTH_MAG) - 2.5 / np.log(10.0) * log_seeing
    depth = depth + _correlated(rng, DEPTH_SIGMA_COMMON_MAG, DEPTH_SIGMA_BAND_MAG)
    return Conditions(ra_deg, dec_deg, fwhm.astype(np.float32), depth.astype(np.float32))


def _correlated(rng: np.random.Generator, sigma_common: float, sigma_band: float) -> np.ndarray:
    """(3,) deviations with a part shared by the bands."""
    deviates = np.clip(rng.standard_normal(4), -MAX_DEVIATE, MAX_DEVIATE)
    return sigma_common * deviates[0] + sigma_band * deviates[1:]
