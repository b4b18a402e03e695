"""Depth, pixel noise and PSF area: how a Legacy Survey depth and a noise per pixel turn into each other.

Tractor's ``psfdepth`` is the inverse variance of a point source's flux: sum(psf^2) * invvar. With
N_eff = 1 / sum(psf^2) pixels, a 5-sigma point source has flux 5 * sigma_pixel * sqrt(N_eff).
For a Moffat of scale a and power beta, sum(psf^2) = (beta - 1)^2 / (pi a^2 (2 beta - 1)) per unit area
(the integral of its square).
"""

import numpy as np

from dhs.constants import AB_ZERO_POINT_MAG

PSF_BETA = 3.5
"""Moffat power of a DECam coadd PSF (SCIENCE section 1)."""

DEPTH_SIGMAS = 5.0
"""psf_depth_mag is a 5-sigma depth."""


def flux_of_mag(mag_ab: np.ndarray) -> np.ndarray:
    """Nanomaggies of an AB magnitude, any shape."""
    return 10.0 ** ((AB_ZERO_POINT_MAG - np.asarray(mag_ab, float)) / 2.5)


def mag_of_flux(flux_nmgy: np.ndarray) -> np.ndarray:
    """AB magnitude of a positive flux in nanomaggies, any shape."""
    return AB_ZERO_POINT_MAG - 2.5 * np.log10(np.asarray(flux_nmgy, float))


def moffat_effective_area_px(fwhm_arcsec: np.ndarray, *, pixel_scale_arcsec: float) -> np.ndarray:
    """N_eff = 1 / sum(psf^2) in pixels of a Moffat of power PSF_BETA, any shape."""
    scale = np.asarray(fwhm_arcsec, float) / (2.0 * np.sqrt(2.0 ** (1.0 / PSF_BETA) - 1.0))
    area_arcsec2 = np.pi * scale**2 * (2.0 * PSF_BETA - 1.0) / (PSF_BETA - 1.0) ** 2
    return area_arcsec2 / pixel_scale_arcsec**2


def sigma_of_depth(depth_mag: np.ndarray, *, fwhm_arcsec: np.ndarray, pixel_scale_arcsec: float) -> np.ndarray:
    """Noise per pixel, 1/sqrt(invvar), in nMgy of a 5-sigma point-source depth (AB)."""
    area = moffat_effective_area_px(fwhm_arcsec, pixel_scale_arcsec=pixel_scale_arcsec)
    return flux_of_mag(depth_mag) / (DEPTH_SIGMAS * np.sqrt(area))


def depth_of_sigma(sigma_nmgy: np.ndarray, *, fwhm_arcsec: np.ndarray, pixel_scale_arcsec: float) -> np.ndarray:
    """5-sigma point-source depth (AB) of a noise per pixel: the inverse of `sigma_of_depth`."""
    area = moffat_effective_area_px(fwhm_arcsec, pixel_scale_arcsec=pixel_scale_arcsec)
    return mag_of_flux(DEPTH_SIGMAS * np.asarray(sigma_nmgy, float) * np.sqrt(area))
