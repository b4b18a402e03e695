"""`Physics`: the sky, sources, renderer and injector of one configuration, as the checks see them.

Everything goes through the interfaces the programs use (`Source`, `Renderer`, `Injector`), so a test plants a mistake
by wrapping one of them: ``replace(physics, make_renderer=...)``, ``source=``, ``make_injector=``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from dhs.config.injection import PsfConfig, RendererConfig
from dhs.config.root import InjectionRoot
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.inject.injector import Injector
from dhs.inject.psf_model import with_psf_ellipticity
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import Renderer, build_renderer
from dhs.inject.stamp_batch import StampBatch
from dhs.rng import Purpose
from dhs.sky.build import load_sky
from dhs.sky.cutouts import CutoutSet
from dhs.source.base import Source
from dhs.source.build import build_source

ADAPTIVE_RAYS = 4

MAX_INDICES = 4096
"""Training samples looked through for injections."""


class MakeRenderer(Protocol):
    """`dhs.inject.renderer.build_renderer`, or what a test puts in its place."""

    def __call__(
        self, config: RendererConfig, *, source: Source, psf: PsfConfig, size_px: int, psf_images: np.ndarray | None
    ) -> Renderer: ...


def plain_injector(physics: "Physics", cutouts: CutoutSet) -> Injector:
    """The injector of the configuration over ``cutouts``."""
    config = physics.config
    return Injector(
        cutouts,
        renderer=physics.renderer(physics.source),
        source=physics.source,
        seed=config.seed,
        lens=config.lens,
        colour=config.colour,
        inject=config.inject,
    )


@dataclass
class Physics:
    """What is checked, and what the checks share."""

    config: InjectionRoot
    cutouts: CutoutSet
    source: Source
    make_renderer: MakeRenderer = build_renderer
    make_injector: Callable[["Physics", CutoutSet], Injector] = plain_injector
    n_stamps: int = 48
    n_reference: int = 12

    @property
    def size_px(self) -> int:
        return self.cutouts.stamp_size_px

    @property
    def half_size_arcsec(self) -> float:
        return 0.5 * self.size_px * PIXEL_SCALE_ARCSEC

    @property
    def supersampling(self) -> int:
        """Rays an axis and pixel; for ``adaptive``, those that smooth probes get at least."""
        configured = self.config.renderer.supersampling
        return ADAPTIVE_RAYS if configured == "adaptive" else configured

    def renderer(self, source: Source, *, psf: PsfConfig | None = None, supersampling: int | None = None) -> Renderer:
        """The configured renderer on ``source``, but for the settings given (16 is finer than a configuration may)."""
        changes = {} if supersampling is None else {"supersampling": supersampling}
        return self.make_renderer(
            self.config.renderer.model_copy(update=changes),
            source=source,
            psf=psf or self.config.psf,
            size_px=self.size_px,
            psf_images=self.cutouts.psf_images,
        )

    def trace(self, source: Source, recipes: RecipeBatch) -> np.ndarray:
        """(B, C, N, N) float64 unit-flux images before the PSF."""
        return self.renderer(source).trace(recipes).double().numpy()

    def observe(self, source: Source, recipes: RecipeBatch, *, psf: PsfConfig | None = None) -> np.ndarray:
        """(B, bands, N, N) float64 unit-flux images after it."""
        renderer = self.renderer(source, psf=psf)
        return renderer.observe(renderer.trace(recipes), recipes=recipes).double().numpy()

    @cached_property
    def without_noise(self) -> "Physics":
        """The same with the arcs' own noise off: light is measured to a thousandth on it."""
        if self.config.inject.arc_noise == "none":
            return self
        inject = self.config.inject.model_copy(update={"arc_noise": "none"})
        return replace(self, config=self.config.model_copy(update={"inject": inject}))

    @cached_property
    def injector(self) -> Injector:
        return self.make_injector(self, self.cutouts)

    @cached_property
    def indices(self) -> np.ndarray:
        """Training samples of epoch 0 that carry an arc."""
        found: list[int] = []
        for start in range(0, MAX_INDICES, 64):
            found += self.injector.injected_indices(np.arange(start, start + 64), purpose=Purpose.TRAIN)
            if len(found) >= self.n_stamps:
                break
        return np.array(found[: self.n_stamps])

    @cached_property
    def stamps(self) -> StampBatch:
        """Training injections."""
        return self.injector.stamps(self.indices, purpose=Purpose.TRAIN)

    @cached_property
    def galaxies_nmgy(self) -> torch.Tensor:
        """(n, bands, N, N) float32: the galaxies of `stamps` before injection."""
        return torch.from_numpy(np.array(self.cutouts.images[self.stamps.recipes.row], dtype=np.float32))

    @cached_property
    def arcs_nmgy(self) -> np.ndarray:
        """(n, bands, N, N) float64: what injection added, measured as stamp minus galaxy."""
        return self.stamps.images.double().numpy() - self.galaxies_nmgy.double().numpy()


def load_physics(
    config: InjectionRoot,
    *,
    max_galaxies: int,
    n_stamps: int,
    n_reference: int,
    progress: Callable[[int, int], None] | None = None,
) -> Physics:
    """The physics of ``config`` on the first ``max_galaxies`` of its sky."""
    limit = min(max_galaxies, config.max_galaxies or max_galaxies)
    cutouts = load_sky(config.sky, cache_dir=config.paths.cache_dir, max_galaxies=limit, progress=progress)
    return Physics(
        config,
        with_psf_ellipticity(cutouts, psf=config.psf),
        build_source(config.source, cache_dir=config.paths.cache_dir),
        n_stamps=n_stamps,
        n_reference=min(n_reference, n_stamps),
    )
