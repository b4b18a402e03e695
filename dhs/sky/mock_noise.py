"""Pixel noise and bad pixels of the mock survey.

A coadd is resampled, so its noise is correlated (lag 1 +0.13, lag 2 -0.06 on real DR9 and DR10 coadds) and its
scatter is 0.91 of 1/sqrt(invvar). White noise is filtered in Fourier space with the square root of
P(k) = p(kx) p(ky), p(k) = 1 + 2 rho cos k + 2 rho2 cos 2k, which has exactly those correlations.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from dhs.constants import DARK_SKY_MAG_ARCSEC2, PIXEL_SCALE_ARCSEC

SCATTER_OVER_SIGMA = 0.91
"""Measured pixel scatter over 1/sqrt(invvar): 0.90-0.92 on DR9/DR10 coadds (shared data NOTES)."""

LAG2_FACTOR = 1.25
"""rho2 = -LAG2_FACTOR rho (0.5 - rho): -0.06 at rho = 0.13, and p(k) > 0 for every rho < 0.5."""

SKY_NMGY_PX = 10.0 ** ((22.5 - np.array(DARK_SKY_MAG_ARCSEC2)) / 2.5) * PIXEL_SCALE_ARCSEC**2
"""Sky in g, r, z. Galaxy light adds its Poisson share to it."""

NOISE_MARGIN_PX = 8
"""The filter is periodic: noise is drawn on a frame this much larger and cut, so edges do not know each other."""

BAD_FRACTION = 0.04
"""Share of stamps with a bad strip or column."""

BAD_FREE_RADIUS_ARCSEC = 3.0
"""Bad pixels stay this far from the galaxy."""

SATUR_BIT = (2, 3, 4)
ALLMASK_BIT = (5, 6, 7)
"""DR10 MASKBITS of a saturated pixel and of one masked in every exposure, for g, r, z."""

COLUMN_SHARE = 0.6
"""Of the bad stamps: a bleed column in one band; the others have a strip without data in one band."""


@dataclass(frozen=True)
class BadPixels:
    """What no exposure saw: ``no_data`` (3, H, W) bool per band, ``maskbits`` (H, W) int16."""

    no_data: np.ndarray
    maskbits: np.ndarray


def draw_noise(rng: np.random.Generator, *, size_px: int, correlation: float) -> np.ndarray:
    """(3, size, size) float32 Gaussian noise of unit variance and lag-1 correlation ``correlation`` along x and y."""
    frame = size_px + NOISE_MARGIN_PX
    white = rng.standard_normal((3, frame, frame), dtype=np.float32)
    amplitude = noise_amplitude(frame, correlation)
    return fft.irfft2(fft.rfft2(white) * amplitude, s=(frame, frame))[:, :size_px, :size_px]


@lru_cache(maxsize=8)
def noise_amplitude(frame_px: int, correlation: float) -> np.ndarray:
    """(frame, frame // 2 + 1) float32 square root of P(k)."""
    lag2 = -LAG2_FACTOR * correlation * (0.5 - correlation)
    k = 2.0 * np.pi * np.fft.fftfreq(frame_px)
    power = 1.0 + 2.0 * correlation * np.cos(k) + 2.0 * lag2 * np.cos(2.0 * k)
    root = np.sqrt(power)
    return (root[:, None] * root[None, : frame_px // 2 + 1]).astype(np.float32)


def add_noise(scene_nmgy: np.ndarray, *, sigma_nmgy: np.ndarray, unit_noise: np.ndarray) -> np.ndarray:
    """Scene plus noise, (3, H, W) float32. ``sigma_nmgy`` (3,) is 1/sqrt(invvar) of the empty sky.

    Light adds its own Poisson variance, in proportion to the sky's: sigma^2 (1 + light / sky). Like DR10's,
    invvar describes the sky only.
    """
    light_over_sky = np.maximum(scene_nmgy, 0.0) / SKY_NMGY_PX[:, None, None].astype(np.float32)
    scatter = (SCATTER_OVER_SIGMA * sigma_nmgy).astype(np.float32)[:, None, None] * np.sqrt(1.0 + light_over_sky)
    return (scene_nmgy + scatter * unit_noise).astype(np.float32)


def draw_bad_pixels(rng: np.random.Generator, *, size_px: int) -> BadPixels:
    """A bad column or strip on a few per cent of the stamps, never within 3 arcsec of the centre."""
    no_data = np.zeros((3, size_px, size_px), bool)
    maskbits = np.zeros((size_px, size_px), np.int16)
    if rng.random() >= BAD_FRACTION:
        return BadPixels(no_data, maskbits)
    is_column = rng.random() < COLUMN_SHARE
    band = int(rng.integers(3))
    width = int(rng.integers(1, 4)) if is_column else int(rng.integers(3, 9))
    free_px = int(np.ceil(BAD_FREE_RADIUS_ARCSEC / PIXEL_SCALE_ARCSEC))
    room = size_px // 2 - free_px
    width = min(width, room)
    start = int(rng.integers(0, room - width + 1))
    if rng.random() < 0.5:
        start = size_px - start - width
    # Charge bleeds along columns; a gap between CCDs is a strip in y or x.
    along_y = is_column or rng.random() < 0.5
    where = (slice(None), slice(start, start + width)) if along_y else (slice(start, start + width), slice(None))
    no_data[band][where] = True
    bits = (1 << SATUR_BIT[band] | 1 << ALLMASK_BIT[band]) if is_column else 1 << ALLMASK_BIT[band]
    maskbits[where] = bits
    return BadPixels(no_data, maskbits)
