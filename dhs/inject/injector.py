"""`Injector`: (seed, purpose, epoch, index) -> stamp. The one place where galaxies and arcs meet.

Training draws galaxies at random and keeps arcs that pass the acceptance cuts. Validation and test sets are fixed:
injected hosts first, then every negative galaxy of the split once. The test set takes arcs as the priors give them,
so what training rejects is there as a graded test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dhs.config.injection import ColourConfig, InjectConfig, LensConfig
from dhs.constants import BANDS, CLASSES
from dhs.inject.acceptance import draw_accepted_arcs
from dhs.inject.prior import ArcDraw, Host, draw_arc
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import Renderer
from dhs.rng import Purpose, keyed_rng, stable_fraction
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
        n_sources: int,
        seed: int,
        lens: LensConfig,
        colour: ColourConfig,
        inject: InjectConfig,
    ) -> None:
        self.cutouts = cutouts
        self._renderer, self._n_sources, self._seed = renderer, n_sources, seed
        self._lens, self._colour, self._inject = lens, colour, inject
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
        positives = np.flatnonzero(injected)
        arcs = draw_accepted_arcs(
            [rngs[i] for i in positives],
            draw=lambda i, rng: self._draw(int(rows[positives[i]]), rng),
            recipes_of=lambda owners, draws: self._recipes(rows[positives[owners]], draws),
            renderer=self._renderer,
            invvar=torch.from_numpy(invvar[positives]),
            good=good[positives],
            acceptance=None if purpose == Purpose.TEST else self._inject.acceptance,
        )
        images[positives] += arcs.images_nmgy
        draws: list[ArcDraw | None] = [None] * len(indices)
        for i, draw in zip(positives, arcs.draws, strict=True):
            draws[i] = draw
        recipes = self._recipes(rows, draws)
        recipes.key[:] = [(self._seed, int(purpose), epoch, int(i)) for i in indices]
        return StampBatch(
            images=images,
            good=good,
            recipes=recipes,
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

    def _recipes(self, rows: np.ndarray, draws: Sequence[ArcDraw | None]) -> RecipeBatch:
        """Struct of arrays; a None is a control."""
        columns = {
            name: np.array([np.nan if d is None else getattr(d, name) for d in draws], dtype=np.float64)
            for name in ArcDraw._fields
            if name not in ("source_index", "source_mag")
        }
        nothing = (np.nan,) * len(BANDS)
        return RecipeBatch(
            key=np.zeros((len(rows), 4), dtype=np.int64),
            row=np.asarray(rows, dtype=np.int64),
            target_id=np.asarray(self.cutouts.target_id[rows]),
            injected=np.array([d is not None for d in draws]),
            source_index=np.array([-1 if d is None else d.source_index for d in draws], dtype=np.int64),
            source_mag=np.array([nothing if d is None else d.source_mag for d in draws]).reshape(-1, len(BANDS)),
            psf_fwhm_arcsec=np.asarray(self.cutouts.psf_fwhm_arcsec[rows]),
            **columns,
        )

    def _draw(self, row: int, rng: np.random.Generator) -> ArcDraw:
        host = Host(float(self.cutouts.axis_ratio[row]), float(self.cutouts.position_angle_rad[row]))
        return draw_arc(rng, host=host, lens=self._lens, colour=self._colour, n_sources=self._n_sources)

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
        fractions = [rng.random() for rng in rngs]
        rows = np.array(
            [
                (pool.hosts if positive else pool.negatives)[
                    int(fraction * len(pool.hosts if positive else pool.negatives))
                ]
                for positive, fraction in zip(injected, fractions, strict=True)
            ]
        )
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


def _spread(values: np.ndarray, where: np.ndarray, length: int) -> np.ndarray:
    """Float32 array of ``length`` with ``values`` at ``where`` and NaN elsewhere."""
    out = np.full((length, *values.shape[1:]), np.nan, dtype=np.float32)
    out[where] = values
    return out
