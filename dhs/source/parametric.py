"""What the parametric sources share: keyed parameters, the half-stamp grid, the circular taper.

A template is a pure function of (seed, Purpose.SOURCE, 0, index): one call of the keyed generator gives all the
uniforms of an index, everything else is deterministic arithmetic on (B, ...) tensors.

Shapes: B templates, S pixels a side, H = S/2 rows of the half stamp, K knots.
"""

from typing import NamedTuple

import numpy as np
import torch

from dhs.constants import TAPER_END_FRACTION, TAPER_START_FRACTION
from dhs.rng import Purpose, keyed_rng

CHUNK = 16
"""Templates drawn at once: bigger batches page-fault (DESIGN.md section 2)."""


class HalfGrid(NamedTuple):
    """Pixel centres of the rows y < 0; the other half of a point-symmetric profile is its mirror image."""

    x_arcsec: torch.Tensor
    """(S,) float32."""
    y_arcsec: torch.Tensor
    """(S,) float32."""
    radius_arcsec: torch.Tensor
    """(H, S) float32."""


def half_grid(stamp_size_px: int, *, pixel_scale_arcsec: float) -> HalfGrid:
    """Grid of a stamp whose centre is at (S-1)/2; S must be even (the schema sees to it)."""
    axis = (torch.arange(stamp_size_px, dtype=torch.float64) - (stamp_size_px - 1) / 2) * pixel_scale_arcsec
    radius = torch.hypot(axis[None, :], axis[: stamp_size_px // 2, None])
    return HalfGrid(axis.float(), axis.float(), radius.float())


def keyed_uniforms(seed: int, *, indices: np.ndarray, count: int) -> np.ndarray:
    """(B, count) float64 uniforms in [0, 1); row i depends on (seed, indices[i]) alone."""
    uniforms = np.empty((len(indices), count))
    for row, index in enumerate(indices):
        keyed_rng(seed, Purpose.SOURCE, 0, int(index)).random(out=uniforms[row])
    return uniforms


def checked_indices(indices: np.ndarray, *, n_sources: int, name: str) -> np.ndarray:
    """(B,) int64; IndexError when one lies outside [0, n_sources)."""
    checked = np.asarray(indices, dtype=np.int64)
    if checked.size and not (0 <= checked.min() and checked.max() < n_sources):
        bad = checked[(checked < 0) | (checked >= n_sources)][0]
        raise IndexError(f"source {name}: index {bad} is outside [0, {n_sources})")
    return checked


def box_radius_arcsec(stamp_size_px: int, *, pixel_scale_arcsec: float) -> float:
    """Radius at which every template has been tapered to zero."""
    return TAPER_END_FRACTION * 0.5 * stamp_size_px * pixel_scale_arcsec


def taper_(values: torch.Tensor, *, radius_arcsec: torch.Tensor, end_arcsec: torch.Tensor) -> torch.Tensor:
    """Multiply (B, H, S) in place by a smoothstep: 1 within TAPER_START_FRACTION * end, 0 from (B,) ``end`` on."""
    end = end_arcsec[:, None, None]
    t = ((end - radius_arcsec) / (end * (1 - TAPER_START_FRACTION))).clamp_(0.0, 1.0)
    return values.mul_(t).mul_(t).mul_(t.mul_(-2.0).add_(3.0))
