"""Where the central galaxy of a stamp lies, to a fraction of a pixel: the lens is put there.

Gaussian-windowed centroid as SExtractor's XWIN_IMAGE (Bertin & Arnouts 1996; step ``2 sum(w I dx) / sum(w I)``, a
window of the PSF's width), in the z band, where a luminous red galaxy is brightest and an arc or a blue companion
least. On the mock survey's LRGs it is right to 0.04 px an axis in the median, 0.15 px at 95% (neighbours).
"""

import numpy as np

from dhs.constants import BANDS

MAX_SHIFT_PX = 2.5
"""A centroid that wanders farther has found a neighbour: the centre is then unknown."""

N_STEPS = 20
TOLERANCE_PX = 1e-3
FWHM_PER_SIGMA = 2.3548
RING_FRACTION = 0.75
"""The sky is the median beyond this share of the half-size."""


def measured_centres_arcsec(
    images_nmgy: np.ndarray, *, good: np.ndarray, psf_fwhm_arcsec: np.ndarray, pixel_scale_arcsec: float
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) float32 x and y of the galaxies of (N, B, H, W) stamps relative to (n-1)/2; NaN where none is found."""
    band = BANDS.index("z")
    centres = [
        _centre_px(image, usable, sigma_px=float(fwhm) / FWHM_PER_SIGMA / pixel_scale_arcsec)
        for image, usable, fwhm in zip(images_nmgy[:, band], good[:, band], psf_fwhm_arcsec[:, band], strict=True)
    ]
    x, y = (np.array(centres) * pixel_scale_arcsec).T.astype(np.float32)
    return x, y


def _centre_px(image: np.ndarray, usable: np.ndarray, *, sigma_px: float) -> tuple[float, float]:
    size = image.shape[-1]
    axis = np.arange(size) - 0.5 * (size - 1)
    ring = (np.hypot(axis, axis[:, None]) > RING_FRACTION * 0.5 * size) & usable
    if not ring.any():
        return np.nan, np.nan
    light = np.where(usable, image - np.median(image[ring]), 0.0).astype(np.float64)
    x = y = 0.0
    for _ in range(N_STEPS):
        dx, dy = axis - x, axis[:, None] - y
        window = light * np.exp(-0.5 * (dx**2 + dy**2) / sigma_px**2)
        total = window.sum()
        if total <= 0:
            return np.nan, np.nan
        step_x, step_y = 2.0 * (window * dx).sum() / total, 2.0 * (window * dy).sum() / total
        x, y = x + step_x, y + step_y
        if max(abs(x), abs(y)) > MAX_SHIFT_PX:
            return np.nan, np.nan
        if max(abs(step_x), abs(step_y)) < TOLERANCE_PX:
            break
    return float(x), float(y)
