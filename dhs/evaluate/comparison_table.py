"""The comparison of arms as data: every arm's value, every difference with interval, p, Holm's p and a verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from dhs.evaluate.comparison import (
    ArmValue,
    Contrast,
    McNemar,
    PairedScores,
    arm_value,
    contrast,
    holm,
    mcnemar_exact,
    paired_draws,
    verdict,
)
from dhs.evaluate.metrics import allowed_false_positives, resolution, threshold_at
from dhs.evaluate.table import column, visible_mask
from dhs.rng import Purpose, keyed_rng

MAX_FPR = 0.1
"""Upper end of the partial AUROC."""

SUBSETS = ("visible", "all")


@dataclass(frozen=True)
class Difference:
    """One arm minus another in one statistic."""

    first: str
    second: str
    result: Contrast
    holm_p: float
    verdict: str
    """Label of the better arm, or why none is named."""
    mcnemar: tuple[McNemar, ...]
    """Of each pair of trainings, at the calibrated threshold; only for recall."""


@dataclass(frozen=True)
class Comparison:
    """One statistic of one subset of the lenses of one test set."""

    test_set: str
    subset: str
    statistic: str
    n_lenses: int
    n_negatives: int
    arms: dict[str, ArmValue]
    differences: tuple[Difference, ...]


def compare_arms(
    arms: dict[str, list[int]],
    *,
    test: Sequence[pa.Table],
    validation: Sequence[pa.Table],
    test_set: str,
    baseline: str | None,
    fprs: Sequence[float],
    resamples: int,
    seed: int,
) -> list[Comparison]:
    """Compare ``arms`` (label: numbers of its runs) by the tables of each run, all of the same stamps.

    Holm's correction is over the differences of one statistic. ValueError where ``baseline`` is no arm.
    """
    if baseline is not None and baseline not in arms:
        raise ValueError(f"task.baseline = {baseline!r}: no such arm; there are {', '.join(map(repr, arms))}")
    visible = visible_mask(test[0])
    label = column(test[0], "label")
    thresholds = np.array([_thresholds(table, fprs=fprs) for table in validation])
    results = []
    for index, subset in enumerate(SUBSETS):
        rows = (label == 0) | (visible if subset == "visible" else label == 1)
        if not (label[rows] == 1).any():
            continue
        scores = PairedScores(
            np.array([column(table, "logit")[rows] for table in test]),
            label[rows],
            column(test[0], "target_id")[rows],
            thresholds,
        )
        rng = keyed_rng(seed, Purpose.BOOTSTRAP, 1, index)
        values, draws = paired_draws(scores, fprs=fprs, max_fpr=MAX_FPR, resamples=resamples, rng=rng)
        for name in values:
            differences = _differences(name, arms, scores, values[name], draws[name], baseline=baseline, fprs=fprs)
            results.append(
                Comparison(
                    test_set,
                    subset,
                    name,
                    int((scores.label == 1).sum()),
                    int((scores.label == 0).sum()),
                    {arm: arm_value(values[name], draws[name], members=members) for arm, members in arms.items()},
                    differences,
                )
            )
    return results


def _differences(
    statistic: str,
    arms: dict[str, list[int]],
    scores: PairedScores,
    values: np.ndarray,
    draws: np.ndarray,
    *,
    baseline: str | None,
    fprs: Sequence[float],
) -> tuple[Difference, ...]:
    pairs = list(combinations(arms, 2)) if baseline is None else [(arm, baseline) for arm in arms if arm != baseline]
    results = [contrast(values, draws, first=arms[a], second=arms[b]) for a, b in pairs]
    adjusted = holm([result.p_value for result in results])
    n_lenses = int((scores.label == 1).sum())
    out = []
    for (a, b), result, p in zip(pairs, results, adjusted, strict=True):
        found = verdict(result, adjusted_p=float(p), n_lenses=n_lenses)
        named = {"first": a, "second": b}.get(found, found)
        tests = _mcnemars(statistic, scores, arms[a], arms[b], fprs=fprs)
        out.append(Difference(a, b, result, float(p), named, tests))
    return tuple(out)


def _mcnemars(
    statistic: str, scores: PairedScores, first: list[int], second: list[int], *, fprs: Sequence[float]
) -> tuple[McNemar, ...]:
    """Of the i-th training of one arm against the i-th of the other."""
    prefix = "recall_at_calibrated_fpr_"
    if not statistic.startswith(prefix):
        return ()
    index = [f"{fpr:g}" for fpr in fprs].index(statistic.removeprefix(prefix))
    pairs = zip(first, second, strict=False)
    return tuple(mcnemar_exact(scores.hits(a, fpr_index=index), scores.hits(b, fpr_index=index)) for a, b in pairs)


def _thresholds(validation: pa.Table, *, fprs: Sequence[float]) -> list[float]:
    negatives = column(validation, "logit")[column(validation, "label") == 0]
    out = []
    for fpr in fprs:
        resolved = resolution(fpr, n_negatives=len(negatives)) != "not resolvable"
        n_allowed = allowed_false_positives(fpr, n_negatives=len(negatives))
        out.append(threshold_at(negatives, n_false_positives=n_allowed) if resolved else np.nan)
    return out


def as_json(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Plain JSON values."""
    return [asdict(comparison) for comparison in comparisons]


ROW_FIELDS = (
    "test_set", "subset", "statistic", "arm", "against", "value", "low", "high", "p", "p_holm", "n_seeds", "seed_sd",
    "n_lenses", "n_negatives", "verdict",
)  # fmt: skip


def rows(comparisons: Sequence[Comparison]) -> list[tuple[Any, ...]]:
    """The long table: arms first, then differences (``against`` filled), for CSV."""
    out: list[tuple[Any, ...]] = []
    for c in comparisons:
        head, tail = (c.test_set, c.subset, c.statistic), (c.n_lenses, c.n_negatives)
        for arm, v in c.arms.items():
            out.append((*head, arm, "", v.value, v.low, v.high, "", "", v.n_seeds, _number(v.seed_sd), *tail, ""))
        for d in c.differences:
            r = d.result
            numbers = (r.difference, r.low, r.high, r.p_value, d.holm_p, min(r.n_seeds), _number(r.se_seeds))
            out.append((*head, d.first, d.second, *numbers, *tail, d.verdict))
    return out


def _number(value: float | None) -> float | str:
    return "" if value is None else value
