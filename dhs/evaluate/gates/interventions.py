"""What is done to a lens to ask a finder why it calls it one. Pure functions of pixels, in nanomaggies.

They act before the finder's own preprocessing, so they serve any channels, any ensemble and any test-time averaging.

Most of them exchange pixels between a lens and *its own galaxy without the arc* (the same cutout, from before the
injection). So what fills a gap is that galaxy itself, with its own noise, neighbours and masks: there is no seam but
that of the arc's light, no smoothed sky and no second noise field that a network could read, and the same exchange
done to the galaxy changes nothing at all. Where pixels move instead (shuffled rings, bands, turns), the galaxy is
treated alike, and what the operation does to it is measured.

Shapes: images (B, bands, N, N) nMgy; good (B, bands, N, N) bool; radii in pixels about (N-1)/2.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from dhs.config.network_input import AugmentConfig
from dhs.constants import BANDS
from dhs.rng import Purpose, keyed_rng
from dhs.train.augment import draw, move
from dhs.train.masked import radii_px, ring_level, rings

REFERENCE_SIZE_PX = 64
"""Stamps whose pixels the radii of the configuration mean; others are scaled."""
OUTER_RING_FRACTION = 0.5
"""Where the sky's noise is measured, in half-sizes."""
N_FORMS = 8
"""Of the dihedral group; form 0 is the stamp itself."""


class Planes(NamedTuple):
    """Pixels and which of them are good."""

    images: torch.Tensor
    good: torch.Tensor


class Ring(NamedTuple):
    """inner_px <= r < outer_px of each of B stamps, (B,) float32 each."""

    inner_px: torch.Tensor
    outer_px: torch.Tensor


def with_ring_of(base: Planes, other: Planes, *, ring: Ring) -> Planes:
    """``base``, with the pixels (and the mask) of ``other`` inside the ring."""
    radius = radii_px(base.images.shape[-1], base.images.device)
    inside = (radius >= ring.inner_px[:, None, None]) & (radius < ring.outer_px[:, None, None])
    inside = inside[:, None]
    return Planes(torch.where(inside, other.images, base.images), torch.where(inside, other.good, base.good))


def added_light(lens: Planes, galaxy: Planes) -> torch.Tensor:
    """(B, bands, N, N) nMgy: lens minus galaxy, 0 where a pixel has no value."""
    return torch.nan_to_num(lens.images - galaxy.images, nan=0.0, posinf=0.0, neginf=0.0)


def core(radius_px: float, *, count: int) -> Ring:
    """The ring that is a disc of ``radius_px``, for ``count`` stamps."""
    return Ring(torch.zeros(count), torch.full((count,), radius_px))


def arc_ring(arcs: torch.Tensor, *, inner_px: float, outer_px: float, light: float, core_px: float) -> Ring:
    """The ring from ``inner_px`` to ``outer_px``, widened until it holds the share ``light`` of each arc.

    ``arcs`` (B, bands, N, N) are lens minus galaxy. As much light is left inside as outside the ring. It never reaches
    into the core (``core_px``), which is another gate's; an arc without any light gets the ring as asked for.
    """
    size = arcs.shape[-1]
    order = rings(size, arcs.device)
    per_ring = torch.zeros(len(arcs), len(order.counts), device=arcs.device).index_add_(
        1, order.of_pixel, arcs.sum(dim=1).flatten(-2).clamp(min=0.0)
    )
    share = per_ring.cumsum(dim=1) / per_ring.sum(dim=1, keepdim=True).clamp(min=1e-30)
    tail = (1 - light) / 2
    begins = (share < tail).sum(dim=1).float()  # whole rings with less than the tail inside them
    ends = (share < 1 - tail).sum(dim=1).float() + 1
    empty = per_ring.sum(dim=1) <= 0
    inner = torch.where(empty, torch.inf, begins).clamp(max=inner_px).clamp(min=core_px)
    outer = torch.where(empty, 0.0, ends).clamp(min=outer_px)
    return Ring(inner, outer)


def light_inside(arcs: torch.Tensor, *, ring: Ring) -> torch.Tensor:
    """(B,) share of the light of ``arcs`` inside the ring; NaN without light."""
    radius = radii_px(arcs.shape[-1], arcs.device)
    inside = (radius >= ring.inner_px[:, None, None]) & (radius < ring.outer_px[:, None, None])
    light = arcs.sum(dim=1)
    total = light.sum(dim=(-2, -1))
    return torch.where(total > 0, (light * inside).sum(dim=(-2, -1)) / total, torch.nan)


def shuffle_rings(planes: Planes, *, keys: np.ndarray) -> Planes:
    """Pixels of each one-pixel ring in random order, the same in all bands; masks move with them.

    Every radial profile, every pixel's colours and every ring's distribution of brightness stay; shapes go. A
    complete, even ring is the one shape that stays. ``keys`` (B, 4) say which order: those of the recipes.
    """
    size = planes.images.shape[-1]
    ring_of = rings(size, planes.images.device).of_pixel.cpu().numpy()
    to = np.argsort(ring_of, kind="stable")
    source = np.empty((len(keys), size * size), dtype=np.int64)
    for i, rng in enumerate(_generators(keys)):
        source[i, to] = np.argsort(ring_of + rng.random(size * size), kind="stable")
    index = torch.from_numpy(source).to(planes.images.device)[:, None].expand(-1, planes.images.shape[1], -1)
    return Planes(*(plane.flatten(-2).gather(2, index).reshape(plane.shape) for plane in planes))


def permute_bands(planes: Planes, *, order: tuple[str, ...]) -> Planes:
    """What was band ``order[i]`` is given as band i, masks too."""
    index = [BANDS.index(band) for band in order]
    return Planes(planes.images[:, index], planes.good[:, index])


def turn_and_move(planes: Planes, *, keys: np.ndarray, max_shift_px: int) -> Planes:
    """Each stamp in one of the seven other orientations, shifted by whole pixels at most ``max_shift_px`` each way."""
    draws = draw(keys, config=AugmentConfig.model_validate({"dihedral": False, "max_shift_px": max_shift_px}))
    form = torch.tensor([1 + int(rng.random() * (N_FORMS - 1)) for rng in _generators(keys)])
    draws = replace(draws, turns=form % 4, mirror=form >= 4).to(planes.images.device)
    return Planes(move(planes.images, draws=draws), move(planes.good.float(), draws=draws) > 0.5)


def recolour(lens: Planes, galaxy: Planes, *, g_r: torch.Tensor, r_z: torch.Tensor) -> Planes:
    """The galaxy with the same arc in the colours ``g_r`` and ``r_z`` (B,), AB magnitudes, at the arc's own S/N.

    Each band of the arc (lens minus galaxy) is scaled by one number: its shape in each band stays. S/N is that of
    flux over the ring's noise, added in quadrature over the bands, so no colour is easier to see than another. An arc
    without light in some band keeps its colours.
    """
    arcs = added_light(lens, galaxy)
    flux = arcs.double().sum(dim=(-2, -1))
    wanted = torch.stack([-g_r, torch.zeros_like(g_r), r_z], dim=1).double()
    wanted = 10 ** (0.4 * wanted)  # of each band over r
    sigma = ring_level(galaxy.images, good=galaxy.good, inner_fraction=OUTER_RING_FRACTION).sigma.double()
    significance = (torch.nan_to_num(flux / sigma) ** 2).sum(dim=1)
    new_significance = (torch.nan_to_num(wanted / sigma) ** 2).sum(dim=1)
    factor = wanted * torch.sqrt(significance / new_significance)[:, None] / flux
    usable = (flux > 0).all(dim=1) & (new_significance > 0)
    factor = torch.where(usable[:, None], factor, 1.0)
    return Planes(galaxy.images + arcs * factor[..., None, None].float(), lens.good)


def arc_colours(keys: np.ndarray, *, mean: tuple[float, float], sigma: tuple[float, float]) -> torch.Tensor:
    """(2, B) g-r and r-z of real sources (normal, SCIENCE section 2), drawn for each of the (B, 4) ``keys``."""
    drawn = np.array([rng.standard_normal(3)[1:] for rng in _generators(keys)]).reshape(-1, 2)
    return torch.from_numpy((np.array(mean) + drawn * np.array(sigma)).T.astype(np.float32))


def _generators(keys: np.ndarray) -> list[np.random.Generator]:
    return [
        keyed_rng(seed * 16 + purpose, Purpose.GATES, epoch, index) for seed, purpose, epoch, index in keys.tolist()
    ]
