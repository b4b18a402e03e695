"""The renderer on a device: dense tensors of static shape, compiled, sources and kernels on the device.

Every batch is padded to `renderer.chunk_size` stamps, so that the compiled graph (and the FFT's plan) sees one shape.
The same functions run uncompiled on the CPU, where tests hold them to the culled renderer. `trace` and `observe` take
and give tensors of the CPU; `trace_there` and `observe_there` leave everything where it is.
"""

from typing import NamedTuple

import numpy as np
import torch

from dhs.config.injection import RendererConfig
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.inject.psf_model import PsfModel
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import lens_parameters, source_placement
from dhs.lens.psf import convolve_spectra, kernel_spectra
from dhs.lens.radial_spectra import DeviceSpectra
from dhs.lens.raytrace import SourcePlacement, trace_dense
from dhs.lens.sie import LensParameters
from dhs.source.base import Source
from dhs.source.resident import stack_of

SEEING_ARCSEC = (0.3, 6.0)
"""FWHM that the table on the device covers; other kernels are transformed one by one."""


class DevicePsf(NamedTuple):
    """The PSFs of n stamps, on the device."""

    fwhm_arcsec: torch.Tensor
    """(n, bands)."""
    shape: torch.Tensor | None = None
    """(n, 2, bands) e1 and e2; None: round."""
    kernels: torch.Tensor | None = None
    """(n, bands, K, K) float32, where they come from images."""

    def take(self, index: torch.Tensor) -> "DevicePsf":
        """The PSFs at ``index``."""
        shape, kernels = (None if value is None else value[index] for value in (self.shape, self.kernels))
        return DevicePsf(self.fwhm_arcsec[index], shape, kernels)


class DenseRenderer:
    """`dhs.inject.renderer.Renderer` on ``device``."""

    def __init__(
        self, source: Source, *, psf: PsfModel, config: RendererConfig, size_px: int, device: torch.device
    ) -> None:
        if config.supersampling == "adaptive":
            raise ValueError("renderer.supersampling = adaptive: needs renderer.device=cpu (a GPU wants static shapes)")
        self._source, self._psf, self._config, self._size_px = source, psf, config, size_px
        self._device = device
        self.n_channels = source.n_channels
        stack = stack_of(source)
        self._stack, self._support = stack.images.to(device), stack.support_radius_arcsec.to(device)
        table = psf.table()
        low, high = SEEING_ARCSEC
        self._spectra = None if table is None else DeviceSpectra(table, low_arcsec=low, high_arcsec=high, device=device)
        self._is_compiled = config.compile and device.type == "cuda"
        self._dense = torch.compile(self._trace, dynamic=False) if self._is_compiled else self._trace

    def trace_there(self, source_index: torch.Tensor, *, lens: torch.Tensor, placement: torch.Tensor) -> torch.Tensor:
        """(n, C, N, N) lensed images before the PSF, all on the device.

        ``source_index`` (n,); ``lens`` (n, 7) and ``placement`` (n, 3) in the order of `LENS_COLUMNS` and of
        `SourcePlacement`.
        """
        parts = []
        for index in self._padded(len(source_index)):
            row = source_index[index]
            x, y, rotation = placement[index].unbind(dim=1)
            where = SourcePlacement(x, y, rotation, self._support[row])
            parts.append(self._dense(row, LensParameters(*lens[index].unbind(dim=1)), where))
        return torch.cat(parts)[: len(source_index)]

    def observe_there(self, traced: torch.Tensor, *, psf: DevicePsf) -> torch.Tensor:
        """(n, bands, N, N) unit-flux arcs after the PSF of (n, C, N, N) ``traced``, all on the device.

        A round profile within SEEING_ARCSEC is read from the table; other kernels are transformed one by one.
        """
        parts = [
            convolve_spectra(traced[index], self._spectra_there(psf.take(index))) for index in self._padded(len(traced))
        ]
        return torch.cat(parts)[: len(traced)]

    @torch.no_grad()  # as painting is, or the graph would be compiled once more for it
    def warm_up(self) -> None:
        """Compile, if this renderer is to be compiled, before anybody waits for a batch."""
        if not self._is_compiled:
            return
        size = self._config.chunk_size
        lens = torch.tensor([1.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0], device=self._device).expand(size, -1)
        nothing = torch.zeros(size, device=self._device)
        self.trace_there(nothing.long(), lens=lens, placement=nothing[:, None].expand(-1, 3))

    def trace(self, recipes: RecipeBatch) -> torch.Tensor:
        return torch.cat([self._trace_chunk(recipes.take(chunk)).cpu() for chunk in self._chunks(len(recipes))])

    def observe(self, traced: torch.Tensor, *, recipes: RecipeBatch) -> torch.Tensor:
        parts = []
        for chunk in self._chunks(len(recipes)):
            spectra = self._kernel_spectra(recipes.take(chunk))
            parts.append(convolve_spectra(traced[chunk].to(self._device), spectra).cpu())
        return torch.cat(parts)

    def render(
        self, lens: LensParameters, placement: SourcePlacement, row: torch.Tensor, fwhm_arcsec: torch.Tensor
    ) -> torch.Tensor:
        """(B, bands, N, N) unit-flux arcs from device tensors to a device tensor, nothing copied: round kernels.

        ``fwhm_arcsec`` (B, bands) within SEEING_ARCSEC.
        """
        assert self._spectra is not None
        return convolve_spectra(self._dense(row, lens, placement), self._spectra.of(fwhm_arcsec))

    def _spectra_there(self, psf: DevicePsf) -> torch.Tensor:
        kernels = psf.kernels
        if kernels is None and psf.shape is None:
            assert self._spectra is not None
            return self._spectra.of(psf.fwhm_arcsec)
        if kernels is None:
            assert psf.shape is not None
            kernels = self._psf.profile(psf.fwhm_arcsec, e1=psf.shape[:, 0], e2=psf.shape[:, 1])
        return kernel_spectra(kernels, size_px=self._size_px, effective=self._psf.effective)

    def _padded(self, n: int) -> list[torch.Tensor]:
        """Index of each chunk, the last one filled up with the last stamp."""
        size = self._config.chunk_size
        every = torch.arange(-(-n // size) * size, device=self._device).clamp(max=n - 1)
        return list(every.split(size))

    def _kernel_spectra(self, recipes: RecipeBatch) -> torch.Tensor:
        """From the table where all kernels are round profiles; the two ways agree to 1e-6, not to the bit."""
        fwhm = np.asarray(recipes.psf_fwhm_arcsec)
        low, high = SEEING_ARCSEC
        if self._psf.are_round(recipes).all() and (fwhm >= low).all() and (fwhm <= high).all():
            assert self._spectra is not None
            return self._spectra.of(torch.from_numpy(fwhm).to(self._device))
        kernels = self._psf.kernels(recipes).to(self._device)
        return kernel_spectra(kernels, size_px=self._size_px, effective=self._psf.effective)

    def _chunks(self, n: int) -> list[slice]:
        size = self._config.chunk_size
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def _trace_chunk(self, recipes: RecipeBatch) -> torch.Tensor:
        """(b, C, N, N) on the device; the chunk is filled up with its last recipe."""
        n = len(recipes)
        full = recipes.take(np.minimum(np.arange(self._config.chunk_size), n - 1))
        templates = self._source.templates(full.source_index)
        lens = LensParameters(*(value.to(self._device) for value in lens_parameters(full)))
        placement = SourcePlacement(*(value.to(self._device) for value in source_placement(full, templates)))
        index = torch.from_numpy(np.asarray(full.source_index, np.int64)).to(self._device)
        return self._dense(index, lens, placement)[:n]

    def _trace(self, row: torch.Tensor, lens: LensParameters, placement: SourcePlacement) -> torch.Tensor:
        return trace_dense(
            self._stack[row],
            lens=lens,
            placement=placement,
            template_pixel_scale_arcsec=self._source.pixel_scale_arcsec,
            size_px=self._size_px,
            pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
            supersampling=int(self._config.supersampling),
        )
