"""Maps of what no Sersic profile has: spiral arms, blue rings, tidal tails. Surface brightness, any norm.

Maps are drawn on the fine grid of mock_scene.Structure around (x0, y0), with star-forming knots as single fine
pixels: under a PSF of an arcsecond that is what a knot is.
"""

import numpy as np

from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.sky.mock_scene import OVERSAMPLING, structure_coordinates

KNOT_LIGHT = 0.25
"""Share of an arm's or a ring's light in knots."""


def plane_coordinates(
    size_px: int, *, x0_arcsec: float, y0_arcsec: float, axis_ratio: float, angle_rad: float
) -> tuple[np.ndarray, np.ndarray]:
    """Radius (arcsec, along the major axis) and azimuth in the galaxy's plane, each (S, S) float32."""
    x, y = structure_coordinates(size_px)
    x, y = x - x0_arcsec, y - y0_arcsec
    along = x * np.cos(angle_rad) + y * np.sin(angle_rad)
    across = (y * np.cos(angle_rad) - x * np.sin(angle_rad)) / axis_ratio
    return np.hypot(along, across).astype(np.float32), np.arctan2(across, along).astype(np.float32)


def spiral_arms(
    rng: np.random.Generator, radius: np.ndarray, azimuth: np.ndarray, *, scale_arcsec: float
) -> np.ndarray:
    """Two to four logarithmic arms on an exponential disc of scale length ``scale_arcsec``, (S, S).

    phi = ln(r / r0) / tan(pitch), the pitch of Sb-Sc galaxies (15-32 degrees).
    """
    n_arms = int(rng.choice([2, 3, 4], p=[0.8, 0.12, 0.08]))
    pitch = np.radians(rng.uniform(15.0, 32.0)) * rng.choice([-1.0, 1.0])
    start = rng.uniform(0.0, 2.0 * np.pi)
    log_radius = np.log(np.maximum(radius, 0.05) / scale_arcsec)
    phase = n_arms * (azimuth - log_radius / np.tan(pitch) - start)
    sharpness = rng.uniform(2.0, 5.0)
    unequal = 1.0 + rng.uniform(0.0, 0.4) * np.cos(azimuth - log_radius / np.tan(pitch) - start)
    inner_hole = 1.0 - np.exp(-((radius / (0.8 * scale_arcsec)) ** 2))
    arms = np.exp(sharpness * (np.cos(phase) - 1.0)) * unequal * inner_hole * np.exp(-radius / (1.4 * scale_arcsec))
    return with_knots(rng, arms, n_knots=int(rng.integers(10, 40)))


def blue_ring(
    rng: np.random.Generator, radius: np.ndarray, azimuth: np.ndarray, *, ring_arcsec: float, width_arcsec: float
) -> np.ndarray:
    """A ring of Gaussian section, brighter on one side: from full circle to half an arc, (S, S)."""
    section = np.exp(-0.5 * ((radius - ring_arcsec) / width_arcsec) ** 2)
    lopsided = rng.uniform(0.0, 1.3) * np.cos(azimuth - rng.uniform(0.0, 2.0 * np.pi))
    double = rng.uniform(0.0, 0.4) * np.cos(2.0 * (azimuth - rng.uniform(0.0, np.pi)))
    return with_knots(rng, section * np.maximum(1.0 + lopsided + double, 0.0), n_knots=int(rng.integers(5, 20)))


def tidal_tail(rng: np.random.Generator, size_px: int, *, x0_arcsec: float, y0_arcsec: float) -> np.ndarray:
    """A curved tail that leaves (x0, y0), widens and fades: 600 points along a spiral arc, (S, S)."""
    t = rng.beta(1.0, 1.6, 600)
    reach, width = rng.uniform(2.5, 5.5), rng.uniform(0.15, 0.4)
    azimuth = rng.uniform(0.0, 2.0 * np.pi) + rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 2.2) * t
    radius = 0.4 + reach * t
    spread = width * (0.6 + t)
    x = x0_arcsec + radius * np.cos(azimuth) + spread * rng.standard_normal(t.size)
    y = y0_arcsec + radius * np.sin(azimuth) + spread * rng.standard_normal(t.size)
    return _points(x, y, size_px)


def with_knots(rng: np.random.Generator, smooth: np.ndarray, *, n_knots: int) -> np.ndarray:
    """``smooth`` with KNOT_LIGHT of its light moved into ``n_knots`` pixels, drawn where the light is."""
    cumulative = np.cumsum(smooth, dtype=np.float64)
    total = cumulative[-1]
    where = np.searchsorted(cumulative, rng.random(n_knots) * total, side="right")
    brightness = rng.pareto(1.5, n_knots) + 0.3
    out = (1.0 - KNOT_LIGHT) * smooth.astype(np.float64)
    np.add.at(out.ravel(), where, KNOT_LIGHT * total * brightness / brightness.sum())
    return out.astype(np.float32)


def _points(x_arcsec: np.ndarray, y_arcsec: np.ndarray, size_px: int) -> np.ndarray:
    """Equal points on the fine grid; those outside are left out."""
    n = OVERSAMPLING * size_px
    column = np.floor(x_arcsec * OVERSAMPLING / PIXEL_SCALE_ARCSEC + 0.5 * n).astype(int)
    row = np.floor(y_arcsec * OVERSAMPLING / PIXEL_SCALE_ARCSEC + 0.5 * n).astype(int)
    inside = (column >= 0) & (column < n) & (row >= 0) & (row < n)
    return np.bincount(row[inside] * n + column[inside], minlength=n * n).reshape(n, n).astype(np.float32)
