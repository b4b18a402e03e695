"""Renderers: recipes -> unit-flux arcs per band, convolved with each galaxy's own PSF.

`fast` is batched: on the CPU a compiled, culled pass per stamp in chunks that stay in cache; on a GPU dense tensors of
static shape, compiled, with the sources resident. `lenstronomy` is the slow reference, one stamp at a time. Same
recipe, same stamp, whatever else is in the batch and however many threads there are.
"""

from typing import Protocol

import numpy as np
import torch

from dhs.config.injection import PsfConfig, RendererConfig
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.inject.psf_model import PsfModel
from dhs.inject.recipe import RecipeBatch
from dhs.lens.psf import pixel_free_kernel
from dhs.lens.raytrace import SourcePlacement, trace_arcs
from dhs.lens.sie import LensParameters
from dhs.source.base import Source, Templates

CPU_CHUNK = 16
"""Stamps at once that stay in a CPU's cache."""


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


class FastRenderer:
    """The CPU renderer; `torch.get_num_threads()` threads share a batch."""

    def __init__(self, source: Source, *, psf: PsfModel, config: RendererConfig, size_px: int) -> None:
        self._source, self._psf, self._config, self._size_px = source, psf, config, size_px
        self.n_channels = source.n_channels

    def trace(self, recipes: RecipeBatch) -> torch.Tensor:
        templates = self._source.templates(recipes.source_index)
        adaptive = self._config.supersampling == "adaptive"
        return trace_arcs(
            templates.images,
            row=templates.row,
            lens=lens_parameters(recipes),
            placement=source_placement(recipes, templates),
            template_pixel_scale_arcsec=self._source.pixel_scale_arcsec,
            size_px=self._size_px,
            pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
            supersampling=None if adaptive else int(self._config.supersampling),
            max_error=self._config.max_error,
        )

    def observe(self, traced: torch.Tensor, *, recipes: RecipeBatch) -> torch.Tensor:
        return self._psf.convolve(traced, recipes, chunk_size=self._config.chunk_size)


class LenstronomyRenderer:
    """The reference: lenstronomy's own classes from ray to PSF, some two hundred times slower."""

    def __init__(self, source: Source, *, psf: PsfModel, config: RendererConfig, size_px: int) -> None:
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
        kernels = self._psf.kernels(recipes).double()
        images = np.empty((*recipes.psf_fwhm_arcsec.shape, self._size_px, self._size_px), dtype=np.float32)
        for i, band in np.ndindex(*recipes.psf_fwhm_arcsec.shape):
            images[i, band] = self._unit_arc(
                recipes, i, channel=band % self._source.n_channels, kernel=self._kernel(kernels[i, band])
            )
        return torch.from_numpy(images)

    def _kernel(self, kernel: torch.Tensor) -> np.ndarray:
        if self._psf.effective:
            return pixel_free_kernel(kernel).numpy()
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
            supersampling=int(self._config.supersampling),
            kernel=kernel,
        )


def build_renderer(
    config: RendererConfig,
    *,
    source: Source,
    psf: PsfConfig,
    size_px: int,
    psf_images: np.ndarray | None = None,
) -> Renderer:
    """The renderer named by ``config``; ``psf_images`` are `CutoutSet.psf_images`, for `psf=survey`.

    Raises:
        ValueError: `psf=survey` without PSF images or with unusable ones, a GPU asked for that is not there.
    """
    require_device(config)
    model = PsfModel(psf, size_px=size_px, images=psf_images)
    if config.name == "lenstronomy":
        return LenstronomyRenderer(source, psf=model, config=config, size_px=size_px)
    if config.device == "cuda":
        from dhs.inject.renderer_gpu import DenseRenderer

        return DenseRenderer(source, psf=model, config=config, size_px=size_px, device=torch.device("cuda"))
    if config.device == "accelerator":  # what is asked for outside training, sheets and evaluation, is made on the CPU
        config = config.model_copy(update={"chunk_size": min(config.chunk_size, CPU_CHUNK)})
    return FastRenderer(source, psf=model, config=config, size_px=size_px)


def require_device(config: RendererConfig) -> None:
    """ValueError where the GPU asked for is absent: asked before a sky is drawn."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("renderer.device = cuda: this machine has no CUDA device; use renderer.device=cpu")


LENS_COLUMNS: tuple[str, ...] = (
    "theta_e_arcsec", "axis_ratio", "phi_rad", "gamma1", "gamma2", "lens_x_arcsec", "lens_y_arcsec",
)  # fmt: skip


def lens_parameters(recipes: RecipeBatch) -> LensParameters:
    """The lens columns of ``recipes`` as (B,) float32 tensors."""
    return LensParameters(*(_tensor(getattr(recipes, name)) for name in LENS_COLUMNS))


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
