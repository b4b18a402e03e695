"""Spectra of round kernels from a table over FWHM: three kernel FFTs a stamp would cost as much as the images' own.

A round profile has one parameter, so its (real) spectrum is tabulated at steps of 1% in FWHM and interpolated by a
cubic: 1e-7 of the peak from the kernel's own FFT (a test holds it). The table is built once, 12 ms and 4 MB.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numba import njit

from dhs.lens.psf import kernel_spectra

FWHM_LOW_ARCSEC, FWHM_HIGH_ARCSEC = 0.3, 6.0
"""Seeing on the ground lies between; outside, kernels are transformed one by one."""
STEP = 0.01
"""In ln(FWHM)."""


class RadialSpectra:
    """Spectra of ``kernel_of(fwhm)`` for any FWHM in range; the kernels are round and centred."""

    def __init__(self, kernel_of: Callable[[torch.Tensor], torch.Tensor], *, size_px: int, effective: bool) -> None:
        n_nodes = math.ceil(math.log(FWHM_HIGH_ARCSEC / FWHM_LOW_ARCSEC) / STEP) + 4
        self._first = math.log(FWHM_LOW_ARCSEC) - STEP
        fwhm = torch.exp(self._first + STEP * torch.arange(n_nodes, dtype=torch.float64)).float()
        parts = [kernel_spectra(kernel_of(some), size_px=size_px, effective=effective).real for some in fwhm.split(32)]
        self._table = torch.cat(parts).contiguous().numpy()

    def covers(self, fwhm_arcsec: np.ndarray) -> bool:
        """Whether every FWHM lies in the table."""
        return bool((fwhm_arcsec >= FWHM_LOW_ARCSEC).all() and (fwhm_arcsec <= FWHM_HIGH_ARCSEC).all())

    def convolve(self, images: torch.Tensor, *, fwhm_arcsec: np.ndarray) -> torch.Tensor:
        """(B, C, N, N) images with kernels of (B, bands) ``fwhm_arcsec``: (B, bands, N, N); C is 1 or bands."""
        size, length = images.shape[-1], self._table.shape[1]
        spectra = torch.fft.rfft2(images, s=(length, length)).numpy()
        place = (np.log(fwhm_arcsec.astype(np.float64)) - self._first) / STEP
        node = np.floor(place).astype(np.int64)
        t = (place - node).astype(np.float32)
        # Lagrange's cubic through the nodes -1, 0, 1, 2.
        weights = np.stack(
            [
                -t * (t - 1) * (t - 2) / 6,
                (t + 1) * (t - 1) * (t - 2) / 2,
                -(t + 1) * t * (t - 2) / 2,
                (t + 1) * t * (t - 1) / 6,
            ],
            axis=-1,
        ).astype(np.float32)
        product = np.empty((*fwhm_arcsec.shape, length, length // 2 + 1), np.complex64)
        _multiply(product, spectra, self._table, node - 1, weights)
        half = torch.fft.ifft(torch.from_numpy(product), dim=-2)[..., :size, :]
        return torch.fft.irfft(half, n=length, dim=-1)[..., :size]


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "nnan", "ninf"})
def _multiply(product, spectra, table, node, weights):  # type: ignore[no-untyped-def]
    """product[b, band] = spectra[b, band or 0] * sum_m weights[b, band, m] table[node[b, band] + m]."""
    n_channels = spectra.shape[1]
    for b in range(product.shape[0]):
        for band in range(product.shape[1]):
            channel = band if n_channels > 1 else 0
            first = node[b, band]
            w0, w1, w2, w3 = weights[b, band, 0], weights[b, band, 1], weights[b, band, 2], weights[b, band, 3]
            for y in range(product.shape[2]):
                for x in range(product.shape[3]):
                    h = w0 * table[first, y, x] + w1 * table[first + 1, y, x]
                    h += w2 * table[first + 2, y, x] + w3 * table[first + 3, y, x]
                    product[b, band, y, x] = spectra[b, channel, y, x] * h
