"""A ready `Injector` or `Painter` from a configuration: sky, source, renderer."""

import logging
from collections.abc import Callable

from dhs.config.colour import PLAUSIBLE_R_MAG
from dhs.config.root import InjectionRoot
from dhs.config.sky import FilesSky, MockSky, StampsSky, StoreSky
from dhs.inject.injector import Injector
from dhs.inject.painter import Painter
from dhs.inject.psf_model import with_psf_ellipticity
from dhs.inject.renderer import Renderer, build_renderer, require_device
from dhs.inject.supply import StampSupply
from dhs.inject.training_sky import with_extras
from dhs.sky.build import load_sky
from dhs.sky.cutouts import CutoutSet
from dhs.source.base import Source
from dhs.source.build import build_source

log = logging.getLogger("dhs")

Progress = Callable[[int, int], None]


def build_injector(config: InjectionRoot, *, progress: Progress | None = None) -> Injector:
    """What draws recipes and paints them: training, fixed sets. ``progress(done, total)`` counts galaxies drawn."""
    cutouts, source, renderer = _parts(config, progress=progress)
    rule = config.sky.split if isinstance(config.sky, MockSky | FilesSky | StoreSky) else None
    cutouts, extras = with_extras(cutouts, inject=config.inject, split=rule)
    return Injector(
        cutouts,
        renderer=renderer,
        source=source,
        seed=config.seed,
        lens=config.lens,
        colour=config.colour,
        inject=config.inject,
        extras=extras,
    )


def build_supply(config: InjectionRoot, *, progress: Progress | None = None) -> StampSupply:
    """Stamps to train and test on: injected on the fly, or with sky=stamps those of a finished set.

    ``progress(done, total)`` counts galaxies drawn, or rows of the set mapped.
    """
    if not isinstance(config.sky, StampsSky):
        return build_injector(config, progress=progress)
    from dhs.inject.stampset.fixed import load_fixed_stamps

    log.info("sky=stamps: nothing is injected; source, lens, psf, colour, renderer and inject.* are not used, but")
    log.info("inject.samples_per_epoch: the balance of arcs and controls is that of the set")
    return load_fixed_stamps(
        config.sky,
        seed=config.seed,
        samples_per_epoch=config.inject.samples_per_epoch,
        cache_dir=config.paths.cache_dir,
        max_galaxies=config.max_galaxies,
        progress=progress,
    )


def build_painter(config: InjectionRoot, *, progress: Progress | None = None) -> Painter:
    """What paints given recipes: manifests, one stamp. The sky may hold any galaxies, of one split or class alone."""
    cutouts, source, renderer = _parts(config, progress=progress)
    return Painter(cutouts, renderer=renderer, source=source, lens=config.lens, inject=config.inject)


def _parts(config: InjectionRoot, *, progress: Progress | None) -> tuple[CutoutSet, Source, Renderer]:
    """Load (or draw) the sky and the sources."""
    require_device(config.renderer)
    cutouts = load_sky(
        config.sky, cache_dir=config.paths.cache_dir, max_galaxies=config.max_galaxies, progress=progress
    )
    source = build_source(config.source, cache_dir=config.paths.cache_dir)
    _warn_of_bright_sources(config)
    cutouts = with_psf_ellipticity(cutouts, psf=config.psf)
    renderer = build_renderer(
        config.renderer,
        source=source,
        psf=config.psf,
        size_px=cutouts.stamp_size_px,
        psf_images=cutouts.psf_images,
    )
    return cutouts, source, renderer


def _warn_of_bright_sources(config: InjectionRoot) -> None:
    if config.colour.r_mag.low < PLAUSIBLE_R_MAG:
        log.warning(
            "colour.r_mag.low = %g: unlensed sources brighter than r = %g are rare; their arcs may outshine the lens",
            config.colour.r_mag.low,
            PLAUSIBLE_R_MAG,
        )
