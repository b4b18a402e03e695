"""Convolution on the CPU: small transforms for the arcs that allow it, round kernels from a table.

Most arcs lie near the middle of the stamp. Where no light is farther than D from any pixel, a transform of D + h + 1
suffices (h: the kernel's reach) and nothing wraps into the stamp: exact, at 64 x 64 (optical kernels of 33 px) or
72 x 72 (effective ones) for most, not 96 x 96. A stamp's size of transform depends on its own light alone, so its bits
do not depend on its batch. pocketfft (scipy) transforms, rows and columns apart, without the rows that padding would
add; numba multiplies. The plain form, for any device: `dhs.lens.psf.convolve_bands`.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import fft

from dhs.lens.compiled import machine_code
from dhs.lens.psf import RINGING_PX, convolution_size, kernel_spectra
from dhs.lens.radial_spectra import RadialSpectra, multiply_radial
from dhs.lens.threads import in_threads

DISTANCE_CLASSES = (0.75, 0.875, 1.0)
"""Stamps are sorted by the largest distance D of their light, over the stamp's size; a transform's size each."""

Multiply = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(n, C, L, H) spectra of the images ``rows`` (n,) and L to (n, bands, L, H) spectra of their convolutions."""


class Convolution:
    """Of images of one size with kernels of one size, effective or optical; tables grow as FWHMs are met."""

    def __init__(self, *, size_px: int, kernel_size_px: int, effective: bool, chunk_size: int) -> None:
        self._size_px, self._effective, self._chunk_size = size_px, effective, chunk_size
        reach = kernel_size_px + 2 * RINGING_PX if effective else kernel_size_px
        self._distances = [int(share * size_px) - 1 for share in DISTANCE_CLASSES]
        self._lengths = [
            convolution_size(size_px, kernel_size_px=reach, distance_px=distance) for distance in self._distances
        ]
        self._tables: dict[int, RadialSpectra] = {}

    def with_round(
        self, images: torch.Tensor, *, kernel_of: Callable[[torch.Tensor], torch.Tensor], fwhm_arcsec: np.ndarray
    ) -> torch.Tensor:
        """(B, bands, N, N) of images (B, C, N, N) and the kernels of FWHM (B, bands).

        ``kernel_of`` (`RadialSpectra`) must be the same at every call.
        """
        for length in self._lengths if len(images) else ():
            if length not in self._tables:
                self._tables[length] = RadialSpectra(
                    kernel_of, size_px=self._size_px, effective=self._effective, length=length
                )
            self._tables[length].cover(fwhm_arcsec)  # here, before threads read it

        def multiply(spectra: np.ndarray, rows: np.ndarray, length: int) -> np.ndarray:
            found = self._tables[length].at(fwhm_arcsec[rows])
            product = np.empty((*found.node.shape, *spectra.shape[2:]), np.complex64)
            multiply_radial(product, spectra, found.table, found.node, found.weight)
            return product

        return self.convolve_with(images, n_bands=fwhm_arcsec.shape[1], multiply=multiply)

    def with_any(
        self, images: torch.Tensor, *, kernels_of: Callable[[np.ndarray], torch.Tensor], n_bands: int
    ) -> torch.Tensor:
        """(B, bands, N, N) of images (B, C, N, N); ``kernels_of(rows)`` gives theirs, (n, bands, K, K)."""

        def multiply(spectra: np.ndarray, rows: np.ndarray, length: int) -> np.ndarray:
            own = kernel_spectra(kernels_of(rows), size_px=self._size_px, effective=self._effective, length=length)
            return spectra * own.numpy()

        return self.convolve_with(images, n_bands=n_bands, multiply=multiply)

    def convolve_with(self, images: torch.Tensor, *, n_bands: int, multiply: Multiply) -> torch.Tensor:
        """(B, bands, N, N) of images (B, C, N, N); ``multiply`` does what lies between the transforms."""
        pixels, size = np.ascontiguousarray(images.numpy()), self._size_px
        out = np.empty((len(pixels), n_bands, size, size), np.float32)
        distance = np.empty(len(pixels), np.int64)
        light_distance(pixels, distance)
        classes = np.searchsorted(self._distances, distance)
        for index, length in enumerate(self._lengths):
            rows = np.flatnonzero(classes == index)

            def work(chosen: slice, rows: np.ndarray = rows, length: int = length) -> None:
                for start in range(chosen.start, chosen.stop, self._chunk_size):
                    some = rows[start : min(start + self._chunk_size, chosen.stop)]
                    lines = fft.rfft(pixels[some], n=length)
                    product = multiply(fft.fft(lines, n=length, axis=-2), some, length)
                    columns = fft.ifft(product, axis=-2, overwrite_x=True)[..., :size, :]
                    out[some] = fft.irfft(columns, n=length)[..., :size]

            in_threads(work, len(rows))
        return torch.from_numpy(out)


@machine_code("void(float32[:,:,:,::1], int64[::1])")
def light_distance(images, out):  # type: ignore[no-untyped-def]
    """Sets ``out`` (B,) to the largest distance along x or y between a lit pixel and any pixel of (B, C, N, N)."""
    size = images.shape[-1]
    for b in range(len(images)):
        low, high = size, -1
        for channel in range(images.shape[1]):
            for j in range(size):
                for i in range(size):
                    if images[b, channel, j, i] != 0:
                        low, high = min(low, i, j), max(high, i, j)
        out[b] = max(high, size - 1 - low) if high >= 0 else 0
