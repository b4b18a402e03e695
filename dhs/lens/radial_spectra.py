"""Spectra of round kernels from a table over FWHM: three kernel FFTs a stamp would cost as much as the images' own.

A kernel that is even in x and y has a real spectrum that is even in kx and ky: a quarter of it says all. Nodes lie on
a fixed grid of ln FWHM and are computed in float64 when first needed, each by itself, so the table does not depend on
what was asked before. Between nodes: Lagrange's cubic, in error by less than 1e-7 of the peak (a test holds it).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from dhs.lens.compiled import machine_code
from dhs.lens.psf import kernel_spectra

STEP = 0.02
"""In ln(FWHM)."""


class Interpolation(NamedTuple):
    """Where the spectra of (B, bands) kernels are to be found."""

    table: np.ndarray
    """(nodes, H, H) float32 quarter spectra, H = L // 2 + 1."""
    node: np.ndarray
    """(B, bands) int64: the first of four rows of ``table``."""
    weight: np.ndarray
    """(B, bands, 4) float32."""


class RadialSpectra:
    """Spectra of ``kernel_of(fwhm)`` for any FWHM, for transforms of one ``length``."""

    def __init__(
        self, kernel_of: Callable[[torch.Tensor], torch.Tensor], *, size_px: int, effective: bool, length: int
    ) -> None:
        """``kernel_of``: (n,) float64 FWHM in arcsec to (n, K, K) kernels, round and centred."""
        self._kernel_of, self._size_px, self._effective, self.length = kernel_of, size_px, effective, length
        self._first, self._table = 0, np.zeros((0, length // 2 + 1, length // 2 + 1), np.float32)

    def cover(self, fwhm_arcsec: np.ndarray) -> None:
        """Make the table reach over all of ``fwhm_arcsec``; ValueError where one is not a positive number."""
        low, high = float(np.min(fwhm_arcsec)), float(np.max(fwhm_arcsec))  # NaN if any is
        if not (low > 0 and high < np.inf):
            raise ValueError(f"psf_fwhm_arcsec from {low} to {high}: must be above 0")
        # One node more on either side than the cubic needs: the rounding of a logarithm may differ in `at`.
        self._extend(int(np.floor(np.log(low) / STEP)) - 2, int(np.floor(np.log(high) / STEP)) + 4)

    def at(self, fwhm_arcsec: np.ndarray) -> Interpolation:
        """Of FWHM (B, bands) arcsec, which the table covers."""
        place = np.log(np.asarray(fwhm_arcsec, np.float64)) / STEP
        node = np.floor(place).astype(np.int64)
        t = place - node
        # Lagrange's cubic through the nodes -1, 0, 1, 2.
        weights = [
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ]
        return Interpolation(self._table, node - 1 - self._first, np.stack(weights, axis=-1).astype(np.float32))

    def _extend(self, low: int, high: int) -> None:
        """Make the table cover the nodes [low, high)."""
        if len(self._table) == 0:
            self._first, self._table = low, self._nodes(low, high)
        if low < self._first:
            self._first, self._table = low, np.concatenate([self._nodes(low, self._first), self._table])
        last = self._first + len(self._table)
        if high > last:
            self._table = np.concatenate([self._table, self._nodes(last, high)])

    def _nodes(self, low: int, high: int) -> np.ndarray:
        fwhm = torch.exp(STEP * torch.arange(low, high, dtype=torch.float64))
        spectra = [
            kernel_spectra(self._kernel_of(one), size_px=self._size_px, effective=self._effective, length=self.length)
            for one in fwhm.split(1)
        ]
        quarter = torch.cat(spectra).real[:, : self.length // 2 + 1]
        return quarter.to(torch.float32).numpy()


class DeviceSpectra:
    """The same table as a tensor on ``device``, for seeing from ``low_arcsec`` to ``high_arcsec``."""

    def __init__(self, spectra: RadialSpectra, *, low_arcsec: float, high_arcsec: float, device: torch.device) -> None:
        spectra.cover(np.array([low_arcsec, high_arcsec]))
        start = spectra.at(np.array([[low_arcsec]]))
        self._first = round(float(np.floor(np.log(low_arcsec) / STEP))) - 1 - int(start.node[0, 0])
        self._table, self._length = torch.from_numpy(start.table).to(device), spectra.length
        ky = torch.arange(self._length, device=device)
        self._mirror = torch.minimum(ky, self._length - ky)

    def of(self, fwhm_arcsec: torch.Tensor) -> torch.Tensor:
        """(B, bands, L, L//2+1) real float32 spectra for FWHM (B, bands) on the device; no branch on data."""
        place = torch.log(fwhm_arcsec.double()) / STEP
        node = torch.floor(place)
        t = (place - node).to(torch.float32)[..., None, None]
        row = (node.to(torch.int64) - 1 - self._first).clamp(0, len(self._table) - 4)
        quarter = (
            self._table[row] * (-t * (t - 1) * (t - 2) / 6)
            + self._table[row + 1] * ((t + 1) * (t - 1) * (t - 2) / 2)
            + self._table[row + 2] * (-(t + 1) * t * (t - 2) / 2)
            + self._table[row + 3] * ((t + 1) * t * (t - 1) / 6)
        )
        return quarter[..., self._mirror, :]


@machine_code("void(complex64[:,:,:,::1], complex64[:,:,:,::1], float32[:,:,::1], int64[:,::1], float32[:,:,::1])")
def multiply_radial(product, spectra, table, node, weight):  # type: ignore[no-untyped-def]
    """``product`` (B, bands, L, H) = ``spectra`` (B, C, L, H) times the kernels' spectra, interpolated in ``table``."""
    length, half = product.shape[2], product.shape[3]
    n_channels = spectra.shape[1]
    kernel = np.empty(half, np.float32)
    for b in range(product.shape[0]):
        for band in range(product.shape[1]):
            first = node[b, band]
            w0, w1, w2, w3 = weight[b, band, 0], weight[b, band, 1], weight[b, band, 2], weight[b, band, 3]
            image, out = spectra[b, band % n_channels], product[b, band]
            for ky in range(half):
                for kx in range(half):
                    kernel[kx] = (
                        w0 * table[first, ky, kx]
                        + w1 * table[first + 1, ky, kx]
                        + w2 * table[first + 2, ky, kx]
                        + w3 * table[first + 3, ky, kx]
                    )
                for kx in range(half):
                    out[ky, kx] = image[ky, kx] * kernel[kx]
                if 0 < ky < length - ky:
                    for kx in range(half):
                        out[length - ky, kx] = image[length - ky, kx] * kernel[kx]
