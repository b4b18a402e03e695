"""Every pair of a lens and its galaxy in all its variants, as items to score (`dhs.evaluate.scored_set.StampItems`).

Item i is variant i % V of pair i // V, so a batch paints each pair once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dhs.config.gates import GatesConfig
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.evaluate.gates.interventions import (
    REFERENCE_SIZE_PX,
    Planes,
    Ring,
    added_light,
    arc_colours,
    arc_ring,
    core,
    light_inside,
    permute_bands,
    recolour,
    shuffle_rings,
    turn_and_move,
    with_ring_of,
)
from dhs.evaluate.gates.pairs import Pairs
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies
from dhs.train.masked import radii_px


@dataclass(frozen=True)
class Pair:
    """B pairs with what the variants are made of."""

    lens: Planes
    galaxy: Planes
    null: Planes | None
    keys: np.ndarray
    settings: GatesConfig

    @property
    def arcs(self) -> torch.Tensor:
        """(B, bands, N, N) nMgy: what the injection added."""
        return added_light(self.lens, self.galaxy)

    @property
    def core(self) -> Ring:
        radius = self.settings.core_only.radius_arcsec / PIXEL_SCALE_ARCSEC
        return core(radius, count=len(self.keys))

    @property
    def arc_ring(self) -> Ring:
        asked = self.settings.arc_suppressed
        scale = self.lens.images.shape[-1] / REFERENCE_SIZE_PX
        return arc_ring(
            self.arcs,
            inner_px=asked.inner_px * scale,
            outer_px=asked.outer_px * scale,
            light=asked.arc_light,
            core_px=self.settings.core_only.radius_arcsec / PIXEL_SCALE_ARCSEC,
        )


def _recoloured(pair: Pair) -> Planes:
    to = pair.settings.arc_colour
    g_r, r_z = arc_colours(pair.keys, mean=(to.g_r_mean, to.r_z_mean), sigma=(to.g_r_sigma, to.r_z_sigma))
    return recolour(pair.lens, pair.galaxy, g_r=g_r, r_z=r_z)


def _moved(planes: Planes, pair: Pair) -> Planes:
    return turn_and_move(planes, keys=pair.keys, max_shift_px=pair.settings.frame_position.max_shift_px)


def _null(pair: Pair) -> Planes:
    assert pair.null is not None, "pairs without nulls have no such variant"
    return pair.null


LENS, GALAXY, NULL = "lens", "galaxy", "null"

VARIANTS: dict[str, Callable[[Pair], Planes]] = {
    LENS: lambda pair: pair.lens,
    GALAXY: lambda pair: pair.galaxy,
    "core_only": lambda pair: with_ring_of(pair.galaxy, pair.lens, ring=pair.core),
    "annulus_only": lambda pair: with_ring_of(pair.galaxy, pair.lens, ring=pair.arc_ring),
    "arc_suppressed": lambda pair: with_ring_of(pair.lens, pair.galaxy, ring=pair.arc_ring),
    "shuffled": lambda pair: shuffle_rings(pair.lens, keys=pair.keys),
    "shuffled_galaxy": lambda pair: shuffle_rings(pair.galaxy, keys=pair.keys),
    "permuted": lambda pair: permute_bands(pair.lens, order=pair.settings.band_permutation.order),
    "permuted_galaxy": lambda pair: permute_bands(pair.galaxy, order=pair.settings.band_permutation.order),
    "recoloured": _recoloured,
    "moved": lambda pair: _moved(pair.lens, pair),
    "moved_galaxy": lambda pair: _moved(pair.galaxy, pair),
    NULL: _null,
}
"""Pixels of each variant."""


DECIDES_PIXELS: dict[str, Any] = {
    "n_pairs": True,
    "n_candidates": True,
    "core_only": {"radius_arcsec"},
    "arc_suppressed": {"inner_px", "outer_px", "arc_light"},
    "band_permutation": {"order"},
    "arc_colour": {"g_r_mean", "g_r_sigma", "r_z_mean", "r_z_sigma"},
    "frame_position": {"max_shift_px"},
    "core_brightness": {"radius_arcsec"},
}
"""Settings that decide the altered stamps and what is measured of them."""


def pixels_identity(settings: GatesConfig) -> str:
    """What decides the altered stamps. Thresholds do not: another one scores nothing anew."""
    return settings.model_dump_json(include=DECIDES_PIXELS)


class PairItems:
    """All variants of all pairs."""

    def __init__(self, pairs: Pairs, *, settings: GatesConfig) -> None:
        self.pairs, self._settings = pairs, settings
        has_nulls = len(pairs) > 0 and pairs.nulls(np.array([0])) is not None
        self.variants = tuple(name for name in VARIANTS if name != NULL or has_nulls)

    @property
    def cutouts(self) -> Galaxies:
        return self.pairs.cutouts

    @property
    def identity(self) -> str:
        return f"{pixels_identity(self._settings)}/{','.join(self.variants)}"

    def __len__(self) -> int:
        return len(self.pairs) * len(self.variants)

    def stamps(self, indices: np.ndarray) -> StampBatch:
        """The altered stamps; their recipes stay those of the galaxy, so a finder is told its seeing and depth."""
        numbers, place = np.unique(indices // len(self.variants), return_inverse=True)
        lens = self.pairs.lenses(numbers)
        pair = self._pair(numbers, lens)
        variant = indices % len(self.variants)
        batch = lens.take(place)
        images, good = torch.empty_like(batch.images), torch.empty_like(batch.good)
        for code in np.unique(variant):
            rows = np.flatnonzero(variant == code)
            planes = VARIANTS[self.variants[code]](pair)
            images[rows], good[rows] = planes.images[place[rows]], planes.good[place[rows]]
        return replace(batch, images=images, good=good)

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Which pair and variant; the galaxy's id, seeing and depth; the arc; and the light of the core."""
        recipes = stamps.recipes
        out = {
            "pair": indices // len(self.variants),
            "variant": np.array(self.variants)[indices % len(self.variants)],
            "target_id": recipes.target_id,
            "theta_e_arcsec": recipes.theta_e_arcsec.astype(np.float32),
            "arc_snr_sum_g": stamps.arc_snr_sum[:, BANDS.index("g")],
        }
        cores = core_flux(stamps.images, good=stamps.good, radius_arcsec=self._settings.core_brightness.radius_arcsec)
        for i, band in enumerate(BANDS):
            out[f"psf_fwhm_{band}_arcsec"] = self.cutouts.psf_fwhm_arcsec[recipes.row, i].astype(np.float32)
            out[f"psf_depth_{band}_mag"] = self.cutouts.psf_depth_mag[recipes.row, i].astype(np.float32)
            out[f"core_{band}_nmgy"] = cores[:, i]
        return out

    def ring_light(self, pairs: np.ndarray) -> np.ndarray:
        """(B,) share of each arc's light in the ring that `arc_suppressed` takes away."""
        pair = self._pair(pairs, self.pairs.lenses(pairs))
        return light_inside(pair.arcs, ring=pair.arc_ring).numpy()

    def _pair(self, numbers: np.ndarray, lens: StampBatch) -> Pair:
        galaxy, null = self.pairs.galaxies(numbers), self.pairs.nulls(numbers)
        return Pair(
            lens=Planes(lens.images, lens.good),
            galaxy=Planes(galaxy.images, galaxy.good),
            null=None if null is None else Planes(null.images, null.good),
            keys=lens.recipes.key,
            settings=self._settings,
        )


def core_flux(images: torch.Tensor, *, good: torch.Tensor, radius_arcsec: float) -> np.ndarray:
    """(B, bands) float32 nMgy in the good pixels within ``radius_arcsec`` of the stamps' centres."""
    inside = radii_px(images.shape[-1], images.device) <= radius_arcsec / PIXEL_SCALE_ARCSEC
    return torch.where(good & inside, images, 0.0).sum(dim=(-2, -1)).cpu().numpy()
