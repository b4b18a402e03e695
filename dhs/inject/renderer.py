"""Renderers: recipes -> unit-flux arcs per band, convolved with each galaxy's own PSF.

`torch` is batched and culled; `lenstronomy` is the slow reference, one stamp at a time. Same recipe, same stamp,
whatever else is in the batch.
"""

from typing import Protocol

import numpy as np
import torch

from dhs.config.injection import MoffatPsf, PsfConfig, RendererConfig
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch
from dhs.lens.psf import convolve_bands, gaussian_kernel, moffat_kernel, pixel_free_kernel
from dhs.lens.raytrace import SourcePlacement, trace_arcs
from dhs.lens.sie import LensParameters
from dhs.source.base import Source, Templates


class Renderer(Protocol):
    """Pure functions of the recipes, in two steps: magnification is known before the costlier half."""

    n_channels: int

    def trace(self, recipes: RecipeBatch) -> torch.Tensor:
        """(B, C, N, N) float32 lensed images of unit-flux sources before the PSF; their sums are the magnifications.

        C is that of the source: 1, or the number of bands."""
        ...

    def observe(self, traced: torch.Tensor, *, recipes: RecipeBatch) -> torch.Tensor:
        """(B, bands, N, N) float32: the unit-flux arcs after each band's own PSF; multiply by the fluxes in nMgy."""
        ...


def psf_kernels(fwhm_arcsec: torch.Tensor, *, psf: PsfConfig) -> torch.Tensor:
    """(B, bands, K, K) kernels of the configured profile for (B, bands) FWHMs."""
    if isinstance(psf, MoffatPsf):
        return moffat_kernel(
            fwhm_arcsec, beta=psf.beta, size_px=psf.kernel_size_px, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC
        )
    return gaussian_kernel(fwhm_arcsec, size_px=psf.kernel_size_px, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC)


class TorchRenderer:
    """Batched float32 renderer, in chunks that stay in cache."""

    def __init__(self, source: Source, *, psf: PsfConfig, config: RendererConfig, size_px: int) -> None:
        self._source, self._psf, self._config, self._size_px = source, psf, config, size_px
        self.n_channels = source.n_channels

    def trace(self, recipes: RecipeBatch) -> torch.Tensor:
        return torch.cat([self._trace_chunk(recipes.take(chunk)) for chunk in self._chunks(len(recipes))])

    def observe(self, traced: torch.Tensor, *, recipes: RecipeBatch) -> torch.Tensor:
        return torch.cat(
            [self._observe_chunk(traced[chunk], recipes.take(chunk)) for chunk in self._chunks(len(recipes))]
        )

    def _chunks(self, n: int) -> list[slice]:
        size = self._config.chunk_size
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def _trace_chunk(self, recipes: RecipeBatch) -> torch.Tensor:
        templates = self._source.templates(recipes.source_index)
        return trace_arcs(
            templates.each(),
            lens=lens_parameters(recipes),
            placement=source_placement(recipes, templates),
            template_pixel_scale_arcsec=self._source.pixel_scale_arcsec,
            size_px=self._size_px,
            pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
            supersampling=self._config.supersampling,
            cull=True,
        )

    def _observe_chunk(self, traced: torch.Tensor, recipes: RecipeBatch) -> torch.Tensor:
        kernels = psf_kernels(_tensor(recipes.psf_fwhm_arcsec), psf=self._psf)
        return convolve_bands(traced, kernels, effective=self._psf.convention == "effective")


class LenstronomyRenderer:
    """The reference: lenstronomy's own classes from ray to PSF, about fifty times slower."""

    def __init__(self, source: Source, *, psf: PsfConfig, config: RendererConfig, size_px: int) -> None:
        self._source, self._psf, self._config, self._size_px = source, psf, config, size_px
        self.n_channels = source.n_channels

    def trace(self, recipes: RecipeBatch) -> torch.Tensor:
        images = [
            [self._unit_arc(recipes, i, channel=channel, kernel=None) for channel in range(self._source.n_channels)]
            for i in range(len(recipes))
        ]
        return torch.from_numpy(np.array(images, dtype=np.float32))

    def observe(self, traced: torch.Tensor, *, recipes: RecipeBatch) -> torch.Tensor:
        """lenstronomy convolves inside its image model, so every band is traced again; ``traced`` is not used."""
        kernels = psf_kernels(torch.from_numpy(recipes.psf_fwhm_arcsec.astype(np.float64)), psf=self._psf)
        images = np.empty((*recipes.psf_fwhm_arcsec.shape, self._size_px, self._size_px), dtype=np.float32)
        for i, band in np.ndindex(*recipes.psf_fwhm_arcsec.shape):
            images[i, band] = self._unit_arc(
                recipes, i, channel=band % self._source.n_channels, kernel=self._kernel(kernels[i, band])
            )
        return torch.from_numpy(images)

    def _kernel(self, kernel: torch.Tensor) -> np.ndarray:
        if self._psf.convention == "effective":
            return pixel_free_kernel(kernel, size_px=2 * self._size_px - 1).numpy()
        return kernel.numpy()

    def _unit_arc(self, recipes: RecipeBatch, i: int, *, channel: int, kernel: np.ndarray | None) -> np.ndarray:
        from dhs.lens.reference import lenstronomy_arc

        return lenstronomy_arc(
            self._source.templates(recipes.source_index[i : i + 1]).each()[0, channel].numpy(),
            theta_e_arcsec=float(recipes.theta_e_arcsec[i]),
            axis_ratio=float(recipes.axis_ratio[i]),
            phi_rad=float(recipes.phi_rad[i]),
            gamma1=float(recipes.gamma1[i]),
            gamma2=float(recipes.gamma2[i]),
            lens_x_arcsec=float(recipes.lens_x_arcsec[i]),
            lens_y_arcsec=float(recipes.lens_y_arcsec[i]),
            source_x_arcsec=float(recipes.source_x_arcsec[i]),
            source_y_arcsec=float(recipes.source_y_arcsec[i]),
            source_rotation_rad=float(recipes.source_rotation_rad[i]),
            template_pixel_scale_arcsec=self._source.pixel_scale_arcsec,
            size_px=self._size_px,
            pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
            supersampling=self._config.supersampling,
            kernel=kernel,
        )


def build_renderer(config: RendererConfig, *, source: Source, psf: PsfConfig, size_px: int) -> Renderer:
    """The renderer named by ``config.name``."""
    kinds: dict[str, type[TorchRenderer] | type[LenstronomyRenderer]] = {
        "torch": TorchRenderer,
        "lenstronomy": LenstronomyRenderer,
    }
    return kinds[config.name](source, psf=psf, config=config, size_px=size_px)


def lens_parameters(recipes: RecipeBatch) -> LensParameters:
    """The lens columns of ``recipes`` as (B,) float32 tensors."""
    return LensParameters(
        *(
            _tensor(getattr(recipes, name))
            for name in (
                "theta_e_arcsec",
                "axis_ratio",
                "phi_rad",
                "gamma1",
                "gamma2",
                "lens_x_arcsec",
                "lens_y_arcsec",
            )
        )
    )


def source_placement(recipes: RecipeBatch, templates: Templates) -> SourcePlacement:
    """Where the recipes put their ``templates``."""
    return SourcePlacement(
        _tensor(recipes.source_x_arcsec),
        _tensor(recipes.source_y_arcsec),
        _tensor(recipes.source_rotation_rad),
        templates.support_radius_arcsec,
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float32))
