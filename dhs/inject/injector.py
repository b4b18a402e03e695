"""`Injector`: (seed, purpose, epoch, index) -> stamp. The one place where galaxies and arcs meet.

Training draws galaxies at random and keeps arcs that pass the acceptance cuts. Validation and test sets are fixed:
injected hosts first, then every negative galaxy of the split once. The test set takes arcs as the priors give them,
so what training rejects is there as a graded test: each arc says which cut it would fail.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch

from dhs.config.colour import ColourConfig
from dhs.config.injection import InjectConfig
from dhs.config.lens import LensConfig
from dhs.constants import BANDS, CLASSES
from dhs.inject.acceptance import CUTS, ArcBatch, Priors, draw_arcs
from dhs.inject.arc_noise import arc_noise_nmgy, gain_from_sky
from dhs.inject.colour import source_magnitudes
from dhs.inject.measure import ArcMeasures, measure_arcs, spread
from dhs.inject.recipe import RecipeBatch, controls
from dhs.inject.renderer import Renderer
from dhs.inject.strength import build_strength, require_known
from dhs.rng import Purpose, derived_rng, keyed_rng, stable_fraction
from dhs.sky.cutouts import CutoutSet, good_pixels
from dhs.source.base import Source

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
    """(B, bands, N, N) float32 nMgy: galaxy plus arc (plus the arc's noise, where it is on)."""
    good: torch.Tensor
    """(B, bands, N, N) bool."""
    recipes: RecipeBatch
    magnification: np.ndarray
    """(B,) float32; NaN for controls, as the two that follow."""
    arc_snr: np.ndarray
    """(B, bands) peak signal / sigma of one pixel."""
    arc_snr_sum: np.ndarray
    """(B, bands) integrated over the arc's footprint."""
    reject_reason: np.ndarray
    """(B,) int8 index into acceptance.CUTS of the cut that the arc fails: 0 accepted; -1 for controls."""
    rejected: np.ndarray
    """(B, len(CUTS)) int16: draws thrown away before this arc, by the cut they failed; 0 for controls."""
    measures: ArcMeasures | None = None
    """The costlier measures, where ``stamps(..., measure=True)`` asked for them."""

    def __len__(self) -> int:
        return len(self.recipes)

    @property
    def accepted(self) -> np.ndarray:
        """(B,) bool: an injection that passes the acceptance cuts."""
        return self.reject_reason == 0

    @property
    def n_tries(self) -> np.ndarray:
        """(B,) draws of geometry and brightness up to the one kept; 0 for controls."""
        return np.where(self.recipes.injected, 1 + self.rejected.sum(axis=1, dtype=np.int64), 0)

    def take(self, index: np.ndarray) -> "StampBatch":
        """The stamps at ``index`` (integers)."""
        chosen = torch.from_numpy(np.asarray(index))
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if name == "measures":
                values[name] = None if value is None else ArcMeasures(*(column[index] for column in value))
            elif name == "recipes":
                values[name] = value.take(index)
            else:
                values[name] = value[chosen] if isinstance(value, torch.Tensor) else value[index]
        return StampBatch(**values)

    def columns(self) -> dict[str, np.ndarray]:
        """Flat columns for tables: the recipes', and all that is measured."""
        out = self.recipes.columns() | {"magnification": self.magnification}
        for i, band in enumerate(BANDS):
            out |= {f"arc_snr_{band}": self.arc_snr[:, i], f"arc_snr_sum_{band}": self.arc_snr_sum[:, i]}
        names = np.array(["", *CUTS])  # nothing is said of a control
        out |= {"n_tries": self.n_tries, "reject_reason": names[self.reject_reason + 1]}
        out |= {f"n_rejected_{cut}": self.rejected[:, i] for i, cut in enumerate(CUTS) if i > 0}
        if self.measures is not None:
            measured = self.measures._asdict()
            arc_mag = measured.pop("arc_mag")
            out |= {f"arc_{band}_mag": arc_mag[:, i] for i, band in enumerate(BANDS)} | measured
        return out


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
        invvar = np.asarray(self.cutouts.invvar[rows])
        good = good_pixels(invvar, self.cutouts.maskbits[rows])
        images = torch.from_numpy(np.array(self.cutouts.images[rows], dtype=np.float32))
        keys = np.array([(self._seed, int(purpose), epoch, int(i)) for i in indices], dtype=np.int64)
        recipes = controls(self.cutouts, rows, keys=keys)
        where = np.flatnonzero(injected)
        if len(where) == 0:
            return _only_controls(images, torch.from_numpy(good), recipes, measure=measure)
        cuts = self._inject.acceptance
        arcs = draw_arcs(
            self.cutouts,
            rows[where],
            geometry_rngs=[rngs[i] for i in where],
            photometry_rngs=self._derived(Purpose.PHOTOMETRY, indices[where], purpose=purpose, epoch=epoch),
            priors=self._priors,
            renderer=self._renderer,
            invvar=torch.from_numpy(invvar[where]),
            good=torch.from_numpy(good[where]),
            acceptance=cuts.model_copy(update={"max_tries": 1}) if purpose == Purpose.TEST else cuts,
        )
        images[where] += arcs.images_nmgy
        if self._inject.arc_noise != "none":
            noise_rngs = self._derived(Purpose.ARC_NOISE, indices[where], purpose=purpose, epoch=epoch)
            images[where] += self._arc_noise(arcs.images_nmgy, noise_rngs, invvar=invvar[where], good=good[where])
        measures = measure_arcs(arcs.images_nmgy, recipes=arcs.recipes, source=self.source) if measure else None
        return _with_arcs(images, torch.from_numpy(good), recipes, arcs=arcs, measures=measures, where=where)

    def _derived(
        self, derived: Purpose, indices: np.ndarray, *, purpose: Purpose, epoch: int
    ) -> list[np.random.Generator]:
        """Generators for one more matter of the samples ``indices`` of ``purpose``."""
        return [derived_rng(self._seed, derived, epoch, int(i), of=purpose) for i in indices]

    def _arc_noise(
        self, arcs_nmgy: torch.Tensor, rngs: list[np.random.Generator], *, invvar: np.ndarray, good: np.ndarray
    ) -> torch.Tensor:
        correlated = self._inject.arc_noise == "poisson_correlated"
        return arc_noise_nmgy(
            arcs_nmgy,
            rngs,
            gain=gain_from_sky(invvar, good=good, sky_mag_arcsec2=self._inject.sky_mag_arcsec2),
            lag1_correlation=self._inject.arc_noise_lag1 if correlated else 0.0,
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


def _with_arcs(
    images: torch.Tensor,
    good: torch.Tensor,
    recipes: RecipeBatch,
    *,
    arcs: ArcBatch,
    measures: ArcMeasures | None,
    where: np.ndarray,
) -> StampBatch:
    length = len(recipes)
    reason = np.full(length, -1, dtype=np.int8)
    reason[where] = arcs.reject_reason
    rejected = np.zeros((length, len(CUTS)), dtype=np.int16)
    rejected[where] = arcs.rejected
    return StampBatch(
        images=images,
        good=good,
        recipes=recipes.with_arcs(arcs.recipes, where=where),
        magnification=_spread(arcs.magnification, where, length),
        arc_snr=_spread(arcs.snr.peak.numpy(), where, length),
        arc_snr_sum=_spread(arcs.snr.integrated.numpy(), where, length),
        reject_reason=reason,
        rejected=rejected,
        measures=None if measures is None else spread(measures, where=where, length=length),
    )


def _only_controls(images: torch.Tensor, good: torch.Tensor, recipes: RecipeBatch, *, measure: bool) -> StampBatch:
    batch, bands = images.shape[:2]
    nothing = np.full((batch, bands), np.nan, dtype=np.float32)
    unmeasured = np.full(batch, np.nan, dtype=np.float32)
    return StampBatch(
        images=images,
        good=good,
        recipes=recipes,
        magnification=unmeasured,
        arc_snr=nothing,
        arc_snr_sum=nothing,
        reject_reason=np.full(batch, -1, dtype=np.int8),
        rejected=np.zeros((batch, len(CUTS)), dtype=np.int16),
        measures=ArcMeasures(nothing, unmeasured, unmeasured, np.full(batch, -1, np.int16)) if measure else None,
    )


def _spread(values: np.ndarray, where: np.ndarray, length: int) -> np.ndarray:
    """Float32 array of ``length`` with ``values`` at ``where`` and NaN elsewhere."""
    out = np.full((length, *values.shape[1:]), np.nan, dtype=np.float32)
    out[where] = values
    return out
