"""Intervals against scipy, their coverage, and the bootstrap's coverage, speed of arithmetic and clustering."""

import numpy as np
import pytest
from scipy import integrate, stats

from dhs.evaluate.bootstrap import bootstrap
from dhs.evaluate.intervals import fpr_upper_bound, percentile, proportion
from dhs.rng import Purpose, keyed_rng


@pytest.mark.parametrize(("k", "n"), [(0, 14), (2, 68), (43, 68), (11, 100), (100, 100)])
@pytest.mark.parametrize(("method", "name"), [("wilson", "wilson"), ("clopper-pearson", "exact")])
def test_intervals_equal_scipys(k, n, method, name):
    estimate = proportion(k, n=n, method=method)
    oracle = stats.binomtest(k, n).proportion_ci(0.95, method=name)
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)
    assert 0 <= estimate.low <= k / n <= estimate.high <= 1


def test_published_figures_of_the_science_contract():
    two_of_68 = proportion(2, n=68, method="clopper-pearson")
    assert (round(100 * two_of_68.low, 1), round(100 * two_of_68.high, 1)) == (0.4, 10.2)
    assert proportion(43, n=68, method="clopper-pearson").low > 0.5 > proportion(42, n=68, method="clopper-pearson").low
    assert proportion(11, n=100, method="clopper-pearson").high < 0.2
    assert proportion(0, n=14, method="clopper-pearson").high > 0.2


def coverage(method, *, n, probability):
    """Exact: the binomial probability of every count whose interval holds the truth."""
    inside = [(e := proportion(k, n=n, method=method)).low <= probability <= e.high for k in range(n + 1)]
    return float(stats.binom.pmf(np.arange(n + 1), n, probability) @ np.array(inside))


def test_wilson_covers_95_percent_on_average_and_clopper_pearson_never_less():
    probabilities = np.linspace(0.02, 0.98, 49)
    wilson = [coverage("wilson", n=60, probability=p) for p in probabilities]
    exact = [coverage("clopper-pearson", n=60, probability=p) for p in probabilities]
    assert 0.94 < np.mean(wilson) < 0.965
    assert min(exact) >= 0.95


def test_nothing_out_of_nothing_is_not_a_rate():
    estimate = proportion(0, n=0)
    assert (estimate.value, estimate.low, estimate.high, estimate.note) == (None, None, None, "empty")


def test_zero_false_positives_in_29956_negatives_bound_the_fpr_at_1e4():
    assert fpr_upper_bound(29_956) < 1e-4 < fpr_upper_bound(29_955)


def test_a_statistic_that_never_varies_has_no_interval():
    estimate = percentile(np.ones(100), value=1.0, n=5)
    assert (estimate.low, estimate.high) == (None, None)
    assert "no interval" in estimate.note


def draws(logit, label, galaxy_id, *, resamples=200, index=0):
    rng = keyed_rng(5, Purpose.BOOTSTRAP, 0, index)
    return bootstrap(logit, label, galaxy_id=galaxy_id, fprs=np.array([0.1]), max_fpr=0.1, resamples=resamples, rng=rng)


def test_bootstrap_interval_of_auroc_covers_the_truth_about_95_percent_of_the_time():
    label, separation, trials = np.repeat([1, 0], [80, 120]), 1.5, 400
    truth = stats.norm.cdf(separation / np.sqrt(2))
    inside = 0
    for trial in range(trials):
        logit = keyed_rng(6, Purpose.BENCHMARK, 0, trial).normal(separation * label)
        low, high = np.quantile(draws(logit, label, np.arange(200), index=trial).auroc, (0.025, 0.975))
        inside += low <= truth <= high
    # binomial scatter of 400 trials is 1.1 points; the percentile bootstrap of 80 + 120 is a point or so short
    assert 0.915 < inside / trials < 0.98


def test_bootstrap_intervals_of_tpr_and_partial_auroc_cover_their_truth_about_95_percent_of_the_time():
    """200 lenses, 400 negatives: 40 and 8 false positives at the two rates; 200 trials scatter by 1.5 points."""
    label, separation, trials, fprs = np.repeat([1, 0], [200, 400]), 1.5, 200, np.array([0.1, 0.02])
    roc = lambda fpr: stats.norm.sf(stats.norm.isf(fpr) - separation)  # noqa: E731
    area, _ = integrate.quad(roc, 0, 0.1)
    truth = [*roc(fprs), 0.5 * (1 + (area - 0.005) / (0.1 - 0.005))]
    inside = np.zeros(3)
    for trial in range(trials):
        rng = keyed_rng(12, Purpose.BENCHMARK, 0, trial)
        found = bootstrap(
            rng.normal(separation * label),
            label,
            galaxy_id=np.arange(600),
            fprs=fprs,
            max_fpr=0.1,
            resamples=200,
            rng=rng,
        )
        low, high = np.quantile(np.column_stack([found.tpr, found.partial_auroc]), (0.025, 0.975), axis=0)
        inside += (low <= truth) & (truth <= high)
    assert ((inside / trials > 0.905) & (inside / trials < 0.99)).all(), inside / trials


def test_bootstrap_spread_of_auroc_equals_delongs():
    label = np.repeat([1, 0], [300, 500])
    logit = keyed_rng(7, Purpose.BENCHMARK, 0, 0).normal(1.2 * label)
    positive, negative = logit[label == 1], logit[label == 0]
    wins = (positive[:, None] > negative[None, :]).astype(float)
    delong = np.sqrt(wins.mean(axis=1).var(ddof=1) / 300 + wins.mean(axis=0).var(ddof=1) / 500)
    assert draws(logit, label, np.arange(800), resamples=2000).auroc.std() == pytest.approx(delong, rel=0.06)


def test_repeating_every_stamp_does_not_narrow_the_interval_because_galaxies_are_resampled():
    label = np.repeat([1, 0], [60, 90])
    logit = keyed_rng(8, Purpose.BENCHMARK, 0, 0).normal(1.0 * label)
    once = draws(logit, label, np.arange(150), resamples=1000).auroc.std()
    four_times = draws(np.tile(logit, 4), np.tile(label, 4), np.tile(np.arange(150), 4), resamples=1000).auroc.std()
    as_if_independent = draws(np.tile(logit, 4), np.tile(label, 4), np.arange(600), resamples=1000).auroc.std()
    assert four_times == pytest.approx(once, rel=0.1)
    assert as_if_independent < 0.6 * once


def test_a_galaxy_with_and_without_its_arc_is_drawn_as_a_pair():
    host = keyed_rng(9, Purpose.BENCHMARK, 0, 0).normal(size=200)
    logit, label = np.concatenate([host + 0.5, host]), np.repeat([1, 0], 200)
    paired = draws(logit, label, np.tile(np.arange(200), 2), resamples=1000).auroc.std()
    unpaired = draws(logit, label, np.arange(400), resamples=1000).auroc.std()
    assert paired < 0.5 * unpaired


def test_every_resample_has_the_numbers_of_the_sample_and_equal_seeds_give_equal_draws():
    label = np.repeat([1, 0], [3, 5])
    logit = np.array([0.0, 2.0, 4.0, 1.0, 3.0, -1.0, 0.5, 2.5])
    first, second = (draws(logit, label, np.arange(8), resamples=130) for _ in range(2))
    assert set(np.round(first.tpr.ravel() * 3, 9)) <= {0.0, 1.0, 2.0, 3.0}
    np.testing.assert_array_equal(first.auroc, second.auroc)
    assert len(first.auroc) == 130
