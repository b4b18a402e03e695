"""`Injector`: (seed, purpose, epoch, index) -> stamp. The one place where galaxies and arcs meet.

Training draws galaxies at random and keeps arcs that pass the acceptance cuts. Validation and test sets are fixed:
injected hosts first, then every negative galaxy of the split once. The test set takes arcs as the priors give them,
so what training rejects is there as a graded test: each arc says which cut it would fail.
"""

from typing import NamedTuple

import numpy as np

from dhs.config.colour import ColourConfig
from dhs.config.injection import InjectConfig
from dhs.config.lens import LensConfig
from dhs.constants import CLASSES
from dhs.inject.acceptance import Priors, draw_arcs
from dhs.inject.colour import source_magnitudes
from dhs.inject.painter import Painter
from dhs.inject.recipe import controls
from dhs.inject.renderer import Renderer
from dhs.inject.stamp_batch import StampBatch, only_controls
from dhs.inject.strength import build_strength, require_known
from dhs.rng import Purpose, derived_rng, keyed_rng
from dhs.sky.cutouts import CutoutSet
from dhs.sky.target_table import gets_arc
from dhs.source.base import Source

SPLIT_OF_PURPOSE = {
    Purpose.TRAIN: "train",
    Purpose.SHEET: "train",
    Purpose.BENCHMARK: "train",
    Purpose.VAL: "val",
    Purpose.TEST: "test",
}
HOST_CLASSES = ("lrg",)


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
        source: Source,
        seed: int,
        lens: LensConfig,
        colour: ColourConfig,
        inject: InjectConfig,
    ) -> None:
        self.cutouts = cutouts
        self.source = source
        self._renderer, self._seed, self._inject = renderer, seed, inject
        self.painter = Painter(cutouts, renderer=renderer, source=source, lens=lens, inject=inject)
        self._pools = {split: self._pool(split) for split in ("train", "val", "test")}
        require_known(lens, cutouts, hosts=np.concatenate([pool.hosts for pool in self._pools.values()]))
        self._priors = Priors(
            lens, build_strength(lens), colour, source.choose, source_magnitudes(source, colour=colour)
        )

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

    def stamps(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0, measure: bool = False) -> StampBatch:
        """The stamps of (B,) ``indices``; stamp i does not depend on the others, nor on ``measure``."""
        rngs = [keyed_rng(self._seed, purpose, epoch, int(i)) for i in indices]
        rows, injected = self._assign(indices, rngs, purpose=purpose)
        keys = np.array([(self._seed, int(purpose), epoch, int(i)) for i in indices], dtype=np.int64)
        recipes = controls(self.cutouts, rows, keys=keys)
        pixels = self.painter.pixels(rows)
        where = np.flatnonzero(injected)
        if len(where) == 0:
            return only_controls(pixels.images, pixels.good, recipes, measure=measure)
        cuts = self._inject.acceptance
        arcs = draw_arcs(
            self.cutouts,
            rows[where],
            geometry_rngs=[rngs[i] for i in where],
            photometry_rngs=[
                derived_rng(self._seed, Purpose.PHOTOMETRY, epoch, int(i), of=purpose) for i in indices[where]
            ],
            priors=self._priors,
            renderer=self._renderer,
            invvar=pixels.invvar[where],
            good=pixels.good[where],
            acceptance=cuts.model_copy(update={"max_tries": 1}) if purpose == Purpose.TEST else cuts,
        )
        return self.painter.finish(pixels, recipes, arcs=arcs, where=where, measure=measure)

    def assignments(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(B,) galaxy row and (B,) label of each of ``indices``, without painting anything."""
        rngs = [keyed_rng(self._seed, purpose, epoch, int(i)) for i in indices]
        return self._assign(indices, rngs, purpose=purpose)

    def injected_indices(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> list[int]:
        """Those of ``indices`` that carry an arc."""
        _, injected = self.assignments(indices, purpose=purpose, epoch=epoch)
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
            injected = gets_arc(self.cutouts.target_id[hosts])
            pool = Pool(hosts[injected], np.union1d(hosts[~injected], others))
        if len(pool.hosts) == 0 or len(pool.negatives) == 0:
            raise ValueError(
                f"sky: split {split!r} has {len(pool.hosts)} galaxies to inject into and {len(pool.negatives)} "
                f"negatives: both must be above 0; give more galaxies, or inject.controls=paired"
            )
        return pool
