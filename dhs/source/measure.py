"""Measurements on a source template: half-light radius, pedestal, clumpiness, support, on any image.

They are the same for a bank we build and for one a user brings, so that the figures can be compared.
Shapes: N images, S pixels a side.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

MIN_AXIS_RATIO = 0.1
RING_START_FRACTION = 0.9
"""The edge ring of a template begins here, in half boxes."""


@lru_cache(maxsize=8)
def radius_px(size: int) -> np.ndarray:
    """(S, S) distance of the pixel centres from the stamp's centre (S-1)/2; read-only."""
    axis = np.arange(size) - (size - 1) / 2
    radius = np.hypot(axis[:, None], axis[None, :])
    radius.flags.writeable = False
    return radius


def centroid_px(image: np.ndarray) -> tuple[float, float]:
    """Flux-weighted (x, y) in pixels from the stamp's centre."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in image.shape)
    total = image.sum()
    return float(image.sum(axis=0) @ x / total), float(image.sum(axis=1) @ y / total)


def shape_of(image: np.ndarray) -> tuple[float, float]:
    """Axis ratio and position angle (rad, counter-clockwise from +x) of the second moments about the centroid."""
    x0, y0 = centroid_px(image)
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in image.shape), indexing="ij")
    x, y = x - x0, y - y0
    xx, yy, xy = (float((image * moment).sum()) for moment in (x * x, y * y, x * y))
    spread = np.hypot(xx - yy, 2 * xy)
    if xx + yy <= 0:
        return 1.0, 0.0
    axis_ratio = np.sqrt(max(xx + yy - spread, 0.0) / (xx + yy + spread))
    return float(np.clip(axis_ratio, MIN_AXIS_RATIO, 1)), float(0.5 * np.arctan2(2 * xy, xx - yy))


def half_light_radius_arcsec(image: np.ndarray, *, pixel_scale_arcsec: float) -> float:
    """Circularised half-light radius: sqrt(area / pi) of the ellipse (shape from the moments) with half the flux."""
    axis_ratio, angle = shape_of(image)
    x0, y0 = centroid_px(image)
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in image.shape), indexing="ij")
    x, y = x - x0, y - y0
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    order = np.argsort(axis_ratio * along**2 + across**2 / axis_ratio, axis=None)
    growth = np.cumsum(image.ravel()[order], dtype=np.float64)
    past = int(np.argmax(growth >= 0.5 * growth[-1]))
    before = growth[past - 1] if past else 0.0
    area = past + (0.5 * growth[-1] - before) / (growth[past] - before)
    return float(pixel_scale_arcsec * np.sqrt(area / np.pi))


def flat_box_half_light_radius_arcsec(size: int, *, pixel_scale_arcsec: float) -> float:
    """What a box of pure pedestal measures: the circle of half its area (1.15 arcsec for 96 px of 0.03)."""
    return float(np.sqrt(0.5 / np.pi) * size * pixel_scale_arcsec)


def edge_pedestal_fraction(images: np.ndarray) -> np.ndarray:
    """(N,) share of the flux that the mean level outside 0.9 half boxes has if it fills the whole box.

    6% in the median for the seeds' recipe on bright galaxies (SCIENCE.md section 2); 0 for a cleaned template.
    """
    size = images.shape[-1]
    ring = radius_px(size) > RING_START_FRACTION * size / 2
    flux = images.sum(axis=(1, 2), dtype=np.float64)
    return images[:, ring].mean(axis=1, dtype=np.float64) * size**2 / flux


def clumpiness(image: np.ndarray) -> float:
    """sum |I - G(I, 1 px)| / sum I (SCIENCE.md section 2)."""
    return float(np.abs(image - gaussian_filter(image, 1.0, mode="constant")).sum() / image.sum())


def support_radius_arcsec(image: np.ndarray, *, pixel_scale_arcsec: float) -> float:
    """Distance from the centre of the farthest pixel that is not exactly zero."""
    return float(radius_px(len(image))[image != 0].max(initial=0.0) * pixel_scale_arcsec)
