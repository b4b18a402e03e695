"""Recall of lenses: scipy and statsmodels agree, coverage holds, several stamps of one lens are not several lenses."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from dhs.evaluate.anchors.recall import (
    Lenses,
    cells,
    flag,
    independent_trials,
    provable_words,
    recall,
    strata,
)


def lenses(n: int = 40, *, logit: np.ndarray | None = None) -> Lenses:
    rng = np.random.default_rng(5)
    logit = rng.normal(0, 2, n) if logit is None else logit
    return Lenses(
        lens=np.array([f"lens {i}" for i in range(n)]),
        survey=np.array(["SLACS", "BELLS"])[np.arange(n) % 2],
        grade=np.array(["A", "B", "C", "ungraded"])[np.arange(n) % 4],
        theta_e_over_psf=np.where(np.arange(n) % 10 == 0, np.nan, rng.uniform(0.3, 2.5, n)),
        logit=logit,
        probability=1 / (1 + np.exp(1 - logit)),
    )


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 7), (7, 7), (43, 68), (1, 125)])
def test_the_interval_of_single_lenses_is_clopper_and_pearsons_by_scipy_and_statsmodels(k, n):
    found = recall(np.arange(n) < k, lens=np.arange(n).astype(str))
    exact = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert (found.value, found.n, found.k) == (pytest.approx(k / n), n, k)
    assert (found.low, found.high) == (pytest.approx(exact.low, abs=1e-12), pytest.approx(exact.high, abs=1e-12))
    assert found.high == pytest.approx(proportion_confint(k, n, method="beta")[1])


def test_no_lenses_have_no_recall():
    empty = recall(np.zeros(0, bool), lens=np.zeros(0, str))
    assert (empty.value, empty.n, empty.note) == (None, 0, "no lenses")


def test_the_target_of_the_user_needs_43_of_68():
    assert "43 of 68" in provable_words(68)
    assert "6 are the least" in provable_words(3)


def test_ten_equal_stamps_of_each_lens_are_worth_one_lens():
    hit = np.repeat(np.arange(30) < 12, 10)
    lens = np.repeat(np.arange(30), 10).astype(str)
    found, alone = recall(hit, lens=lens), recall(hit[::10], lens=lens[::10])
    assert found.value == alone.value
    assert found.high - found.low > 0.95 * (alone.high - alone.low)
    assert found.n == 30


def test_none_of_many_stamps_bounds_no_better_than_none_of_the_lenses():
    found = recall(np.zeros(200, bool), lens=np.repeat(np.arange(20), 10).astype(str))
    assert found.low == 0
    assert found.high == pytest.approx(recall(np.zeros(20, bool), lens=np.arange(20).astype(str)).high)


def test_independent_stamps_count_nearly_as_many():
    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(60), 8)
    trials = [independent_trials(rng.random(480) < 0.4, cluster=cluster, n_clusters=60) for _ in range(60)]
    assert 360 < np.median(trials) <= 480


def test_the_clustered_interval_covers_the_truth():
    """Beta-binomial lenses: recall differs from lens to lens (0.16 of the variance), eight stamps each."""
    rng, covered, rounds = np.random.default_rng(3), 0, 600
    lens = np.repeat(np.arange(40), 8).astype(str)
    for _ in range(rounds):
        own = rng.beta(2.0, 3.0, 40)
        found = recall(rng.random(320) < np.repeat(own, 8), lens=lens)
        covered += found.low <= 0.4 <= found.high
    assert 0.93 <= covered / rounds <= 0.99  # conservative by construction, never far below 95%


def test_every_lens_is_in_one_stratum_of_each_division():
    sample = lenses()
    for masks in strata(sample).values():
        np.testing.assert_array_equal(np.sum(list(masks.values()), axis=0), 1)
    assert strata(sample)["theta_e/fwhm_r"]["unknown"].sum() == 4


def test_strata_add_up_to_the_whole_and_empty_ones_say_so():
    sample = lenses()
    at = flag(sample, thresholds=[(1e-2, 0.7, "weak")])
    assert [one.name for one in at] == ["fpr_0.01", "p_half"]
    np.testing.assert_array_equal(at[0].hit, sample.logit > 0.7)
    np.testing.assert_array_equal(at[1].hit, sample.probability > 0.5)  # calibrated: not logit > 0
    found = cells(at[0], masks=strata(sample)["survey"], lens=sample.lens)
    assert sum(cell.rate.k for cell in found) == int((sample.logit > 0.7).sum())
    nothing = cells(at[0], masks={"none": np.zeros(len(sample), bool)}, lens=sample.lens)
    assert nothing[0].rate.value is None


def test_a_score_equal_to_the_threshold_is_no_hit():
    sample = lenses(3, logit=np.array([1.0, 1.5, 2.0]))
    assert flag(sample, thresholds=[(1e-2, 1.5, "")])[0].hit.tolist() == [False, False, True]
