"""Stratified bootstrap of ROC statistics, by galaxy: the intervals of AUROC, partial AUROC and TPR at fixed FPR.

Positives and negatives are resampled separately, because their numbers were chosen and not drawn. What is
resampled is the *galaxy*, not the stamp: a galaxy that appears twice (a control used in two epochs, one host with
several arcs, a paired control with and without its arc) gives scores that resemble each other, and counting them
as independent makes the interval too narrow. With unique galaxies this is the ordinary stratified bootstrap.

Scores are sorted once and cut into runs of one label, because the ROC statistics cannot see the order within a run; a
resample is then a vector of counts by run. 10,000 resamples of 100,000 scores take about ten seconds of one core, and
the cores share them. The result depends on the generator alone, not on how many cores there are.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dhs.processes import n_cores

CHUNK = 50
"""Resamples of whole weight vectors at once, for `resampled_weights`."""

COUNTS_AT_ONCE = 100_000
"""Numbers of a chunk of `bootstrap`: it stays in the cache."""


@dataclass(frozen=True)
class Draws:
    """K resamples."""

    auroc: np.ndarray
    """(K,)"""
    partial_auroc: np.ndarray
    """(K,) McClish-standardised."""
    tpr: np.ndarray
    """(K, F) TPR at each of the F false-positive rates."""


@dataclass(frozen=True)
class Ranked:
    """Scores sorted from the highest, positives first among equal ones, and cut into R runs of one label.

    A run never crosses the border of a group of equal scores that has both labels, and the ROC curve has a point where
    such a group ends, not within it: a tie counts one half. Between points of one label only, the curve is a straight
    line and a threshold cannot tell them apart, so that leaving those points out changes no statistic.
    """

    order: np.ndarray
    """(N,) row of each rank."""
    start: np.ndarray
    """(R,) rank of the first member of each run."""
    positive: np.ndarray
    """(R,) bool."""
    point: np.ndarray
    """(P,) the runs after which the curve has a point."""

    @classmethod
    def of(cls, logit: np.ndarray, label: np.ndarray) -> "Ranked":
        positive = label == 1
        order = np.lexsort((~positive, -logit))
        ranked, label_of = logit[order], positive[order]
        tie = np.cumsum(np.append(False, ranked[1:] != ranked[:-1]))
        n_positive = np.bincount(tie, weights=label_of)
        mixed = (n_positive > 0) & (n_positive < np.bincount(tie))
        other_label = label_of[1:] != label_of[:-1]
        other_tie = (tie[1:] != tie[:-1]) & (mixed[tie[1:]] | mixed[tie[:-1]])
        start = np.flatnonzero(np.append(True, other_label | other_tie))
        point = np.append(tie[start[1:]] != tie[start[1:] - 1], True)
        return cls(order, start, label_of[start], np.flatnonzero(point))

    def curves(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(K, P+1) false and true positives at each point, from (K, N) weights by row; the first column is 0."""
        return self.curves_of_runs(np.add.reduceat(weights[:, self.order], self.start, axis=1))

    def curves_of_runs(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `curves`, from (K, R) weights by run."""
        return self._at_points(counts * ~self.positive), self._at_points(counts * self.positive)

    def _at_points(self, counts: np.ndarray) -> np.ndarray:
        total = np.zeros((len(counts), counts.shape[1] + 1), dtype=np.int64)
        np.cumsum(counts, axis=1, out=total[:, 1:])
        return total if len(self.point) == counts.shape[1] else total[:, np.append(0, self.point + 1)]


def bootstrap(
    logit: np.ndarray,
    label: np.ndarray,
    *,
    galaxy_id: np.ndarray,
    fprs: np.ndarray,
    max_fpr: float,
    resamples: int,
    rng: np.random.Generator,
) -> Draws:
    """``resamples`` draws of the ROC statistics of (N,) scores; a galaxy's stamps are drawn together."""
    ranked = Ranked.of(logit, label)
    galaxies = _Galaxies.of(label[ranked.order], galaxy_id[ranked.order])
    size = max(1, COUNTS_AT_ONCE // len(ranked.start))
    sizes = [min(size, resamples - first) for first in range(0, resamples, size)]

    def chunk(count: int, own: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        counts = np.array([np.add.reduceat(galaxies.weights(own), ranked.start) for _ in range(count)])
        return statistics(*ranked.curves_of_runs(counts), fprs=fprs, max_fpr=max_fpr)

    with ThreadPoolExecutor(min(n_cores(), len(sizes))) as pool:
        parts = list(pool.map(chunk, sizes, rng.spawn(len(sizes))))
    return Draws(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def resampled_weights(
    label: np.ndarray, *, galaxy_id: np.ndarray, resamples: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Chunks (K, N) of how often each stamp counts in each of ``resamples`` resamples of the galaxies."""
    galaxies = _Galaxies.of(label, galaxy_id)
    for start in range(0, resamples, CHUNK):
        yield np.array([galaxies.weights(rng) for _ in range(min(CHUNK, resamples - start))])


def statistics(
    false: np.ndarray, true: np.ndarray, *, fprs: np.ndarray, max_fpr: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUROC (K,), partial AUROC (K,) and TPR (K, F) of K ROC curves given as counts (K, P+1)."""
    partial = _standardised_area(false, true, max_fpr=max_fpr)
    return _area(false, true), partial, _tpr_at(false, true, fprs=fprs)


def _area(false: np.ndarray, true: np.ndarray) -> np.ndarray:
    twice = np.einsum("kp,kp->k", np.diff(false, axis=1), true[:, 1:] + true[:, :-1])  # whole numbers: no rounding
    return twice / (2.0 * false[:, -1] * true[:, -1])


def _standardised_area(false: np.ndarray, true: np.ndarray, *, max_fpr: float) -> np.ndarray:
    """Area up to ``max_fpr``, linear between points, scaled as McClish (1989, Med. Decis. Making 9 190)."""
    end = max_fpr * false[:, -1:]
    stop = int(np.count_nonzero(false < end, axis=1).max()) + 1  # what lies beyond adds nothing
    x, y = false[:, :stop].astype(np.float64), true[:, :stop].astype(np.float64)
    width = np.diff(x, axis=1)
    inside = np.clip(end - x[:, :-1], 0.0, width)
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    height = y[:, :-1] + np.diff(y, axis=1) * share / 2
    area = np.einsum("kp,kp->k", inside, height) / (1.0 * false[:, -1] * true[:, -1])
    chance = max_fpr**2 / 2
    return 0.5 * (1 + (area - chance) / (max_fpr - chance))


def _tpr_at(false: np.ndarray, true: np.ndarray, *, fprs: np.ndarray) -> np.ndarray:
    """TPR of the last whole group of ties at which the false positives do not exceed fpr * N."""
    allowed = np.floor(false[:, -1:] * fprs + 1e-9)
    columns = [np.searchsorted(row, own, side="right") - 1 for row, own in zip(false, allowed, strict=True)]
    return np.take_along_axis(true, np.array(columns).reshape(len(true), -1), axis=1) / true[:, -1:]


@dataclass(frozen=True)
class _Galaxies:
    """What is resampled: galaxies with positives only, with negatives only, with both, each kind by itself."""

    strata: tuple[np.ndarray, ...]
    """Numbers of the galaxies of each kind."""
    of_row: np.ndarray | None
    """(N,) number of each row's galaxy; None where row i is galaxy i."""
    n: int

    @classmethod
    def of(cls, label: np.ndarray, galaxy_id: np.ndarray) -> "_Galaxies":
        _, first, inverse = np.unique(galaxy_id, return_index=True, return_inverse=True)
        by_row = np.argsort(np.argsort(first))[inverse]  # numbered as they first appear
        has_positive = np.bincount(by_row, weights=label == 1) > 0
        has_negative = np.bincount(by_row, weights=label == 0) > 0
        pattern = has_positive + 2 * has_negative
        strata = tuple(np.flatnonzero(pattern == value) for value in (1, 2, 3))
        return cls(strata, None if len(first) == len(galaxy_id) else by_row, len(first))

    def weights(self, rng: np.random.Generator) -> np.ndarray:
        """(N,) how often each row counts in one resample; every kind keeps its number of galaxies."""
        drawn = np.zeros(self.n, dtype=np.int64)
        for members in self.strata:
            if n := len(members):
                drawn[members] = np.bincount(rng.integers(n, size=n), minlength=n)
        return drawn if self.of_row is None else drawn[self.of_row]
