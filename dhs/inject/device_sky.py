"""The sky in the memory of the device: gathered there, so that workers send no pixels.

A cutout of 64 x 64 takes 100 kB (images and inverse variances in float32 and one byte of mask a pixel), so 145,000 of
them 13.9 GiB; only the galaxies that training and validation draw from are kept.
"""

import logging
import time

import numpy as np
import torch

from dhs.constants import BAD_MASKBITS
from dhs.inject.painter import Pixels
from dhs.sky.cutouts import CutoutSet

log = logging.getLogger("dhs")

GIB = 2**30
HEADROOM_BYTES = 4 * GIB
"""Left free on the device for the network, its activations and the batches in work."""
BLOCK = 1024
"""Cutouts copied at once."""


class ResidentSky:
    """Pixels of the galaxies ``rows`` of a sky on ``device``."""

    def __init__(self, cutouts: CutoutSet, *, rows: np.ndarray, device: torch.device) -> None:
        self._device = device
        self._place = np.full(len(cutouts), -1)
        self._place[rows] = np.arange(len(rows))
        shape = (len(rows), *cutouts.images.shape[1:])
        self._images, self._invvar = (torch.empty(shape, device=device) for _ in range(2))
        self._masked = torch.empty((len(rows), *shape[2:]), dtype=torch.bool, device=device)
        bad = np.int16(sum(1 << bit for bit in BAD_MASKBITS))
        started = time.monotonic()
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            here = slice(start, start + len(some))
            self._images[here] = torch.from_numpy(np.array(cutouts.images[some], np.float32))
            self._invvar[here] = torch.from_numpy(np.array(cutouts.invvar[some], np.float32))
            self._masked[here] = torch.from_numpy(np.asarray((cutouts.maskbits[some] & bad) != 0))
        size = sky_bytes(len(rows), size_px=cutouts.stamp_size_px, n_bands=shape[1]) / GIB
        log.info("%d galaxies on %s: %.2f GiB, %.1f s", len(rows), device, size, time.monotonic() - started)

    def pixels(self, rows: np.ndarray) -> Pixels:
        """Copies of the galaxies (B,) ``rows``: the same numbers as `Painter.pixels`, on the device."""
        place = self._place[rows]
        assert (place >= 0).all(), "a galaxy that is not resident"
        index = torch.from_numpy(place).to(self._device)
        invvar = self._invvar[index]
        return Pixels(self._images[index], invvar, (invvar > 0) & ~self._masked[index][:, None])


def sky_bytes(n_galaxies: int, *, size_px: int, n_bands: int) -> int:
    """Memory of so many galaxies."""
    return n_galaxies * size_px**2 * (2 * 4 * n_bands + 1)


def require_room(
    *, n_galaxies: int, size_px: int, n_bands: int, bank_bytes: int, free_bytes: int, is_sky_resident: bool
) -> None:
    """ValueError where sky and bank do not fit into the ``free_bytes`` of the device."""
    sky = sky_bytes(n_galaxies, size_px=size_px, n_bands=n_bands) if is_sky_resident else 0
    if sky + bank_bytes + HEADROOM_BYTES <= free_bytes:
        return
    remedy = "give renderer.resident_sky=false (workers send the galaxies), or renderer.device=cpu"
    if bank_bytes + HEADROOM_BYTES > free_bytes:
        remedy = "give renderer.device=cpu, or a smaller bank"
    raise ValueError(
        f"renderer.device = accelerator: {n_galaxies} galaxies take {sky / GIB:.1f} GiB, the sources "
        f"{bank_bytes / GIB:.1f} GiB and training {HEADROOM_BYTES / GIB:.0f} GiB or more, but the device has "
        f"{free_bytes / GIB:.1f} GiB free; {remedy}"
    )
