"""Velocity dispersion of a galaxy from its luminosity, and the Einstein radius of an isothermal sphere from that.

sigma_v is the dispersion that spectra measure in the centre (r_e / 8); that of the isothermal lens model equals it
within 2% on average (Bolton+2008, ApJ 682, 964, section 6).
"""

import numpy as np

from dhs.cosmology import ARCSEC_PER_RAD, SPEED_OF_LIGHT_KM_S, distance_ratio

SIS_ARCSEC = 4.0 * np.pi * ARCSEC_PER_RAD / SPEED_OF_LIGHT_KM_S**2
"""theta_E of an SIS of 1 km/s in front of a source at infinity."""

FABER_JACKSON = (-2.97, -0.37, -0.006)
"""log10 sigma_v of M_r, M_r^2: Hyde & Bernardi (2009, MNRAS 394, 1978), as used by Collett (2015)."""


def log_sigma_of_luminosity(absolute_r_mag: np.ndarray) -> np.ndarray:
    """Mean log10 (sigma_v / km/s) of early types of absolute r magnitude (AB, H0 = 70, today)."""
    constant, slope, curvature = FABER_JACKSON
    return constant + slope * absolute_r_mag + curvature * np.square(absolute_r_mag)


LENS_ABSOLUTE_R_MAG, LENS_ABSOLUTE_R_SIGMA_MAG = -22.5, 0.7
"""M_r (AB, H0 = 70, today) of the early types that spectroscopic lens surveys find (as Auger+2009, ApJ 705, 1099)."""
LOG_SIGMA_SCATTER = 0.075
"""Of measured log10 sigma_v at fixed M_r: 0.07 intrinsic, and SDSS's error of some 6%."""


def expected_absolute_r_mag(sigma_v_km_s: np.ndarray) -> np.ndarray:
    """E(M_r | sigma_v) of those lenses: the relation above, linear about their mean, with its scatter.

    Not its inverse: a measured 100 km/s is mostly scatter, and would make a lens of r = 23 in SDSS spectroscopy.
    """
    _, slope, curvature = FABER_JACKSON
    steepness = slope + 2 * curvature * LENS_ABSOLUTE_R_MAG
    variance = LENS_ABSOLUTE_R_SIGMA_MAG**2
    gain = steepness * variance / (steepness**2 * variance + LOG_SIGMA_SCATTER**2)
    at_mean = log_sigma_of_luminosity(np.array(LENS_ABSOLUTE_R_MAG))
    return LENS_ABSOLUTE_R_MAG + gain * (np.log10(sigma_v_km_s) - at_mean)


def einstein_radius_arcsec(sigma_v_km_s: np.ndarray, *, z_lens: np.ndarray, z_source: np.ndarray) -> np.ndarray:
    """``theta_E = 4 pi (sigma / c)^2 D_ls / D_s``; 0 where the source is not behind the lens."""
    return SIS_ARCSEC * np.square(sigma_v_km_s) * distance_ratio(z_lens, z_source)


def isothermal_sigma_km_s(theta_e_arcsec: np.ndarray, *, z_lens: np.ndarray, z_source: np.ndarray) -> np.ndarray:
    """sigma_v of an isothermal sphere of ``theta_e_arcsec``; NaN where the source is not behind the lens."""
    ratio = distance_ratio(z_lens, z_source)
    return np.sqrt(theta_e_arcsec / (SIS_ARCSEC * np.where(ratio > 0, ratio, np.nan)))
