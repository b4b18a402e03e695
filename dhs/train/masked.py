"""Medians and profiles of planes with masked pixels: batched, of static shape, on any device.

A median of some of a row's values is the median of the whole row once the others are filled with as many -inf as +inf:
so no shape depends on the data. All medians are lower medians (an element of the row, the same on every device).
"""

import functools
from typing import NamedTuple

import numpy as np
import torch

from dhs.constants import MAD_TO_SIGMA

MIN_RING_PIXELS = 32
"""A ring with fewer good pixels has no usable scale."""


class RingLevel(NamedTuple):
    """Sky level of planes (...,), NaN where the outer ring has too few good pixels; sigma is NaN where it is 0."""

    centre: torch.Tensor
    sigma: torch.Tensor


def ring_level(planes: torch.Tensor, *, good: torch.Tensor, inner_fraction: float) -> RingLevel:
    """Median and 1.4826 MAD of the good, finite pixels of (..., N, N) beyond ``inner_fraction`` of N/2."""
    ring = ring_pixels(planes.shape[-1], inner_fraction, planes.device)
    values = planes.flatten(-2)[..., ring]
    valid = good.flatten(-2)[..., ring] & torch.isfinite(values)
    centre = masked_median(values, valid=valid)
    sigma = MAD_TO_SIGMA * masked_median((values - centre[..., None]).abs(), valid=valid)
    enough = valid.sum(dim=-1) >= MIN_RING_PIXELS
    return RingLevel(torch.where(enough, centre, torch.nan), torch.where(enough & (sigma > 0), sigma, torch.nan))


def masked_median(values: torch.Tensor, *, valid: torch.Tensor) -> torch.Tensor:
    """Lower median along the last axis of the (..., n) ``values`` that are ``valid``; NaN where none is."""
    n_valid = valid.sum(dim=-1)
    if values.device.type == "cpu":
        middle = _numpy_medians(values.numpy(), valid=valid.numpy(), n_valid=n_valid.numpy())
    else:
        middle = _filled(values, valid=valid, n_valid=n_valid).median(dim=-1).values
    return torch.where(n_valid > 0, middle, torch.nan)


def _filled(values: torch.Tensor, *, valid: torch.Tensor, n_valid: torch.Tensor) -> torch.Tensor:
    """``values``, the invalid ones at -inf and +inf: as many of each as keep the median of all that of the valid."""
    below = (values.shape[-1] - 1) // 2 - (n_valid[..., None] - 1) // 2
    filling = torch.where((~valid).cumsum(dim=-1) <= below, -torch.inf, torch.inf).to(values.dtype)
    return torch.where(valid, values, filling)


def _numpy_medians(values: np.ndarray, *, valid: np.ndarray, n_valid: np.ndarray) -> torch.Tensor:
    """As the median of `_filled`: numpy's selection is twice as fast on a CPU, and most rows need no filling."""
    n = values.shape[-1]
    masked = n_valid < n
    if masked.any():
        values = values.copy()
        rows = [torch.from_numpy(a[masked]) for a in (values, valid, n_valid)]
        values[masked] = _filled(rows[0], valid=rows[1], n_valid=rows[2]).numpy()
    middle = (n - 1) // 2
    return torch.from_numpy(np.ascontiguousarray(np.partition(values, middle, axis=-1)[..., middle]))


class Rings(NamedTuple):
    """The pixels of an (N, N) plane in R rings one pixel wide about (n-1)/2."""

    of_pixel: torch.Tensor
    """(N * N,) ring of each pixel."""
    counts: torch.Tensor
    """(R,) pixels of each, float32."""
    members: torch.Tensor
    """(R, M) flat pixel numbers, padded with pixel 0."""
    is_member: torch.Tensor
    """(R, M) bool."""
    mean_radius_px: torch.Tensor
    """(R,) mean radius of the members, float32."""


def ring_pixels(size_px: int, inner_fraction: float, device: torch.device) -> torch.Tensor:
    """Flat numbers of the pixels farther from (n-1)/2 than ``inner_fraction`` half-sizes."""
    return _ring_pixels(size_px, inner_fraction, str(device))


def rings(size_px: int, device: torch.device) -> Rings:
    """The rings of a stamp of ``size_px``."""
    return _rings(size_px, str(device))


def radii_px(size_px: int, device: torch.device) -> torch.Tensor:
    """(N, N) distance of each pixel from (n-1)/2, float32."""
    return torch.from_numpy(_radii(size_px).astype(np.float32)).to(device)


def _radii(size_px: int) -> np.ndarray:
    axis = np.arange(size_px) - (size_px - 1) / 2
    return np.hypot(axis, axis[:, None])


@functools.cache
def _ring_pixels(size_px: int, inner_fraction: float, device: str) -> torch.Tensor:
    return torch.from_numpy(np.flatnonzero(_radii(size_px) > inner_fraction * size_px / 2)).to(device)


@functools.cache
def _rings(size_px: int, device: str) -> Rings:
    radius = _radii(size_px).ravel()
    of_pixel = radius.astype(np.int64)
    counts = np.bincount(of_pixel)
    order = np.argsort(of_pixel, kind="stable")
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    members = np.zeros((len(counts), counts.max()), dtype=np.int64)
    is_member = np.zeros(members.shape, dtype=bool)
    members[of_pixel[order], place], is_member[of_pixel[order], place] = order, True
    mean_radius = np.bincount(of_pixel, weights=radius) / np.maximum(counts, 1)
    return Rings(
        of_pixel=torch.from_numpy(of_pixel).to(device),
        counts=torch.from_numpy(np.maximum(counts, 1).astype(np.float32)).to(device),
        members=torch.from_numpy(members).to(device),
        is_member=torch.from_numpy(is_member).to(device),
        mean_radius_px=torch.from_numpy(mean_radius.astype(np.float32)).to(device),
    )
