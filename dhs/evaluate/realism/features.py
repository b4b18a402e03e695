"""A fixed, simple set of features of a stamp, for telling real lenses from injections without any trained network.

Four families, so that a difference can be named:
* profile: surface brightness in rings about the centre, each band, asinh(mean / 0.01 nMgy);
* colour: differences of those between bands, ring by ring;
* arc: what the galaxy's azimuthal median leaves: its scatter over the sky's in rings, its light and colours, and the
  asymmetry ``sum |I - I_180| / sum |I|`` within 3 arcsec (Conselice+2000, ApJ 529, 886, without their noise term);
* noise: the outer ring's scatter, and correlation of neighbouring pixels at lags 1 and 2.
A linear probe on them sees means and their combinations, no textures: what it cannot tell may differ all the same.
"""

from collections.abc import Callable

import numpy as np
import torch

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.train.channels import azimuthal_median

RING_EDGES_ARCSEC = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
ARC_EDGES_ARCSEC = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
SOFTENING_NMGY = 0.01
"""Of the asinh: a few sigma of a DR10 pixel."""
SKY_FRACTION = 0.75
"""The sky is measured outside this share of the half-size."""
SKY_CLIP_SIGMA = 3.0
ARC_SIGMA = 2.0
"""Residual pixels above this many sigma of the r sky are the arc's light."""
ASYMMETRY_ARCSEC = 3.0
FAMILIES = ("profile", "colour", "arc", "noise")
LAGS = ((0, 1), (1, 0), (0, 2), (2, 0))


def fixed_features(images_nmgy: np.ndarray, *, good: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(B, F) float64 features of (B, 3, N, N) stamps and their names, ``family:what``; bad pixels are left out."""
    radius = _radius_arcsec(images_nmgy.shape[-1])
    sky_ring = radius > SKY_FRACTION * images_nmgy.shape[-1] / 2 * PIXEL_SCALE_ARCSEC
    images = images_nmgy.astype(np.float64)
    level, sigma = _sky(images, good=good & sky_ring)
    light = np.where(good, images - level[..., None, None], 0.0)
    found: dict[str, np.ndarray] = {}
    _profile(found, light, good, radius)
    _arc(found, light, good, radius, sigma)
    _noise(found, light, good & sky_ring, sigma)
    return np.stack(list(found.values()), axis=1), list(found)


def feature_names() -> list[str]:
    """Names of the features, in their order."""
    noise = np.random.default_rng(0).normal(size=(1, len(BANDS), 64, 64))
    return fixed_features(noise, good=np.ones(noise.shape, dtype=bool))[1]


def _radius_arcsec(size_px: int) -> np.ndarray:
    axis = (np.arange(size_px) - (size_px - 1) / 2) * PIXEL_SCALE_ARCSEC
    return np.hypot(axis, axis[:, None])


def _sky(images: np.ndarray, *, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, 3) level and scatter of the ``good`` pixels, clipped once."""
    level, sigma = np.zeros(images.shape[:2]), np.ones(images.shape[:2])
    for i, band in np.ndindex(*images.shape[:2]):
        values = images[i, band][good[i, band]]
        if len(values) < 20:
            continue
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle))
        kept = values[np.abs(values - middle) <= SKY_CLIP_SIGMA * spread]
        level[i, band], sigma[i, band] = kept.mean(), max(float(kept.std()), 1e-12)
    return level, sigma


def _profile(found: dict[str, np.ndarray], light: np.ndarray, good: np.ndarray, radius: np.ndarray) -> None:
    for low, high in zip(RING_EDGES_ARCSEC[:-1], RING_EDGES_ARCSEC[1:], strict=True):
        mean = _over(light, good & (radius >= low) & (radius < high), statistic=_mean)
        scaled = np.arcsinh(mean / SOFTENING_NMGY)
        for band, name in enumerate(BANDS):
            found[f"profile:{name} {low:g}-{high:g}"] = scaled[:, band]
        found[f"colour:g-r {low:g}-{high:g}"] = scaled[:, 1] - scaled[:, 0]
        found[f"colour:r-z {low:g}-{high:g}"] = scaled[:, 2] - scaled[:, 1]


def _arc(
    found: dict[str, np.ndarray], light: np.ndarray, good: np.ndarray, radius: np.ndarray, sigma: np.ndarray
) -> None:
    smooth = np.stack(
        [
            azimuthal_median(torch.from_numpy(light[:, band]).float(), good=torch.from_numpy(good[:, band])).numpy()
            for band in range(len(BANDS))
        ],
        axis=1,
    )
    residual = np.where(good, light - smooth, 0.0)
    for low, high in zip(ARC_EDGES_ARCSEC[:-1], ARC_EDGES_ARCSEC[1:], strict=True):
        scatter = _over(residual, good & (radius >= low) & (radius < high), statistic=_rms)
        for band, name in enumerate(BANDS):
            found[f"arc:{name} scatter {low:g}-{high:g}"] = np.log(np.maximum(scatter[:, band] / sigma[:, band], 1e-3))
    bright = residual[:, 1] > ARC_SIGMA * sigma[:, 1][:, None, None]
    inside = bright & (radius >= ARC_EDGES_ARCSEC[0]) & (radius < ARC_EDGES_ARCSEC[-1])
    arc = np.arcsinh((residual * inside[:, None]).sum(axis=(-2, -1)) / SOFTENING_NMGY)
    for band, name in enumerate(BANDS):
        found[f"arc:{name} light"] = arc[:, band]
    found["arc:g-r"], found["arc:r-z"] = arc[:, 1] - arc[:, 0], arc[:, 2] - arc[:, 1]
    turned = np.abs(light - light[..., ::-1, ::-1])
    both = good & good[..., ::-1, ::-1] & (radius < ASYMMETRY_ARCSEC)
    total = np.maximum((np.abs(light) * both).sum(axis=(-2, -1)), 1e-12)
    for band, name in enumerate(BANDS):
        found[f"arc:{name} asymmetry"] = (turned * both).sum(axis=(-2, -1))[:, band] / total[:, band]


def _noise(found: dict[str, np.ndarray], light: np.ndarray, ring: np.ndarray, sigma: np.ndarray) -> None:
    usable = ring & (np.abs(light) <= SKY_CLIP_SIGMA * sigma[..., None, None])
    values = np.where(usable, light, 0.0)
    variance = (values**2).sum(axis=(-2, -1)) / np.maximum(usable.sum(axis=(-2, -1)), 1)
    for band, name in enumerate(BANDS):
        found[f"noise:{name} sigma"] = np.log(sigma[:, band])
    for dy, dx in LAGS:
        n = light.shape[-1]
        one, other = (Ellipsis, slice(0, n - dy), slice(0, n - dx)), (Ellipsis, slice(dy, n), slice(dx, n))
        pairs = (usable[one] & usable[other]).sum(axis=(-2, -1))
        product = (values[one] * values[other]).sum(axis=(-2, -1)) / np.maximum(pairs, 1)
        lag = product / np.maximum(variance, 1e-30)
        for band, name in enumerate(BANDS):
            found[f"noise:{name} lag {dx},{dy}"] = lag[:, band]


def _over(
    values: np.ndarray, mask: np.ndarray, *, statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """(B, 3) ``statistic`` of the masked pixels; 0 where there are none."""
    return statistic(np.where(mask, values, 0.0), np.maximum(mask.sum(axis=(-2, -1)), 1))


def _mean(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.asarray(values.sum(axis=(-2, -1)) / count)


def _rms(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.sqrt((values**2).sum(axis=(-2, -1)) / count)
