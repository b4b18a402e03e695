"""Poisson noise of the arc: what its own photons add to the noise of the coadd.

A coadd of g electrons per nanomaggy over a sky of s nMgy a pixel has the variance s / g (sky-limited), so its gain is
``g = s * invvar``: 2e4 to 5e4 e-/nMgy in DR9 and DR10. s comes from DECam's nominal sky
(`constants.DARK_SKY_MAG_ARCSEC2`); moonlight and read noise are in the invvar but not in s, so where they matter the
gain is too low and the noise too high, by as much. The median of invvar over a stamp's good pixels is used, because
a real coadd's invvar also contains the noise of the galaxy (`gain_from_source_noise` reads the gain from just that: on
a real DR9 patch it gives 3.8e4 and 4.7e4 in g and r; the sky gives 2.6e4 and 4.7e4).

The arc then adds the variance ``arc / g`` to each pixel. It is drawn as Gaussian: sky and arc together are 1e3 or more
electrons a pixel. Correlated, it is white noise filtered as the coadd's own (`dhs.sky.mock_noise`), scaled pixel by
pixel, so every pixel's variance is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.lens.photometry import flux_nmgy
from dhs.sky.mock_noise import draw_noise

ArcNoise = Literal["none", "poisson", "poisson_correlated"]


def gain_from_sky(invvar: np.ndarray, *, good: np.ndarray, sky_mag_arcsec2: Sequence[float]) -> np.ndarray:
    """(B, bands) gain in electrons per nanomaggy of coadds (B, bands, N, N); 0 where a band has no good pixel."""
    sky_nmgy_px = flux_nmgy(np.array(sky_mag_arcsec2)) * PIXEL_SCALE_ARCSEC**2
    flat_shape = (*invvar.shape[:2], -1)
    values = np.where(good, invvar, np.nan).astype(np.float64).reshape(flat_shape)
    has_data = good.reshape(flat_shape).any(axis=-1)
    median = np.zeros(has_data.shape)
    median[has_data] = np.nanmedian(values[has_data], axis=-1)
    return median * sky_nmgy_px


def gain_from_source_noise(image_nmgy: np.ndarray, *, invvar: np.ndarray, min_flux_nmgy: float) -> float:
    """Gain (electrons per nanomaggy) of one band of a coadd whose ``invvar`` contains the noise of its sources.

    ``1 / invvar = sky variance + flux / gain``: the median ``flux / (1/invvar - sky variance)`` over the pixels
    brighter than ``min_flux_nmgy``. ValueError where none is brighter or the variance does not grow with the flux.
    """
    good = invvar > 0
    variance = 1.0 / np.where(good, invvar, 1.0).astype(np.float64)
    sky_variance = np.median(variance[good])
    bright = good & (image_nmgy > min_flux_nmgy)
    excess = (variance - sky_variance)[bright]
    if not bright.any() or np.median(excess) <= 0:
        raise ValueError(
            f"invvar does not grow noisier with the flux above {min_flux_nmgy:g} nMgy: it is of the sky alone; "
            "use gain_from_sky"
        )
    return float(1.0 / np.median(excess / image_nmgy[bright]))


def arc_noise_nmgy(
    arcs_nmgy: torch.Tensor,
    rngs: Sequence[np.random.Generator],
    *,
    gain: np.ndarray,
    lag1_correlation: float,
) -> torch.Tensor:
    """(B, bands, N, N) float32 noise of noise-free ``arcs_nmgy``: mean 0, variance arc / ``gain`` (B, bands).

    ``rngs`` (B,), one a stamp; ``lag1_correlation`` 0 is white. A band of gain 0 (no data) gets none.
    """
    noise = unit_noise(rngs, gain=gain, size_px=arcs_nmgy.shape[-1], lag1_correlation=lag1_correlation)
    return scaled_noise_nmgy(arcs_nmgy, noise=noise)


@dataclass(frozen=True)
class UnitNoise:
    """What makes the noise of P arcs but the arcs themselves."""

    unit: torch.Tensor
    """(P, bands, N, N) float32 of variance 1."""
    variance_per_nmgy: torch.Tensor
    """(P, bands) float32, 1 / gain; 0 in a band without data."""


def unit_noise(
    rngs: Iterable[np.random.Generator], *, gain: np.ndarray, size_px: int, lag1_correlation: float
) -> UnitNoise:
    """Noise for P stamps of ``gain`` (P, bands), drawn on the CPU; ``rngs`` are used one after the other."""
    unit = np.stack([draw_noise(rng, size_px=size_px, correlation=lag1_correlation) for rng in rngs])
    per_nmgy = np.where(gain > 0, 1.0 / np.where(gain > 0, gain, 1.0), 0.0).astype(np.float32)
    return UnitNoise(torch.from_numpy(unit.astype(np.float32)), torch.from_numpy(per_nmgy))


def scaled_noise_nmgy(arcs_nmgy: torch.Tensor, *, noise: UnitNoise) -> torch.Tensor:
    """(P, bands, N, N) noise of ``arcs_nmgy``, on any device."""
    assert arcs_nmgy.shape[1] == len(BANDS)
    variance = arcs_nmgy.clamp(min=0) * noise.variance_per_nmgy[:, :, None, None]
    return torch.sqrt(variance) * noise.unit
