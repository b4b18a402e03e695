"""A galaxy without its arcs, from the pixels alone: clipped medians in ellipses of the galaxy's own shape.

No profile is assumed. An arc that fills less than about half of a ring is clipped; a complete ring drags the model up.
Shapes: (y, x) images; the galaxy's centre in pixels from the image's middle, (n-1)/2.
"""

from collections.abc import Callable

import numpy as np

CLIP_ROUNDS = 4
CLIP_SIGMA = 2.0
MIN_AXIS_RATIO = 0.3


def elliptical_radius_px(
    image: np.ndarray, *, shape_radius_px: float, x_px: float = 0.0, y_px: float = 0.0
) -> np.ndarray:
    """(y, x) circularised elliptical radius in pixels, in the shape of the light within ``shape_radius_px``.

    The shape is that of moments weighted by a Gaussian of half that radius: rounder than the isophotes of a very flat
    galaxy, as any weighted moment.
    """
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in image.shape), indexing="ij")
    x, y = x - x_px, y - y_px
    weight = np.clip(image, 0, None) * np.exp(-0.5 * (x**2 + y**2) / (shape_radius_px / 2) ** 2)
    total = max(float(weight.sum()), 1e-30)
    xx, yy, xy = (float((weight * moment).sum()) / total for moment in (x * x, y * y, x * y))
    spread = np.hypot(xx - yy, 2 * xy)
    squared = (xx + yy - spread) / max(xx + yy + spread, 1e-30)
    axis_ratio = float(np.sqrt(np.clip(squared, MIN_AXIS_RATIO**2, 1)))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    major, minor = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.sqrt(axis_ratio * major**2 + minor**2 / axis_ratio)


def smooth_galaxy(image: np.ndarray, *, good: np.ndarray, radius_px: np.ndarray) -> np.ndarray:
    """(y, x) model: medians in rings of ``radius_px`` one pixel wide, clipped above, interpolated between the rings."""
    rings = np.floor(radius_px).astype(int)
    n_rings = int(rings.max()) + 1
    middle = np.arange(n_rings) + 0.5
    level = np.zeros(n_rings)
    used = good.copy()
    for _ in range(CLIP_ROUNDS):
        residual = image - np.interp(radius_px, middle, level)
        level += _per_ring(residual, rings, used, n_rings, statistic=_median)
        residual = image - np.interp(radius_px, middle, level)
        spread = _per_ring(residual, rings, good, n_rings, statistic=_lower_sigma)
        used = good & (residual < CLIP_SIGMA * spread[rings])
    return np.interp(radius_px, middle, level)


def _per_ring(
    values: np.ndarray, rings: np.ndarray, used: np.ndarray, n_rings: int, *, statistic: Callable[[np.ndarray], float]
) -> np.ndarray:
    order = np.argsort(rings[used], kind="stable")
    sorted_values, sorted_rings = values[used][order], rings[used][order]
    edges = np.searchsorted(sorted_rings, np.arange(n_rings + 1))
    return np.array([statistic(sorted_values[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)])


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _lower_sigma(values: np.ndarray) -> float:
    """Scatter of the values below zero, which no arc widens."""
    below = values[values < 0]
    return float(np.sqrt(np.mean(below**2))) if len(below) else np.inf
