"""`Injector`: (seed, purpose, epoch, index) -> stamp. The one place where galaxies and arcs meet.

Training draws galaxies at random and keeps arcs that pass the acceptance cuts. Validation and test sets are fixed:
injected hosts first, then every negative galaxy of the split once. The test set takes arcs as the priors give them,
so what training rejects is there as a graded test.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dhs.config.injection import ColourConfig, InjectConfig, LensConfig
from dhs.constants import CLASSES
from dhs.inject.acceptance import Priors, draw_arcs
from dhs.inject.prior import ChooseSource
from dhs.inject.recipe import RecipeBatch, controls
from dhs.inject.renderer import Renderer
from dhs.rng import Purpose, derived_rng, keyed_rng, stable_fraction
from dhs.sky.cutouts import CutoutSet, good_pixels

SPLIT_OF_PURPOSE = {
    Purpose.TRAIN: "train",
    Purpose.SHEET: "train",
    Purpose.BENCHMARK: "train",
    Purpose.VAL: "val",
    Purpose.TEST: "test",
}
HOST_CLASSES = ("lrg",)


@dataclass(frozen=True)
class StampBatch:
    """B finished stamps with what was put into them and how visible it is."""

    images: torch.Tensor
    """(B, bands, N, N) float32 nMgy: galaxy plus arc."""
    good: torch.Tensor
    """(B, bands, N, N) bool."""
    recipes: RecipeBatch
    magnification: np.ndarray
    """(B,) float32; NaN for controls, as all that follows."""
    arc_snr: np.ndarray
    """(B, bands) peak signal / sigma of one pixel."""
    arc_snr_sum: np.ndarray
    """(B, bands) integrated over the arc's footprint."""
    accepted: np.ndarray
    """(B,) bool: an injection that passed the acceptance cuts."""

    def __len__(self) -> int:
        return len(self.recipes)


class Pool(NamedTuple):
    """Rows of one split: galaxies that may get an arc, and galaxies that serve as negatives."""

    hosts: np.ndarray
    negatives: np.ndarray


class Injector:
    """Pure functions of their arguments over a fixed sky, source and configuration."""

    def __init__(
        self,
        cutouts: CutoutSet,
        *,
        renderer: Renderer,
        choose_source: ChooseSource,
        seed: int,
        lens: LensConfig,
        colour: ColourConfig,
        inject: InjectConfig,
    ) -> None:
        self.cutouts = cutouts
        self._renderer, self._seed, self._inject = renderer, seed, inject
        self._priors = Priors(lens, colour, choose_source)
        self._pools = {split: self._pool(split) for split in ("train", "val", "test")}

    def pool(self, purpose: Purpose) -> Pool:
        """Hosts and negatives that ``purpose`` draws from."""
        return self._pools[SPLIT_OF_PURPOSE[purpose]]

    def n_stamps(self, purpose: Purpose) -> int:
        """Length of the fixed set of VAL or TEST, or of one training epoch."""
        if purpose == Purpose.VAL:
            return self._inject.n_val_positives + len(self.pool(purpose).negatives)
        if purpose == Purpose.TEST:
            return self._inject.n_test_positives + len(self.pool(purpose).negatives)
        return self._inject.samples_per_epoch

    def stamps(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> StampBatch:
        """The stamps of (B,) ``indices``; stamp i does not depend on the others."""
        rngs = [keyed_rng(self._seed, purpose, epoch, int(i)) for i in indices]
        rows, injected = self._assign(indices, rngs, purpose=purpose)
        invvar = np.asarray(self.cutouts.invvar[rows])
        good = torch.from_numpy(good_pixels(invvar, self.cutouts.maskbits[rows]))
        images = torch.from_numpy(np.array(self.cutouts.images[rows], dtype=np.float32))
        keys = np.array([(self._seed, int(purpose), epoch, int(i)) for i in indices], dtype=np.int64)
        positives = np.flatnonzero(injected)
        if len(positives) == 0:
            return _only_controls(images, good, controls(self.cutouts, rows, keys=keys))
        arcs = draw_arcs(
            self.cutouts,
            rows[positives],
            geometry_rngs=[rngs[i] for i in positives],
            photometry_rngs=[
                derived_rng(self._seed, Purpose.PHOTOMETRY, epoch, int(indices[i]), of=purpose) for i in positives
            ],
            priors=self._priors,
            renderer=self._renderer,
            invvar=torch.from_numpy(invvar[positives]),
            good=good[positives],
            acceptance=None if purpose == Purpose.TEST else self._inject.acceptance,
        )
        images[positives] += arcs.images_nmgy
        return StampBatch(
            images=images,
            good=good,
            recipes=controls(self.cutouts, rows, keys=keys).with_arcs(arcs.recipes, where=positives),
            magnification=_spread(arcs.magnification, positives, len(indices)),
            arc_snr=_spread(arcs.snr.peak.numpy(), positives, len(indices)),
            arc_snr_sum=_spread(arcs.snr.integrated.numpy(), positives, len(indices)),
            accepted=_spread(arcs.accepted, positives, len(indices)) == 1,
        )

    def injected_indices(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> list[int]:
        """Those of ``indices`` that carry an arc."""
        rngs = [keyed_rng(self._seed, purpose, epoch, int(i)) for i in indices]
        _, injected = self._assign(indices, rngs, purpose=purpose)
        return [int(i) for i in indices[injected]]

    def _assign(
        self, indices: np.ndarray, rngs: list[np.random.Generator], *, purpose: Purpose
    ) -> tuple[np.ndarray, np.ndarray]:
        """Galaxy row and label of each index."""
        pool = self.pool(purpose)
        if purpose in (Purpose.VAL, Purpose.TEST):
            n_positives = self.n_stamps(purpose) - len(pool.negatives)
            injected = indices < n_positives
            rows = np.where(
                injected,
                pool.hosts[indices % len(pool.hosts)],
                pool.negatives[np.clip(indices - n_positives, 0, None)],
            )
            return rows, injected
        injected = np.array([rng.random() < self._inject.positive_fraction for rng in rngs])
        choices = [pool.hosts if positive else pool.negatives for positive in injected]
        rows = np.array([choice[int(rng.random() * len(choice))] for choice, rng in zip(choices, rngs, strict=True)])
        return rows, injected

    def _pool(self, split: str) -> Pool:
        hosts = self.cutouts.rows(split=split, classes=HOST_CLASSES)
        others = self.cutouts.rows(split=split, classes=tuple(set(CLASSES) - set(HOST_CLASSES)))
        if self._inject.controls == "paired":
            pool = Pool(hosts, np.union1d(hosts, others))
        else:
            gets_arc = np.array(
                [stable_fraction(str(self.cutouts.target_id[row]), salt="control") < 0.5 for row in hosts], dtype=bool
            )
            pool = Pool(hosts[gets_arc], np.union1d(hosts[~gets_arc], others))
        if len(pool.hosts) == 0 or len(pool.negatives) == 0:
            raise ValueError(
                f"sky: split {split!r} has {len(pool.hosts)} galaxies to inject into and {len(pool.negatives)} "
                f"negatives: both must be above 0; give more galaxies, or inject.controls=paired"
            )
        return pool


def _only_controls(images: torch.Tensor, good: torch.Tensor, recipes: RecipeBatch) -> StampBatch:
    batch, bands = images.shape[:2]
    nothing = np.full((batch, bands), np.nan, dtype=np.float32)
    return StampBatch(images, good, recipes, nothing[:, 0], nothing, nothing, np.zeros(batch, dtype=bool))


def _spread(values: np.ndarray, where: np.ndarray, length: int) -> np.ndarray:
    """Float32 array of ``length`` with ``values`` at ``where`` and NaN elsewhere."""
    out = np.full((length, *values.shape[1:]), np.nan, dtype=np.float32)
    out[where] = values
    return out
