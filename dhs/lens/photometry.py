"""Magnitudes, nanomaggies and the signal-to-noise of an arc."""

from typing import NamedTuple

import numpy as np
import torch

from dhs.constants import AB_ZERO_POINT_MAG


def flux_nmgy(mag_ab: np.ndarray) -> np.ndarray:
    """Nanomaggies of AB magnitudes: ``10**((22.5 - m) / 2.5)``."""
    return 10.0 ** ((AB_ZERO_POINT_MAG - np.asarray(mag_ab, dtype=np.float64)) / 2.5)


def mag_ab(flux: np.ndarray) -> np.ndarray:
    """AB magnitudes of fluxes in nanomaggies; NaN where the flux is not positive."""
    flux = np.asarray(flux, dtype=np.float64)
    return AB_ZERO_POINT_MAG - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))


class ArcSnr(NamedTuple):
    """Signal-to-noise of B noise-free arcs in each band, good pixels only; (B, bands) float32."""

    peak: torch.Tensor
    """Largest signal / sigma of one pixel (the seeds' `arc_snr`)."""
    integrated: torch.Tensor
    """sum(signal) / sqrt(sum(1 / invvar)) over the arc's footprint: the pixels where the arc exceeds 1 sigma
    (the peak pixel alone where there is none). Summed over a whole stamp it would measure the empty sky."""


def arc_snr(arcs_nmgy: torch.Tensor, *, invvar: torch.Tensor, good: torch.Tensor) -> ArcSnr:
    """S/N of (B, bands, N, N) arcs; ``invvar`` in nMgy^-2, ``good`` bool of the same shape."""
    per_pixel = torch.where(good, arcs_nmgy * torch.sqrt(invvar), 0.0)
    peak = per_pixel.amax(dim=(-2, -1))
    footprint = per_pixel > 1
    signal = torch.where(footprint, arcs_nmgy, 0.0).sum(dim=(-2, -1))
    variance = torch.where(footprint, 1.0 / invvar.clamp(min=1e-12), 0.0).sum(dim=(-2, -1))
    integrated = torch.where(variance > 0, signal / torch.sqrt(variance.clamp(min=1e-30)), peak)
    return ArcSnr(peak, integrated)
