"""Noise measured in a stamp's own outer ring, for cutouts that come without inverse variances."""

import numpy as np

from dhs.constants import MAD_TO_SIGMA

RING_INNER_FRACTION = 0.5
"""Inner radius of the noise ring over the half-size of the stamp."""


def ring_sigma(images: np.ndarray) -> np.ndarray:
    """1.4826 MAD of the pixels beyond half the half-size, (..., H, W) -> (...) float64; 0 where constant."""
    n = images.shape[-1]
    axis = np.arange(n) - 0.5 * (n - 1)
    ring = np.hypot(axis[:, None], axis[None, :]) > RING_INNER_FRACTION * 0.5 * n
    pixels = images[..., ring].astype(np.float64)
    median = np.median(pixels, axis=-1, keepdims=True)
    return MAD_TO_SIGMA * np.median(np.abs(pixels - median), axis=-1)
