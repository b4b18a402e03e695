"""Colours and K-correction of an early-type galaxy by redshift: what its magnitudes say of redshift and luminosity.

The spectrum is the elliptical of Coleman, Wu & Weedman (1980, ApJS 43, 393), unevolved, through the LSST g, r, z
bandpasses (both as GalSim ships them), which stand in for DECam's: about 0.05 mag in the colours. A real red sequence
evolves passively and is 0.1-0.2 mag bluer in r-z at redshift 0.6, so a redshift read from these colours is low by up
to 0.05 there. Luminosity comes from the z band, which is rest-frame r at redshift 0.4: its K-correction is small.
A test draws the table again from GalSim's files.
"""

import numpy as np

from dhs.cosmology import distance_modulus_mag

REDSHIFT = np.arange(0.0, 1.2001, 0.05)

_G_R = [0.726, 0.819, 0.909, 1.040, 1.216, 1.387, 1.510, 1.636, 1.734, 1.677, 1.625, 1.586, 1.565]
_G_R += [1.588, 1.631, 1.726, 1.881, 2.018, 2.126, 2.219, 2.265, 2.259, 2.187, 2.041, 1.854]
G_R = np.array(_G_R)
"""Observed g-r."""

_R_Z = [0.612, 0.609, 0.662, 0.712, 0.765, 0.809, 0.886, 0.958, 1.044, 1.190, 1.352, 1.510, 1.650]
_R_Z += [1.763, 1.904, 2.028, 2.085, 2.127, 2.160, 2.153, 2.153, 2.165, 2.166, 2.186, 2.240]
R_Z = np.array(_R_Z)
"""Observed r-z."""

_K_ZR = [-0.612, -0.549, -0.534, -0.512, -0.501, -0.464, -0.437, -0.406, -0.368, -0.329, -0.288, -0.234, -0.173]
_K_ZR += [-0.109, -0.060, -0.017, 0.013, 0.064, 0.160, 0.290, 0.426, 0.565, 0.737, 0.924, 1.091]
K_ZR = np.array(_K_ZR)
"""Observed z magnitude minus distance modulus minus rest-frame r absolute magnitude."""

EVOLUTION_MAG_PER_REDSHIFT = 0.85
"""Passive fading in r: M_r(today) = M_r(z) + 0.85 z (Bernardi+2003, AJ 125, 1849)."""


def absolute_r_mag(z_mag: np.ndarray, *, redshift: np.ndarray) -> np.ndarray:
    """Absolute r magnitude (AB, H0 = 70), corrected to today, of early types of observed z-band magnitude ``z_mag``."""
    k_correction = np.interp(redshift, REDSHIFT, K_ZR)
    return z_mag - distance_modulus_mag(redshift) - k_correction + EVOLUTION_MAG_PER_REDSHIFT * redshift


def apparent_mags(absolute_r: np.ndarray, *, redshift: np.ndarray) -> np.ndarray:
    """(N, 3) observed g, r, z of early types of (N,) absolute r magnitudes: the inverse of `absolute_r_mag`."""
    redshift = np.asarray(redshift, dtype=np.float64)
    k_correction = np.interp(redshift, REDSHIFT, K_ZR)
    z_mag = absolute_r + distance_modulus_mag(redshift) + k_correction - EVOLUTION_MAG_PER_REDSHIFT * redshift
    r_mag = z_mag + np.interp(redshift, REDSHIFT, R_Z)
    return np.stack([r_mag + np.interp(redshift, REDSHIFT, G_R), r_mag, z_mag], axis=-1)
