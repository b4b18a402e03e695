"""Stamps in nanomaggies -> network input: annulus normalisation, clip, stretch, channels. Pure tensor functions.

Every band is normalised by its own outer ring, ``(x - median) / (1.4826 MAD)``, so that the network sees sigmas of
the sky. Masked pixels become 0 (the sky) after normalisation, and never enter the ring's statistics.
"""

import functools

import numpy as np
import torch

from dhs.config.training import PreprocessConfig
from dhs.constants import BANDS, MAD_TO_SIGMA

MIN_RING_PIXELS = 32
"""A ring with fewer good pixels has no usable scale: the band is blanked."""


def preprocess(images: torch.Tensor, *, good: torch.Tensor, config: PreprocessConfig) -> torch.Tensor:
    """(B, channels, N, N) float32 from (B, bands, N, N) ``images`` in nMgy and the bool mask ``good``."""
    bands = normalise(images, good=good, inner_fraction=config.annulus_inner_fraction)
    planes = [_channel(name, images=images, good=good, bands=bands, config=config) for name in config.channels]
    values = torch.stack(planes, dim=1)
    if config.clip_sigma is not None:
        values = values.clamp(-config.clip_sigma, config.clip_sigma)
    return stretch(values, kind=config.stretch, scale=config.stretch_scale_sigma)


def normalise(images: torch.Tensor, *, good: torch.Tensor, inner_fraction: float) -> torch.Tensor:
    """Each (N, N) plane in sigmas of its outer ring, masked pixels 0. The ring starts at ``inner_fraction`` of N/2."""
    ring = torch.from_numpy(_ring(images.shape[-1], inner_fraction))
    values = torch.where(good, images, torch.nan)
    centre, scale = _median_and_sigma(values.flatten(-2)[..., ring].numpy())
    scaled = (values - torch.from_numpy(centre)[..., None, None]) / torch.from_numpy(scale)[..., None, None]
    return torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)


def stretch(values: torch.Tensor, *, kind: str, scale: float) -> torch.Tensor:
    """``none``; ``asinh``: asinh(x/s); ``sqrt``: sign(x) (sqrt(1 + |x|/s) - 1). Both linear for |x| << s."""
    if kind == "asinh":
        size = values.abs() / scale  # torch.asinh itself is four times slower on a CPU
        return torch.copysign(torch.log1p(size + size * size / (1 + torch.sqrt(1 + size * size))), values)
    if kind == "sqrt":
        return torch.sign(values) * (torch.sqrt(1 + values.abs() / scale) - 1)
    return values


def _channel(
    name: str, *, images: torch.Tensor, good: torch.Tensor, bands: torch.Tensor, config: PreprocessConfig
) -> torch.Tensor:
    if name in BANDS:
        return bands[:, BANDS.index(name)]
    if name.startswith("residual_"):
        return subtract_azimuthal_mean(bands[:, BANDS.index(name.removeprefix("residual_"))])
    blue, red = (BANDS.index(band) for band in name.split("-"))
    difference = images[:, blue] - config.difference_k * images[:, red]
    both = good[:, blue] & good[:, red]
    return normalise(difference, good=both, inner_fraction=config.annulus_inner_fraction)


def subtract_azimuthal_mean(planes: torch.Tensor) -> torch.Tensor:
    """(B, N, N) planes less their mean in rings one pixel wide about (n-1)/2."""
    size = planes.shape[-1]
    bins, counts = _radial_bins(size)
    index = torch.from_numpy(bins)
    sums = torch.zeros(planes.shape[0], len(counts)).index_add_(1, index, planes.flatten(-2))
    profile = sums / torch.from_numpy(counts)
    return planes - profile[:, index].reshape(planes.shape)


def _median_and_sigma(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and 1.4826 MAD of the finite values along the last axis; (nan, nan) where too few are left."""
    shape = ring.shape[:-1]
    flat = ring.reshape(-1, ring.shape[-1])
    masked = np.isnan(flat).any(axis=1)
    centre, sigma = np.empty(len(flat), np.float32), np.empty(len(flat), np.float32)
    clean = flat[~masked]
    centre[~masked] = _lower_median(clean)
    sigma[~masked] = _lower_median(np.abs(clean - centre[~masked, None]))
    for row in np.flatnonzero(masked):
        values = flat[row][~np.isnan(flat[row])]
        enough = len(values) >= MIN_RING_PIXELS
        centre[row] = _lower_median(values[None])[0] if enough else np.nan
        sigma[row] = _lower_median(np.abs(values[None] - centre[row]))[0] if enough else np.nan
    sigma[sigma == 0] = np.nan
    return centre.reshape(shape), (MAD_TO_SIGMA * sigma).reshape(shape)


def _lower_median(values: np.ndarray) -> np.ndarray:
    middle = (values.shape[-1] - 1) // 2
    return np.partition(values, middle, axis=-1)[..., middle]


@functools.cache
def _ring(size_px: int, inner_fraction: float) -> np.ndarray:
    """Flat indices of the pixels beyond the inner radius."""
    axis = np.arange(size_px) - (size_px - 1) / 2
    radius = np.hypot(axis, axis[:, None])
    return np.flatnonzero(radius > inner_fraction * size_px / 2)


@functools.cache
def _radial_bins(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(size_px) - (size_px - 1) / 2
    bins = np.hypot(axis, axis[:, None]).astype(np.int64).ravel()
    return bins, np.maximum(np.bincount(bins), 1).astype(np.float32)
