"""A ready `DevicePainter` from an injector and a configuration: room checked, sky and sources moved, graph compiled."""

import logging

import numpy as np
import torch

from dhs.config.root import InjectionRoot
from dhs.inject.device_painter import DevicePainter
from dhs.inject.device_sky import GIB, ResidentSky, require_room
from dhs.inject.injector import Injector
from dhs.inject.mix import NO_ROWS
from dhs.rng import Purpose
from dhs.source.base import Source

log = logging.getLogger("dhs")


def build_device_painter(injector: Injector, *, config: InjectionRoot, device: torch.device) -> DevicePainter:
    """What paints training and validation batches on ``device``.

    Raises:
        ValueError: the device has too little memory left; a host galaxy without seeing.
    """
    cutouts, renderer = injector.cutouts, config.renderer
    mix, val = injector.mix, injector.pool(Purpose.VAL)
    hosts = np.union1d(mix.hosts, val.hosts)
    hard = NO_ROWS if mix.hard is None else mix.hard.rows
    rows = np.unique(np.concatenate([hosts, mix.negatives.rows, mix.real, hard, val.negatives]))
    if device.type == "cuda":
        require_room(
            n_galaxies=len(rows),
            size_px=cutouts.stamp_size_px,
            n_bands=cutouts.images.shape[1],
            bank_bytes=bank_bytes(injector.source),
            free_bytes=torch.cuda.mem_get_info(device)[0],
            is_sky_resident=renderer.resident_sky,
        )
    painter = DevicePainter(
        cutouts,
        source=injector.source,
        psf=config.psf,
        renderer=renderer,
        device=device,
        hosts=hosts,
        sky=ResidentSky(cutouts, rows=rows, device=device) if renderer.resident_sky else None,
    )
    n = injector.source.n_sources
    log.info("%d sources on %s: %.2f GiB; batches are painted there", n, device, bank_bytes(injector.source) / GIB)
    painter.warm_up()
    return painter


def bank_bytes(source: Source) -> int:
    """Memory of all templates."""
    return source.n_sources * source.n_channels * source.stamp_size_px**2 * 4
