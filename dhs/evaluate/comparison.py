"""Paired comparison of finders that scored the same stamps: differences, intervals, tests.

Two finders on one test set see the same easy and hard stamps, so their difference is known better than either figure:
the bootstrap draws the same galaxies for both, and McNemar's test looks only at the lenses that one of them found.

A *recipe* is more than one network: trained again with another seed it scores differently, often by more than the test
set's own error. A difference of two arms of a sweep therefore has two variances, added: that of the test set (paired
bootstrap of the arms' means over their seeds) and that of the seeds (s^2 / S of each arm). The interval is Student's,
with the degrees of freedom of Welch (1947, Biometrika 34 28) and Satterthwaite (1946, Biometrics Bull. 2 110); three
seeds have few, and the interval says so by its width.

    scores = PairedScores(logit=logits, label=label, galaxy_id=galaxy_id, thresholds=thresholds)
    values, draws = paired_draws(scores, fprs=(1e-2,), resamples=10_000, rng=rng)
    contrast(values["auroc"], draws["auroc"], first=[0, 1, 2], second=[3, 4, 5])
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from dhs.evaluate.bootstrap import Ranked, resampled_weights, statistics
from dhs.evaluate.intervals import CONFIDENCE
from dhs.evaluate.metrics import resolution

MIN_SEEDS = 3
"""Trainings of each arm below which a difference is one of networks, not of recipes (SCIENCE section 6)."""

SMALL_SAMPLE_LENSES = 200
SMALL_SAMPLE_DIFFERENCE = 0.10
"""On fewer lenses a smaller difference is no result, whatever its p (SCIENCE section 6)."""


@dataclass(frozen=True)
class PairedScores:
    """Scores of M finders for the same N stamps."""

    logit: np.ndarray
    """(M, N) float64."""
    label: np.ndarray
    """(N,) 1 = lens."""
    galaxy_id: np.ndarray
    """(N,)"""
    thresholds: np.ndarray
    """(M, F) logit above which finder m flags, calibrated on other sky to each of F false-positive rates; NaN where
    the calibration set cannot resolve the rate."""

    def hits(self, finder: int, *, fpr_index: int) -> np.ndarray:
        """(positives,) bool: lenses that ``finder`` flags at its calibrated threshold."""
        return self.logit[finder, self.label == 1] > self.thresholds[finder, fpr_index]


def paired_draws(
    scores: PairedScores, *, fprs: Sequence[float], max_fpr: float, resamples: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Each statistic of each finder, (M,), and in ``resamples`` resamples shared by all finders, (K, M).

    Statistics: ``auroc``, ``partial_auroc``; for each FPR that the negatives resolve, ``tpr_at_fpr_<f>``; for each that
    is calibrated, ``recall_at_calibrated_fpr_<f>`` (of the stated thresholds: their own error is not in it).
    """
    ranked = [Ranked.of(logit, scores.label) for logit in scores.logit]
    n_negatives = int((scores.label == 0).sum())
    wanted = [f for f in fprs if resolution(f, n_negatives=n_negatives) != "not resolvable"]
    names = ["auroc", "partial_auroc", *(f"tpr_at_fpr_{f:g}" for f in wanted)]
    calibrated = [i for i in range(len(fprs)) if np.isfinite(scores.thresholds[:, i]).all()]
    names += [f"recall_at_calibrated_fpr_{fprs[i]:g}" for i in calibrated]
    flagged = scores.logit[:, None, :] > scores.thresholds[:, calibrated, None]
    positive = scores.label == 1

    def of(weights: np.ndarray) -> np.ndarray:
        """(K, M, statistics)"""
        lenses = weights[:, positive].astype(np.float64)
        columns = []
        for m, finder in enumerate(ranked):
            area, partial, tpr = statistics(*finder.curves(weights), fprs=np.array(wanted), max_fpr=max_fpr)
            recall = lenses @ flagged[m][:, positive].T / lenses.sum(axis=1, keepdims=True)
            columns.append(np.column_stack([area, partial, tpr, recall]))
        return np.stack(columns, axis=1)

    values = of(np.ones((1, len(scores.label)), dtype=np.int32))[0]
    chunks = resampled_weights(scores.label, galaxy_id=scores.galaxy_id, resamples=resamples, rng=rng)
    draws = np.concatenate([of(weights) for weights in chunks])
    return (
        {name: values[:, i] for i, name in enumerate(names)},
        {name: draws[..., i] for i, name in enumerate(names)},
    )


@dataclass(frozen=True)
class Contrast:
    """Mean of the first arm minus mean of the second, with its 95% interval."""

    difference: float
    low: float
    high: float
    p_value: float
    se_sample: float
    """Of the test set, paired."""
    se_seeds: float | None
    """Of the trainings; None where an arm has one."""
    n_seeds: tuple[int, int]

    @property
    def about(self) -> str:
        """What the difference is of."""
        return "recipes" if min(self.n_seeds) >= MIN_SEEDS else "networks"


@dataclass(frozen=True)
class ArmValue:
    """Mean of one arm over its seeds, with its 95% interval."""

    value: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    seed_sd: float | None
    """Standard deviation between seeds; None for one seed: the interval is then that of one network."""

    @property
    def n_seeds(self) -> int:
        return len(self.per_seed)


def arm_value(values: np.ndarray, draws: np.ndarray, *, members: Sequence[int]) -> ArmValue:
    """Mean over ``members`` (finders) of a statistic (M,) with resamples (K, M)."""
    index = list(members)
    mean = float(values[index].mean())
    se_sample = float(draws[:, index].mean(axis=1).std(ddof=1))
    seeds = _seed_variance(values[index])
    low, high, _ = _student(mean, se_sample=se_sample, seeds=[seeds])
    sd = None if len(index) < 2 else float(values[index].std(ddof=1))
    return ArmValue(mean, max(low, 0.0), min(high, 1.0), tuple(values[index].tolist()), sd)


def contrast(values: np.ndarray, draws: np.ndarray, *, first: Sequence[int], second: Sequence[int]) -> Contrast:
    """Difference of two arms (their finders' numbers) in a statistic (M,) with shared resamples (K, M)."""
    a, b = list(first), list(second)
    difference = float(values[a].mean() - values[b].mean())
    se_sample = float((draws[:, a].mean(axis=1) - draws[:, b].mean(axis=1)).std(ddof=1))
    seeds = [_seed_variance(values[a]), _seed_variance(values[b])]
    low, high, p_value = _student(difference, se_sample=se_sample, seeds=seeds)
    known = all(dof > 0 for _, dof in seeds)
    se_seeds = float(np.sqrt(sum(variance for variance, _ in seeds))) if known else None
    return Contrast(difference, low, high, p_value, se_sample, se_seeds, (len(a), len(b)))


def _seed_variance(values: np.ndarray) -> tuple[float, int]:
    """Variance of the mean over seeds, and its degrees of freedom; (0, 0) for one seed, which says nothing."""
    if len(values) < 2:
        return 0.0, 0
    return float(values.var(ddof=1) / len(values)), len(values) - 1


def _student(value: float, *, se_sample: float, seeds: Sequence[tuple[float, int]]) -> tuple[float, float, float]:
    """95% interval and two-sided p of ``value`` against 0; the test set's variance counts as known."""
    variance = se_sample**2 + sum(part for part, _ in seeds)
    if variance == 0:
        return value, value, 1.0 if value == 0 else 0.0
    weight = sum(part**2 / dof for part, dof in seeds if dof > 0)
    freedom = variance**2 / weight if weight > 0 else np.inf
    error = np.sqrt(variance)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom) * error)
    return value - half, value + half, float(2 * stats.t.sf(abs(value) / error, freedom))


@dataclass(frozen=True)
class McNemar:
    """Lenses that exactly one of two finders flags."""

    only_first: int
    only_second: int
    p_value: float
    """Exact, two-sided (McNemar 1947, Psychometrika 12 153)."""


def mcnemar_exact(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two (N,) bool arrays of hits on the same lenses."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    table = [[both, only_first], [only_second, neither]]
    return McNemar(only_first, only_second, float(mcnemar(table, exact=True).pvalue))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979, Scand. J. Stat. 6 65)."""
    return np.asarray(multipletests(p_values, method="holm")[1]) if len(p_values) else np.zeros(0)


def verdict(result: Contrast, *, adjusted_p: float, n_lenses: int) -> str:
    """``"first"``, ``"second"`` (the better arm), or why no difference is called."""
    if min(result.n_seeds) < MIN_SEEDS:
        return f"no claim: {min(result.n_seeds)} seed(s) an arm, a recipe needs {MIN_SEEDS}"
    if adjusted_p >= 1 - CONFIDENCE:
        return "no difference shown"
    if n_lenses < SMALL_SAMPLE_LENSES and abs(result.difference) < SMALL_SAMPLE_DIFFERENCE:
        return f"no claim: under {SMALL_SAMPLE_DIFFERENCE:.0%} on {n_lenses} lenses"
    return "first" if result.difference > 0 else "second"
