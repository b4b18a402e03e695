"""Comparisons: oracles, coverage by simulation, and no difference called where there is none."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from dhs.evaluate.comparison import (
    Contrast,
    PairedScores,
    arm_value,
    contrast,
    holm,
    mcnemar_exact,
    paired_draws,
    verdict,
)
from dhs.rng import Purpose, keyed_rng


def finders(
    rng: np.random.Generator,
    *,
    shift: list[float],
    n_positives: int = 150,
    n_negatives: int = 400,
    seed_sd: float = 0.0,
) -> PairedScores:
    """M finders on one test set: a stamp's difficulty is common, its own skill is its shift (and luck)."""
    label = np.arange(n_positives + n_negatives) < n_positives
    common = rng.normal(size=len(label)) + 1.5 * label
    skill = np.array(shift) + seed_sd * rng.normal(size=len(shift))
    own = rng.normal(size=(len(shift), len(label)))
    logit = common + 0.7 * own + skill[:, None] * label
    return PairedScores(logit, label.astype(int), np.arange(len(label)), np.full((len(shift), 1), 2.0))


def test_values_are_scikit_learns_and_plain_counts():
    scores = finders(keyed_rng(1, Purpose.BENCHMARK, 0, 0), shift=[0.0, 1.0])
    values, draws = paired_draws(
        scores, fprs=(0.01,), max_fpr=0.1, resamples=60, rng=keyed_rng(1, Purpose.BOOTSTRAP, 0, 0)
    )
    for m in range(2):
        assert values["auroc"][m] == pytest.approx(roc_auc_score(scores.label, scores.logit[m]), abs=1e-12)
        recall = scores.hits(m, fpr_index=0).mean()
        assert values["recall_at_calibrated_fpr_0.01"][m] == pytest.approx(recall, abs=1e-12)
    assert draws["auroc"].shape == (60, 2)
    assert {"partial_auroc", "tpr_at_fpr_0.01"} < set(values)


def test_a_rate_that_the_negatives_cannot_resolve_has_no_value():
    scores = finders(keyed_rng(1, Purpose.BENCHMARK, 0, 0), shift=[0.0, 1.0])
    unresolved = PairedScores(scores.logit, scores.label, scores.galaxy_id, np.full((2, 2), [2.0, np.nan]))
    values, _ = paired_draws(
        unresolved, fprs=(0.01, 1e-4), max_fpr=0.1, resamples=50, rng=keyed_rng(1, Purpose.BOOTSTRAP, 0, 0)
    )
    assert "tpr_at_fpr_0.0001" not in values
    assert "recall_at_calibrated_fpr_0.0001" not in values


def test_pairing_narrows_the_interval_of_the_difference():
    scores = finders(keyed_rng(2, Purpose.BENCHMARK, 0, 0), shift=[0.0, 0.2])
    values, draws = paired_draws(scores, fprs=(), max_fpr=0.1, resamples=400, rng=keyed_rng(2, Purpose.BOOTSTRAP, 0, 0))
    paired = contrast(values["auroc"], draws["auroc"], first=[1], second=[0]).se_sample
    apart = np.hypot(*draws["auroc"].std(axis=0, ddof=1))
    assert paired < 0.75 * apart


def test_a_finder_does_not_differ_from_itself():
    scores = finders(keyed_rng(3, Purpose.BENCHMARK, 0, 0), shift=[0.0])
    twice = PairedScores(np.repeat(scores.logit, 2, axis=0), scores.label, scores.galaxy_id, np.full((2, 1), 2.0))
    values, draws = paired_draws(
        twice, fprs=(0.01,), max_fpr=0.1, resamples=50, rng=keyed_rng(3, Purpose.BOOTSTRAP, 0, 0)
    )
    for name in values:
        same = contrast(values[name], draws[name], first=[0], second=[1])
        assert (same.difference, same.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("effect", [0.0, 0.4])
def test_intervals_of_a_difference_of_recipes_cover_the_truth_as_often_as_they_say(effect):
    """Five seeds an arm; the truth from a very large sample of stamps and trainings."""
    seed_sd, shift = 0.15, [0.0] * 5 + [effect] * 5
    many = np.linspace(-5, 5, 4001)
    weight = stats.norm.pdf(many) / stats.norm.pdf(many).sum()

    def expected(mean: float) -> float:  # of AUROC over trainings: Phi(separation / spread of a difference)
        return float((weight * stats.norm.cdf((1.5 + mean + seed_sd * many) / np.sqrt(2 * (1 + 0.49)))).sum())

    truth = expected(effect) - expected(0.0)
    covered, called = [], []
    for trial in range(300):
        scores = finders(
            keyed_rng(4, Purpose.BENCHMARK, trial, 0), shift=shift, seed_sd=seed_sd, n_positives=120, n_negatives=160
        )
        values, draws = paired_draws(
            scores, fprs=(), max_fpr=0.1, resamples=100, rng=keyed_rng(4, Purpose.BOOTSTRAP, trial, 0)
        )
        result = contrast(values["auroc"], draws["auroc"], first=range(5, 10), second=range(5))
        covered.append(result.low <= truth <= result.high)
        called.append(result.p_value < 0.05)
    assert 0.92 <= np.mean(covered) <= 0.985  # 95% +- 2.4 sigma of 300 trials; the two variances overlap a little
    if effect == 0.0:
        assert np.mean(called) <= 0.08


def test_leaving_the_seeds_out_would_cover_far_too_rarely():
    """What makes the second variance necessary: the paired bootstrap alone."""
    covered = []
    for trial in range(100):
        scores = finders(
            keyed_rng(5, Purpose.BENCHMARK, trial, 0), shift=[0.0] * 4, seed_sd=0.3, n_positives=120, n_negatives=160
        )
        values, draws = paired_draws(
            scores, fprs=(), max_fpr=0.1, resamples=100, rng=keyed_rng(5, Purpose.BOOTSTRAP, trial, 0)
        )
        result = contrast(values["auroc"], draws["auroc"], first=[0, 1], second=[2, 3])
        covered.append(abs(result.difference) <= 1.96 * result.se_sample)
    assert np.mean(covered) < 0.8


def test_few_seeds_widen_the_interval():
    values = np.array([0.80, 0.82, 0.81, 0.90, 0.92, 0.91])
    draws = values + 0.001 * keyed_rng(6, Purpose.BENCHMARK, 0, 0).normal(size=(200, 6))
    three = contrast(values, draws, first=[3, 4, 5], second=[0, 1, 2])
    two = contrast(values, draws, first=[3, 4], second=[0, 1])
    assert two.high - two.low > 1.5 * (three.high - three.low)
    assert (three.about, two.about) == ("recipes", "networks")
    one = contrast(values, draws, first=[3], second=[0])
    assert one.se_seeds is None
    assert arm_value(values, draws, members=[0]).seed_sd is None


def test_welchs_interval_is_scipys_when_the_test_set_is_exact():
    a, b = np.array([0.90, 0.93, 0.91, 0.95]), np.array([0.80, 0.88, 0.84])
    exact = np.tile(np.concatenate([a, b]), (50, 1))
    ours = contrast(exact[0], exact, first=range(4), second=range(4, 7))
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert ours.p_value == pytest.approx(welch.pvalue, rel=1e-9)
    low, high = welch.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-9)


def test_mcnemar_is_the_binomial_test_of_the_disagreements():
    first = np.array([True] * 9 + [False] * 2 + [True] * 50 + [False] * 30)
    second = np.array([False] * 9 + [True] * 2 + [True] * 50 + [False] * 30)
    result = mcnemar_exact(first, second)
    assert (result.only_first, result.only_second) == (9, 2)
    assert result.p_value == pytest.approx(stats.binomtest(2, 11).pvalue, rel=1e-9)


def test_holm_multiplies_the_smallest_by_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert len(holm([])) == 0


@pytest.mark.parametrize(
    ("difference", "p", "n_lenses", "seeds", "says"),
    [
        (0.27, 0.001, 189, (3, 3), "first"),
        (-0.27, 0.001, 189, (3, 3), "second"),
        (0.27, 0.06, 189, (3, 3), "no difference shown"),
        (0.06, 0.001, 125, (3, 3), "no claim: under 10% on 125 lenses"),
        (0.06, 0.001, 2000, (3, 3), "first"),
        (0.27, 0.001, 189, (3, 1), "no claim: 1 seed(s) an arm, a recipe needs 3"),
    ],
)
def test_a_difference_is_called_only_where_it_can_be(difference, p, n_lenses, seeds, says):
    result = Contrast(difference, difference - 0.05, difference + 0.05, p, 0.01, 0.01, seeds)
    assert verdict(result, adjusted_p=p, n_lenses=n_lenses) == says
