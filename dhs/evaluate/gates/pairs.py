"""Lenses of the test sky, each with its own galaxy from before the injection, and with the same recipe without light.

Where stamps are injected on the fly any number of them can be painted. A finished set (sky=stamps) has pairs only
where the test split holds a galaxy with and without an arc (`inject.controls=paired`), and nothing of zero flux.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dhs.constants import BANDS
from dhs.evaluate.table import VISIBLE_MIN_ARC_SNR_SUM_G, VISIBLE_MIN_THETA_E_OVER_PSF
from dhs.inject.injector import Injector
from dhs.inject.recipe import RecipeBatch, controls
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.stampset.fixed import FixedStamps
from dhs.inject.supply import Galaxies, StampSupply
from dhs.rng import Purpose

CHUNK = 256
"""Arcs painted at once while visible ones are looked for."""

Progress = Callable[[int, int], None]


class Pairs(Protocol):
    """N lenses and their galaxies; pair k does not depend on the others."""

    @property
    def cutouts(self) -> Galaxies:
        """The galaxies behind the stamps."""

    def __len__(self) -> int: ...

    def lenses(self, pairs: np.ndarray) -> StampBatch:
        """Galaxy and arc, as the finder's training made them."""

    def galaxies(self, pairs: np.ndarray) -> StampBatch:
        """The same galaxies without arcs, as controls."""

    def nulls(self, pairs: np.ndarray) -> StampBatch | None:
        """The lenses' own recipes with sources of no light; None where nothing can be painted."""


@dataclass(frozen=True)
class PaintedPairs:
    """Pairs of an `Injector`: any recipe can be painted."""

    injector: Injector
    recipes: RecipeBatch

    @property
    def cutouts(self) -> Galaxies:
        return self.injector.cutouts

    def __len__(self) -> int:
        return len(self.recipes)

    def lenses(self, pairs: np.ndarray) -> StampBatch:
        return self.injector.painter.stamps(self.recipes.take(pairs))

    def galaxies(self, pairs: np.ndarray) -> StampBatch:
        recipes = self.recipes.take(pairs)
        return self.injector.painter.stamps(controls(self.injector.cutouts, recipes.row, keys=recipes.key))

    def nulls(self, pairs: np.ndarray) -> StampBatch:
        """An infinite magnitude is a flux of exactly 0: all that the pipeline does to an injection, but light."""
        recipes = self.recipes.take(pairs)
        dark = np.full_like(recipes.source_mag, np.inf)
        return self.injector.painter.stamps(replace(recipes, source_mag=dark))


@dataclass(frozen=True)
class FixedPairs:
    """Pairs of a finished set: rows of its test split."""

    supply: FixedStamps
    lens_index: np.ndarray
    galaxy_index: np.ndarray

    @property
    def cutouts(self) -> Galaxies:
        return self.supply.cutouts

    def __len__(self) -> int:
        return len(self.lens_index)

    def lenses(self, pairs: np.ndarray) -> StampBatch:
        return self.supply.stamps(self.lens_index[pairs], purpose=Purpose.TEST)

    def galaxies(self, pairs: np.ndarray) -> StampBatch:
        return self.supply.stamps(self.galaxy_index[pairs], purpose=Purpose.TEST)

    def nulls(self, pairs: np.ndarray) -> None:
        return None


def find_pairs(
    supply: StampSupply, *, n_pairs: int, n_candidates: int, visible_only: bool, progress: Progress | None = None
) -> Pairs:
    """The first ``n_pairs`` lenses (visible ones) of ``n_candidates`` test positives, and their galaxies; maybe fewer.

    Hosts come in turn, so pairs are of as many galaxies as there are. A finished set has the positives that it has.
    ``progress(candidates looked at, of)``.
    """
    if isinstance(supply, Injector):
        more = supply.with_test_positives(n_candidates)
        return _painted(more, n_pairs=n_pairs, visible_only=visible_only, progress=progress)
    if isinstance(supply, FixedStamps):
        return _fixed(supply, n_pairs=n_pairs, visible_only=visible_only)
    raise TypeError(f"no pairs of a {type(supply).__name__}")


def visible(stamps: StampBatch) -> np.ndarray:
    """(B,) bool: an injection whose arc a ground-based survey shows (`is_visible`)."""
    recipes = stamps.recipes
    fwhm_r = recipes.psf_fwhm_arcsec[:, BANDS.index("r")]
    return recipes.injected & is_visible(recipes.theta_e_arcsec, fwhm_r, stamps.arc_snr_sum[:, BANDS.index("g")])


def is_visible(theta_e_arcsec: np.ndarray, fwhm_r_arcsec: np.ndarray, arc_snr_sum_g: np.ndarray) -> np.ndarray:
    """SCIENCE section 6: theta_E > 1.2 FWHM_r and integrated g-band S/N > 25; False where unknown."""
    resolved = theta_e_arcsec > VISIBLE_MIN_THETA_E_OVER_PSF * fwhm_r_arcsec
    return np.asarray(resolved & (arc_snr_sum_g > VISIBLE_MIN_ARC_SNR_SUM_G))


def _painted(injector: Injector, *, n_pairs: int, visible_only: bool, progress: Progress | None) -> PaintedPairs:
    limit = injector.n_stamps(Purpose.TEST) - len(injector.pool(Purpose.TEST).negatives)
    kept: list[RecipeBatch] = []
    found = 0
    for start in range(0, limit, CHUNK):
        stamps = injector.stamps(np.arange(start, min(start + CHUNK, limit)), purpose=Purpose.TEST)
        chosen = np.flatnonzero(visible(stamps) if visible_only else stamps.recipes.injected)[: n_pairs - found]
        kept.append(stamps.recipes.take(chosen))
        found += len(chosen)
        if progress is not None:
            progress(min(start + CHUNK, limit), limit)
        if found == n_pairs:
            break
    return PaintedPairs(injector, RecipeBatch.concatenate(kept))


def _fixed(supply: FixedStamps, *, n_pairs: int, visible_only: bool) -> FixedPairs:
    """By the set's own columns: no pixels are read."""
    rows, injected = supply.assignments(np.arange(supply.n_stamps(Purpose.TEST)), purpose=Purpose.TEST)
    columns = supply.cutouts.columns
    target_id = columns["target_id"][rows]
    wanted = injected.copy()
    if visible_only:
        fwhm_r = supply.cutouts.psf_fwhm_arcsec[rows, BANDS.index("r")]
        wanted &= is_visible(columns["theta_e_arcsec"][rows], fwhm_r, columns["arc_snr_sum_g"][rows])
    ids, first = np.unique(target_id[~injected], return_index=True)
    place = np.searchsorted(ids, target_id).clip(max=max(len(ids) - 1, 0))
    paired = np.zeros(len(rows), bool) if len(ids) == 0 else ids[place] == target_id
    lenses = np.flatnonzero(wanted & paired)[:n_pairs]
    return FixedPairs(supply, lenses, np.flatnonzero(~injected)[first[place[lenses]]])
