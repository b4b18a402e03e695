"""Intervals of the gates: against scipy and scikit-learn, and as wide as they say."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from dhs.evaluate.gates.judge import Gate as GateOf
from dhs.evaluate.gates.judge import at_least, at_most, exit_code, not_applicable, not_asked, within
from dhs.evaluate.gates.questions import CORE_ONLY, NULL_INJECTION
from dhs.evaluate.gates.statistics import PairBootstrap, auc, cohens_d, spearman
from dhs.evaluate.intervals import Estimate


def bootstrap(ids: np.ndarray, seed: int = 0) -> PairBootstrap:
    return PairBootstrap(ids, resamples=600, rng=np.random.default_rng(seed))


def test_the_mean_has_the_interval_of_its_standard_error():
    values = np.random.default_rng(1).random(400)
    found = bootstrap(np.arange(400)).mean(values)
    error = values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_several_arcs_on_one_galaxy_count_as_one_galaxy():
    """Four equal rows a galaxy: the interval is that of the galaxies, not of four times as many."""
    one = np.random.default_rng(2).random(100)
    alone = bootstrap(np.arange(100)).mean(one)
    four = bootstrap(np.repeat(np.arange(100), 4)).mean(np.repeat(one, 4))
    assert four.high - four.low == pytest.approx(alone.high - alone.low, rel=0.15)


def test_a_difference_that_is_zero_in_every_pair_is_a_bound_and_no_certainty():
    found = bootstrap(np.arange(60)).mean(np.zeros(60))
    assert found.value == 0 and found.high == pytest.approx(1 - 0.05 ** (1 / 60))
    assert found.low == -found.high and found.high > 0.04


def test_what_is_kept_of_the_separation_is_a_ratio_of_means_with_a_covering_interval():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        galaxy = rng.beta(1, 6, 120)
        lens = np.clip(galaxy + rng.beta(6, 2, 120) * (1 - galaxy), 0, 1)
        treated = galaxy + 0.4 * (lens - galaxy) + rng.normal(0, 0.1, 120)
        found = bootstrap(np.arange(120), seed).retained(treated, galaxy, lens=lens, galaxy=galaxy)
        covered += found.low <= 0.4 <= found.high
    assert 0.90 <= covered / 200 <= 0.985


def test_without_separation_nothing_is_said_to_be_kept():
    p = np.random.default_rng(3).random(50)
    found = bootstrap(np.arange(50)).retained(p, p, lens=p, galaxy=p)
    assert found.value is None and "does not score lenses above" in found.note


def test_the_auc_is_scikit_learn_s_and_pairs_narrow_its_interval():
    rng = np.random.default_rng(4)
    host = rng.normal(0, 2, 300)
    lens, galaxy = host + 1.0 + rng.normal(0, 0.3, 300), host + rng.normal(0, 0.3, 300)
    ids = np.arange(300)
    keywords = {"resamples": 400, "rng": np.random.default_rng(0)}
    paired = auc(lens, galaxy, positive_id=ids, negative_id=ids, **keywords)
    apart = auc(lens, galaxy, positive_id=ids, negative_id=ids + 300, **keywords)
    assert paired.value == pytest.approx(roc_auc_score(np.repeat([1, 0], 300), np.concatenate([lens, galaxy])))
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)


def test_cohens_d_is_the_difference_in_units_of_the_scatter_and_pairs_show_small_ones():
    rng = np.random.default_rng(5)
    host = rng.normal(3.0, 2.0, 2000)
    ids = np.arange(2000)
    found = cohens_d(host + 0.1, host, positive_id=ids, negative_id=ids, resamples=300, rng=np.random.default_rng(0))
    assert found.value == pytest.approx(0.05, abs=0.003)
    assert found.low > 0.03 and found.high < 0.07  # unpaired, 2000 of each give +- 0.06


def test_one_bright_star_does_not_hide_a_difference():
    rng = np.random.default_rng(6)
    control = rng.normal(size=500)
    arcs = rng.normal(size=500) + 1
    control[0] = 1e6
    ids = np.arange(500)
    found = cohens_d(arcs, control, positive_id=ids, negative_id=ids + 500, resamples=200, rng=rng)
    assert 0.8 < found.value < 1.2


def test_the_correlation_is_scipy_s_and_a_constant_has_none():
    rng = np.random.default_rng(7)
    a = rng.normal(size=300)
    b = 0.5 * a + rng.normal(size=300)
    found = spearman(a, b, galaxy=bootstrap(np.arange(300)))
    assert found.value == pytest.approx(spearmanr(a, b).statistic)
    assert found.low < found.value < found.high and found.high - found.low == pytest.approx(0.19, abs=0.05)
    assert spearman(np.ones(300), b, galaxy=bootstrap(np.arange(300))).value is None


def test_the_median_ratio_is_the_median_and_zeros_are_left_out():
    rng = np.random.default_rng(8)
    below = rng.random(200) + 1
    ratio = rng.normal(1.1, 0.05, 200)
    found = bootstrap(np.arange(200)).median_ratio(ratio * below, below)
    assert found.value == pytest.approx(np.median(ratio)) and found.low < found.value < found.high
    below[:3] = 0
    with np.errstate(divide="ignore"):
        assert bootstrap(np.arange(200)).median_ratio(ratio * below + 1, below).n == 197


def interval(low: float, value: float, high: float) -> Estimate:
    return Estimate(value, low, high, 100)


def test_an_interval_on_one_side_of_its_limit_decides_and_one_across_it_does_not():
    assert at_most("x", interval(0.1, 0.2, 0.3), 0.3).kept is True
    assert at_most("x", interval(0.1, 0.2, 0.31), 0.3).kept is None
    assert at_most("x", interval(0.31, 0.4, 0.5), 0.3).kept is False
    assert at_least("x", interval(0.6, 0.7, 0.8), 0.6).kept is True
    assert at_least("x", interval(0.1, 0.2, 0.3), 0.6).kept is False
    assert within("d", interval(-0.3, -0.2, -0.11), 0.1).kept is False
    assert within("d", interval(-0.09, 0.0, 0.09), 0.1).kept is True
    assert within("ratio", interval(1.01, 1.02, 1.03), 0.05, about=1.0).kept is True
    assert at_most("x", Estimate(None, None, None, 0, note="nothing"), 0.3).kept is None


def test_the_worst_condition_is_the_gate_s_and_a_failure_outranks_doubt_in_the_exit_code():
    good, unsure, bad = (at_most("x", interval(a, a + 0.05, a + 0.1), 0.3) for a in (0.1, 0.25, 0.4))
    fails, doubts, passes = (
        GateOf(CORE_ONLY, conditions) for conditions in ((good, unsure, bad), (good, unsure), (good,))
    )
    assert [gate.outcome for gate in (fails, doubts, passes)] == ["FAIL", "cannot tell", "PASS"]
    assert "raise evaluate.gates.n_pairs" in doubts.advice and CORE_ONLY.remedy in fails.advice and not passes.advice
    silent = not_applicable(NULL_INJECTION, "one band")
    assert exit_code([passes, silent]) == 0
    assert exit_code([passes, not_asked(NULL_INJECTION, "no pairs")]) == 3
    assert exit_code([passes, doubts, fails]) == 1
