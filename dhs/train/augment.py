"""Label-preserving augmentation, fresh every epoch: what is drawn for a stamp, and whole-pixel moves.

A stamp's draws are a pure function of its key (seed, purpose, epoch, index) and never of its label. They come in two
stages: `dhs.train.perturb` changes pixels, in nanomaggies and before normalisation; the moves here (dihedral group,
whole-pixel shifts) come after it and interpolate nothing. Draws are made on the CPU; both stages run on any device.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch

from dhs.config.network_input import AugmentConfig
from dhs.rng import Purpose, keyed_rng, keyed_rngs

N_DRAWS = 12
"""Uniform numbers of a stamp, whatever is switched on: turning one thing on changes no other."""


@dataclass(frozen=True)
class AugmentDraws:
    """What was drawn for B stamps, (B,) each."""

    turns: torch.Tensor
    """int64, quarter turns counter-clockwise as `numpy.rot90` counts them (rows downwards)."""
    mirror: torch.Tensor
    """bool, columns reversed after the turns."""
    shift_y_px: torch.Tensor
    """int64."""
    shift_x_px: torch.Tensor
    """int64."""
    subpixel_y_px: torch.Tensor
    subpixel_x_px: torch.Tensor
    rotation_rad: torch.Tensor
    """From +x towards +y."""
    blur_fwhm_arcsec: torch.Tensor
    depth_loss_mag: torch.Tensor
    core_radius_px: torch.Tensor
    """0: the core stays."""
    noise_key: torch.Tensor
    """int64, key of the added noise."""

    def to(self, device: torch.device | str) -> "AugmentDraws":
        """The same draws on ``device``."""
        return AugmentDraws(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw(keys: np.ndarray, *, config: AugmentConfig) -> AugmentDraws:
    """Draws of the stamps with (B, 4) ``keys``; what ``config`` switches off is drawn as no change."""
    # The purpose is folded into the seed's place so that validation and training never share a draw.
    rows = [
        rng.random(N_DRAWS)
        for (seed, purpose, epoch), indices in _streams(keys)
        for rng in _rngs(seed * 16 + purpose, epoch, indices)
    ]
    u = torch.from_numpy(np.array(rows).reshape(-1, N_DRAWS))
    signed = 2 * u - 1
    whole = (u * (2 * config.max_shift_px + 1)).long() - config.max_shift_px
    radius = u[:, 9] * config.core_dropout_max_radius_px
    return AugmentDraws(
        turns=(u[:, 0] * 4).long() * config.dihedral,
        mirror=(u[:, 1] < 0.5) & config.dihedral,
        shift_y_px=whole[:, 2],
        shift_x_px=whole[:, 3],
        subpixel_y_px=(signed[:, 4] * config.max_subpixel_shift_px).float(),
        subpixel_x_px=(signed[:, 5] * config.max_subpixel_shift_px).float(),
        rotation_rad=(signed[:, 6] * math.radians(config.max_rotation_deg)).float(),
        blur_fwhm_arcsec=(u[:, 7] * config.max_psf_blur_arcsec).float(),
        depth_loss_mag=(u[:, 8] * config.max_depth_loss_mag).float(),
        core_radius_px=torch.where(u[:, 10] < config.core_dropout_probability, radius, 0.0).float(),
        noise_key=(u[:, 11] * 2**53).long(),  # every bit of the mantissa
    )


def _streams(keys: np.ndarray) -> Iterator[tuple[tuple[int, int, int], list[int]]]:
    """Runs of keys that differ in their index alone: all of a batch, as a rule."""
    for stream, run in itertools.groupby(keys.tolist(), key=lambda key: tuple(key[:3])):
        yield stream, [key[3] for key in run]


def _rngs(seed: int, epoch: int, indices: list[int]) -> Iterator[np.random.Generator]:
    if seed < 2**32:
        return keyed_rngs(seed, Purpose.AUGMENT, epoch, indices)
    return (keyed_rng(seed, Purpose.AUGMENT, epoch, index) for index in indices)


def move(images: torch.Tensor, *, draws: AugmentDraws) -> torch.Tensor:
    """(B, C, N, N) images, each turned, mirrored and shifted by whole pixels; shifts mirror the edge pixels."""
    size = images.shape[-1]
    forms = _dihedral_forms(size, str(images.device))
    form = draws.turns + 4 * draws.mirror
    rows, columns = (_shifted(size, shift) for shift in (draws.shift_y_px, draws.shift_x_px))
    source = forms[form[:, None, None], rows[:, :, None], columns[:, None, :]].flatten(1)
    channels = images.shape[1]
    return images.flatten(-2).gather(2, source[:, None].expand(-1, channels, -1)).reshape(images.shape)


def _shifted(size: int, shift_px: torch.Tensor) -> torch.Tensor:
    """(B, N) pixel that each pixel of an axis is read from."""
    index = (torch.arange(size, device=shift_px.device) - shift_px[:, None]).abs()
    return torch.minimum(index, 2 * (size - 1) - index)


@functools.cache
def _dihedral_forms(size: int, device: str) -> torch.Tensor:
    """(8, N, N) flat pixel numbers of the turns 0-3, then of the same mirrored."""
    pixels = np.arange(size * size).reshape(size, size)
    turned = [np.rot90(pixels, turns) for turns in range(4)]
    return torch.from_numpy(np.stack(turned + [form[:, ::-1] for form in turned])).to(device)
