"""`Injector`: (seed, purpose, epoch, index) -> stamp. The one place where galaxies and arcs meet.

Training draws galaxies at random and keeps arcs that pass the acceptance cuts. Validation and test sets are fixed:
injected hosts first, then every negative galaxy of the split once. The test set takes arcs as the priors give them,
so what training rejects is there as a graded test: each arc says which cut it would fail. Which share of a training
epoch is what (arcs, known lenses, classes of negatives) is `dhs.inject.mix`'s; the fixed sets know nothing of it.
"""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dhs.config.colour import ColourConfig
from dhs.config.injection import Acceptance, InjectConfig
from dhs.config.lens import LensConfig
from dhs.constants import CLASSES
from dhs.inject.acceptance import Priors, draw_arcs
from dhs.inject.colour import source_magnitudes
from dhs.inject.mix import INJECTED, NEGATIVE, NO_ROWS, POSITIVE_ORIGINS, TrainingMix, drawable
from dhs.inject.painter import Painter
from dhs.inject.recipe import controls
from dhs.inject.renderer import Renderer
from dhs.inject.stamp_batch import StampBatch, only_controls
from dhs.inject.strength import build_strength, require_known
from dhs.inject.training_sky import Extras
from dhs.rng import Purpose, derived_rng, keyed_rng, keyed_rngs
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
FIXED = (Purpose.VAL, Purpose.TEST)
"""Sets whose galaxies and labels are not drawn."""


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
        extras: Extras | None = None,
    ) -> None:
        """``extras``: rows of ``cutouts`` behind the sky's own that training has too (`dhs.inject.training_sky`)."""
        self.cutouts, self.extras = cutouts, extras or Extras()
        self.source = source
        self._renderer, self.seed, self.inject = renderer, seed, inject
        self.painter = Painter(cutouts, renderer=renderer, source=source, lens=lens, inject=inject)
        self._pools = {
            split: pool_of(cutouts, split=split, controls=inject.controls, without=self.extras.lenses)
            for split in ("train", "val", "test")
        }
        self.mix = self._training_mix()
        require_known(lens, cutouts, hosts=np.concatenate([pool.hosts for pool in self._pools.values()]))
        self.priors = Priors(
            lens, build_strength(lens), colour, source.choose, source_magnitudes(source, colour=colour)
        )

    def pool(self, purpose: Purpose) -> Pool:
        """Hosts and negatives that ``purpose`` draws from."""
        return self._pools[SPLIT_OF_PURPOSE[purpose]]

    def with_test_positives(self, count: int) -> "Injector":
        """The same with ``count`` lenses in its test set; those that both have are the same stamps."""
        other = copy.copy(self)
        other.inject = self.inject.model_copy(update={"n_test_positives": count})
        return other

    def n_stamps(self, purpose: Purpose) -> int:
        """Length of the fixed set of VAL or TEST, or of one training epoch."""
        if purpose == Purpose.VAL:
            return self.inject.n_val_positives + len(self.pool(purpose).negatives)
        if purpose == Purpose.TEST:
            return self.inject.n_test_positives + len(self.pool(purpose).negatives)
        return self.inject.samples_per_epoch

    def stamps(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0, measure: bool = False) -> StampBatch:
        """The stamps of (B,) ``indices``; stamp i does not depend on the others, nor on ``measure``."""
        rngs = [keyed_rng(self.seed, purpose, epoch, int(i)) for i in indices]
        rows, origin = self._assign(indices, rngs, purpose=purpose, epoch=epoch)
        keys = stream_keys(self.seed, indices, purpose=purpose, epoch=epoch)
        recipes = controls(self.cutouts, rows, keys=keys)
        pixels = self.painter.pixels(rows)
        where = np.flatnonzero(origin == INJECTED)
        if len(where) == 0:
            return replace(only_controls(pixels.images, pixels.good, recipes, measure=measure), drawn=origin)
        arcs = draw_arcs(
            self.cutouts,
            rows[where],
            geometry_rngs=[rngs[i] for i in where],
            photometry_rngs=[
                derived_rng(self.seed, Purpose.PHOTOMETRY, epoch, int(i), of=purpose) for i in indices[where]
            ],
            priors=self.priors,
            renderer=self._renderer,
            invvar=pixels.invvar[where],
            good=pixels.good[where],
            acceptance=self.acceptance(purpose),
        )
        return replace(self.painter.finish(pixels, recipes, arcs=arcs, where=where, measure=measure), drawn=origin)

    def acceptance(self, purpose: Purpose) -> Acceptance:
        """The cuts that arcs of ``purpose`` are drawn with: the test set's are graded only."""
        cuts = self.inject.acceptance
        return cuts.model_copy(update={"max_tries": 1}) if purpose == Purpose.TEST else cuts

    def assignments(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(B,) galaxy row and (B,) label of each of ``indices``, without painting anything."""
        rows, origin = self.origins(indices, purpose=purpose, epoch=epoch)
        return rows, np.isin(origin, POSITIVE_ORIGINS)

    def origins(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(B,) galaxy row and (B,) int8 index into `mix.ORIGINS` of each of ``indices``."""
        rngs = keyed_rngs(self.seed, purpose, epoch, indices.tolist())
        return self._assign(indices, rngs, purpose=purpose, epoch=epoch)

    def injected_indices(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> list[int]:
        """Those of ``indices`` that carry an arc."""
        _, origin = self.origins(indices, purpose=purpose, epoch=epoch)
        return [int(i) for i in indices[origin == INJECTED]]

    def _assign(
        self, indices: np.ndarray, rngs: Iterable[np.random.Generator], *, purpose: Purpose, epoch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Galaxy row and origin of each index: takes the first `n_assigning` numbers of each of its generators."""
        pool = self.pool(purpose)
        if purpose in FIXED:
            n_positives = self.n_stamps(purpose) - len(pool.negatives)
            injected = indices < n_positives
            rows = np.where(
                injected,
                pool.hosts[indices % len(pool.hosts)],
                pool.negatives[np.clip(indices - n_positives, 0, None)],
            )
            return rows, np.where(injected, INJECTED, NEGATIVE).astype(np.int8)
        odd = [int(i) for i in indices if i % 2] if self.mix.paired else []
        partners = keyed_rngs(self.seed, purpose, epoch, [index - 1 for index in odd])
        return self.mix.assign(indices, rngs, partner=partners)

    def _training_mix(self) -> TrainingMix:
        """ValueError (one line) where the configuration asks for galaxies that are not there."""
        inject, extras, pool = self.inject, self.extras, self._pools["train"]
        hard, kind = inject.negatives.hard, self.cutouts.kind
        key = "inject.negatives.class_weights"
        has_real, has_hard = len(extras.real) > 0, len(extras.hard) > 0
        return TrainingMix(
            positive_share=inject.positive_share,
            hosts=pool.hosts,
            negatives=drawable(
                pool.negatives, kind[pool.negatives], weights=inject.negatives.class_weights.given, key=key
            ),
            paired=inject.controls == "paired",
            real=extras.real,
            real_fraction=inject.real_positives.fraction if has_real else 0.0,
            hard=drawable(
                extras.hard,
                kind[extras.hard],
                weights=hard.class_weights.given,
                key="inject.negatives.hard.class_weights",
            )
            if has_hard
            else None,
            hard_fraction=hard.fraction if has_hard else 0.0,
        )


def n_assigning(purpose: Purpose) -> int:
    """Numbers of a stamp's generator that its galaxy and origin take, before anything is drawn of an arc."""
    return 0 if purpose in FIXED else 2


def stream_keys(seed: int, indices: np.ndarray, *, purpose: Purpose, epoch: int) -> np.ndarray:
    """(B, 4) int64 keys of `RecipeBatch`."""
    return np.array([(seed, int(purpose), epoch, int(i)) for i in indices], dtype=np.int64)


def pool_of(cutouts: CutoutSet, *, split: str, controls: str, without: np.ndarray = NO_ROWS) -> Pool:
    """Hosts and negatives of ``split``, ``without`` (rows) of them in train; ValueError where there are none."""
    hosts = cutouts.rows(split=split, classes=HOST_CLASSES)
    others = cutouts.rows(split=split, classes=tuple(set(CLASSES) - set(HOST_CLASSES)))
    if split == "train":
        hosts, others = np.setdiff1d(hosts, without), np.setdiff1d(others, without)
    if controls == "paired":
        pool = Pool(hosts, np.union1d(hosts, others))
    else:
        injected = gets_arc(cutouts.target_id[hosts])
        pool = Pool(hosts[injected], np.union1d(hosts[~injected], others))
    if len(pool.hosts) == 0 or len(pool.negatives) == 0:
        raise ValueError(
            f"sky: split {split!r} has {len(pool.hosts)} galaxies to inject into and {len(pool.negatives)} "
            f"negatives: both must be above 0; give more galaxies, or inject.controls=paired"
        )
    return pool
