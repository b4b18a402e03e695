"""`Painter`: recipes -> stamps. Where galaxies and arcs meet, whoever made the recipes: a stream, a manifest, a user.

The same recipe gives the same stamp, bit for bit, whatever else is in the batch.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from dhs.config.injection import InjectConfig
from dhs.config.lens import LensConfig
from dhs.inject.acceptance import ArcBatch, paint_arcs
from dhs.inject.arc_noise import UnitNoise, gain_from_sky, scaled_noise_nmgy, unit_noise
from dhs.inject.measure import measure_arcs
from dhs.inject.recipe import RecipeBatch, controls
from dhs.inject.renderer import Renderer
from dhs.inject.stamp_batch import StampBatch, only_controls, with_arcs
from dhs.rng import Purpose, derived_rng
from dhs.sky.cutouts import CutoutSet, good_pixels
from dhs.source.base import Source


class Pixels(NamedTuple):
    """Galaxies before anything is put into them; (B, bands, N, N) each."""

    images: torch.Tensor
    """float32 nMgy, a copy."""
    invvar: torch.Tensor
    good: torch.Tensor
    """bool."""


def pixels_of(cutouts: CutoutSet, rows: np.ndarray) -> Pixels:
    """The galaxies (B,) ``rows`` of ``cutouts``."""
    images = torch.from_numpy(np.array(cutouts.images[rows], dtype=np.float32))
    invvar = np.asarray(cutouts.invvar[rows])
    good = good_pixels(invvar, cutouts.maskbits[rows])
    return Pixels(images, torch.from_numpy(invvar), torch.from_numpy(good))


def plain_stamps(cutouts: CutoutSet, rows: np.ndarray) -> StampBatch:
    """Stamps of the galaxies (B,) ``rows`` as they are; their keys are zero."""
    pixels = pixels_of(cutouts, rows)
    recipes = controls(cutouts, rows, keys=np.zeros((len(rows), 4), np.int64))
    return only_controls(pixels.images, pixels.good, recipes, measure=False)


class Painter:
    """Puts arcs into the galaxies of one sky."""

    def __init__(
        self, cutouts: CutoutSet, *, renderer: Renderer, source: Source, lens: LensConfig, inject: InjectConfig
    ) -> None:
        self.cutouts, self.source = cutouts, source
        self._renderer, self._lens, self._inject = renderer, lens, inject

    def pixels(self, rows: np.ndarray) -> Pixels:
        """The galaxies (B,) ``rows``."""
        return pixels_of(self.cutouts, rows)

    def stamps(self, recipes: RecipeBatch, *, measure: bool = False) -> StampBatch:
        """The stamps of (B,) ``recipes``: the acceptance cuts grade their arcs and reject none."""
        pixels = self.pixels(recipes.row)
        where = np.flatnonzero(recipes.injected)
        if len(where) == 0:
            return only_controls(pixels.images, pixels.good, recipes, measure=measure)
        arcs = self.arcs(recipes.take(where), invvar=pixels.invvar[where], good=pixels.good[where])
        return self.finish(pixels, recipes, arcs=arcs, where=where, measure=measure)

    def arcs(self, recipes: RecipeBatch, *, invvar: torch.Tensor, good: torch.Tensor) -> ArcBatch:
        """The arcs alone of (P,) ``recipes``, all injected, graded on their galaxies' ``invvar`` and ``good``."""
        return paint_arcs(
            recipes,
            lens=self._lens,
            renderer=self._renderer,
            invvar=invvar,
            good=good,
            acceptance=self._inject.acceptance,
        )

    def finish(
        self, pixels: Pixels, recipes: RecipeBatch, *, arcs: ArcBatch, where: np.ndarray, measure: bool
    ) -> StampBatch:
        """``pixels`` with the ``arcs`` (and their noise, where it is on) added at the places ``where``."""
        pixels.images[where] += arcs.images_nmgy
        if self._inject.arc_noise != "none":
            pixels.images[where] += self._arc_noise(
                arcs.images_nmgy, recipes.key[where], invvar=pixels.invvar[where], good=pixels.good[where]
            )
        measures = measure_arcs(arcs.images_nmgy, recipes=arcs.recipes, source=self.source) if measure else None
        return with_arcs(pixels.images, pixels.good, recipes, arcs=arcs, measures=measures, where=where)

    def _arc_noise(
        self, arcs_nmgy: torch.Tensor, keys: np.ndarray, *, invvar: torch.Tensor, good: torch.Tensor
    ) -> torch.Tensor:
        rngs = [derived_rng(s, Purpose.ARC_NOISE, epoch, i, of=Purpose(of)) for s, of, epoch, i in keys.tolist()]
        return scaled_noise_nmgy(arcs_nmgy, noise=self._unit_noise(rngs, invvar=invvar.numpy(), good=good.numpy()))

    def unit_noise(self, rngs: Iterable[np.random.Generator], *, rows: np.ndarray) -> UnitNoise:
        """What the noise of arcs in the galaxies (P,) ``rows`` is made of, arcs apart."""
        invvar = np.asarray(self.cutouts.invvar[rows])
        return self._unit_noise(rngs, invvar=invvar, good=good_pixels(invvar, self.cutouts.maskbits[rows]))

    def _unit_noise(self, rngs: Iterable[np.random.Generator], *, invvar: np.ndarray, good: np.ndarray) -> UnitNoise:
        return unit_noise(
            rngs,
            gain=gain_from_sky(invvar, good=good, sky_mag_arcsec2=self._inject.sky_mag_arcsec2),
            size_px=self.cutouts.stamp_size_px,
            lag1_correlation=self._inject.arc_noise_lag1 if self._inject.arc_noise == "poisson_correlated" else 0.0,
        )
