"""The GPU renderer: dense tensors of static shape, compiled, sources and kernels on the device.

Every batch is padded to `renderer.chunk_size` stamps, so that the compiled graph sees one shape. The same functions
run on the CPU, where a test holds them to the culled renderer.
"""

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


class DenseRenderer:
    """`dhs.inject.renderer.Renderer` on ``device``; tensors given and returned lie on the CPU."""

    def __init__(
        self, source: Source, *, psf: PsfModel, config: RendererConfig, size_px: int, device: torch.device
    ) -> None:
        if config.supersampling == "adaptive":
            raise ValueError("renderer.supersampling = adaptive: needs renderer.device=cpu (a GPU wants static shapes)")
        self._source, self._psf, self._config, self._size_px = source, psf, config, size_px
        self._device = device
        self.n_channels = source.n_channels
        self._stack = stack_of(source).images.to(device)
        table = psf.table()
        low, high = SEEING_ARCSEC
        self._spectra = None if table is None else DeviceSpectra(table, low_arcsec=low, high_arcsec=high, device=device)
        self._dense = torch.compile(self._trace, dynamic=False) if config.compile else self._trace

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
