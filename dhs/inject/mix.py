"""What each sample of a training epoch is: an arc, a known lens, or which kind of negative.

One uniform of the sample's own stream cuts [0, 1) into

    real lens | injected | hard negative | negative        real + injected = the share of positives

and a second one picks the galaxy in the pool it fell into. So a sample stays what it was when other pools are added
behind it: the arcs of a run with hard negatives are those of the run without them, bit for bit.

With controls=paired samples come in pairs: the even one may be a positive (with twice the share), and where it is an
injection the odd one is the same galaxy without its arc. All other odd samples are negatives.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from dhs.constants import CLASSES

ORIGINS: tuple[str, ...] = ("negative", "injected", "real_lens", "hard_negative", "paired_control")
"""What a stamp is; `StampBatch.origin` is an index into it. injected and real_lens have the label 1."""
NEGATIVE, INJECTED, REAL_LENS, HARD_NEGATIVE, PAIRED_CONTROL = range(len(ORIGINS))
POSITIVE_ORIGINS = (INJECTED, REAL_LENS)

NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Drawable:
    """Galaxies to draw from with one uniform."""

    rows: np.ndarray
    """(n,) rows that can be drawn; by class, in the order of ``shares``, where there are some."""
    shares: np.ndarray | None = None
    """(classes,) probability of each class; None: every galaxy is as likely as any."""
    sizes: np.ndarray = field(default_factory=lambda: NO_ROWS)
    """(classes,) galaxies of each."""

    def pick(self, u: float) -> int:
        """The row that the uniform ``u`` in [0, 1) stands for."""
        if self.shares is None:
            return int(self.rows[int(u * len(self.rows))])
        upper = np.cumsum(self.shares)
        place = min(int(np.searchsorted(upper, u, side="right")), len(upper) - 1)
        within = (u - (upper[place] - self.shares[place])) / self.shares[place]
        size = int(self.sizes[place])
        first = int(self.sizes[:place].sum())
        return int(self.rows[first + min(max(int(within * size), 0), size - 1)])

    def class_probabilities(self, kinds: np.ndarray) -> np.ndarray:
        """(len(CLASSES),) how often each class is drawn; ``kinds`` (N,) are those of all galaxies."""
        weights = np.full(len(self.rows), 1.0 / len(self.rows))
        if self.shares is not None:
            weights = np.repeat(self.shares / self.sizes, self.sizes)
        return np.bincount(kinds[self.rows], weights=weights, minlength=len(CLASSES))


def drawable(rows: np.ndarray, kinds: np.ndarray, *, weights: Mapping[str, float] | None, key: str) -> Drawable:
    """``rows`` (n,) of classes ``kinds`` (n,), weighted by class; classes that ``weights`` does not name are not drawn.

    ValueError naming ``key`` where a class with a weight is empty.
    """
    if weights is None:
        return Drawable(rows)
    parts, shares = [], []
    for name, weight in weights.items():
        mine = rows[kinds == CLASSES.index(name)]
        if weight == 0:
            continue
        if len(mine) == 0:
            raise ValueError(f"{key}.{name} = {weight:g}: there is no {name} ({counted(kinds)}); set it to 0")
        parts.append(mine)
        shares.append(weight)
    sizes = np.array([len(part) for part in parts])
    return Drawable(np.concatenate(parts), np.array(shares) / sum(shares), sizes)


def counted(kinds: np.ndarray) -> str:
    """``12 lrg, 3 ring`` of class codes (n,)."""
    counts = np.bincount(kinds, minlength=len(CLASSES))
    return ", ".join(f"{count} {name}" for name, count in zip(CLASSES, counts, strict=True) if count) or "none at all"


@dataclass(frozen=True)
class TrainingMix:
    """The pools of a training epoch and their shares."""

    positive_share: float
    hosts: np.ndarray
    negatives: Drawable
    paired: bool = False
    real: np.ndarray = field(default_factory=lambda: NO_ROWS)
    real_fraction: float = 0.0
    """Of the positives."""
    hard: Drawable | None = None
    hard_fraction: float = 0.0
    """Of the negatives; with ``paired``, of those that are no positive's own host."""

    @property
    def drawn_negatives(self) -> np.ndarray:
        """Rows that a training epoch may show as negatives."""
        shares = self.expected
        pools = [(shares["negative"], self.negatives.rows), (shares["paired_control"], self.hosts)]
        pools += [] if self.hard is None else [(shares["hard_negative"], self.hard.rows)]
        return np.unique(np.concatenate([rows for share, rows in pools if share > 0]))

    @property
    def expected(self) -> dict[str, float]:
        """Share of each origin in a long epoch, in the order of ORIGINS; they sum to 1."""
        positive = self.positive_share
        real = positive * self.real_fraction
        twins = positive - real if self.paired else 0.0
        others = 1.0 - positive - twins
        hard = others * self.hard_fraction
        return dict(zip(ORIGINS, (others - hard, positive - real, real, hard, twins), strict=True))

    def class_shares(self, kinds: np.ndarray) -> dict[str, float]:
        """Share of each class among the negatives of a long epoch; ``kinds`` (N,) are those of all galaxies."""
        shares = self.expected
        parts = [(shares["negative"], self.negatives), (shares["paired_control"], Drawable(self.hosts))]
        parts += [] if self.hard is None else [(shares["hard_negative"], self.hard)]
        total = np.zeros(len(CLASSES))
        for share, pool in parts:
            total += share * pool.class_probabilities(kinds)
        return dict(zip(CLASSES, (total / total.sum()).tolist(), strict=True))

    def assign(
        self, indices: np.ndarray, rngs: Iterable[np.random.Generator], *, partner: Iterable[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B,) rows and (B,) int8 origins of the samples ``indices``.

        Two uniforms of each of ``rngs`` are used. ``partner``: a fresh stream of the sample before each odd one, in
        order (with ``paired`` only).
        """
        before = iter(partner)
        drawn = [
            self._second(rng, next(before)) if self.paired and index % 2 else self._draw(rng.random(), rng.random())
            for index, rng in zip(indices.tolist(), rngs, strict=True)
        ]
        rows, origins = zip(*drawn, strict=True)
        return np.array(rows), np.array(origins, dtype=np.int8)

    def _draw(self, which: float, place: float) -> tuple[int, int]:
        """Row and origin of a sample that may be a positive."""
        positive = self.positive_share * (2 if self.paired else 1)
        if which < positive * self.real_fraction:
            return int(self.real[int(place * len(self.real))]), REAL_LENS
        if which < positive:
            return int(self.hosts[int(place * len(self.hosts))]), INJECTED
        return self._negative((which - positive) / (1.0 - positive), place)

    def _negative(self, which: float, place: float) -> tuple[int, int]:
        if self.hard is not None and which < self.hard_fraction:
            return self.hard.pick(place), HARD_NEGATIVE
        return self.negatives.pick(place), NEGATIVE

    def _second(self, rng: np.random.Generator, partner: np.random.Generator) -> tuple[int, int]:
        """The odd sample of a pair."""
        which, place = rng.random(), rng.random()
        row, origin = self._draw(partner.random(), partner.random())
        return (row, PAIRED_CONTROL) if origin == INJECTED else self._negative(which, place)
