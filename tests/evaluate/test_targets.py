"""What a sample can prove: the numbers of SCIENCE section 6, against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from dhs.evaluate.intervals import not_measured, proportion
from dhs.evaluate.targets import (
    contamination_verdict,
    decided,
    least_hits,
    most_hits,
    smallest_sample,
    tpr_verdict,
)


def exact(k, n):
    return proportion(k, n=n, method="clopper-pearson")


def test_43_of_68_prove_a_recall_above_half_and_11_of_100_a_contamination_below_a_fifth():
    assert least_hits(68, above=0.5) == 43
    assert most_hits(100, below=0.2) == 11


@pytest.mark.parametrize("n", [5, 16, 17, 68, 331])
def test_the_counts_that_decide_are_those_of_statsmodels(n):
    low, high = np.array([proportion_confint(k, n, method="beta") for k in range(n + 1)]).T
    proving = np.flatnonzero(high < 0.2)
    assert most_hits(n, below=0.2) == (proving[-1] if len(proving) else None)
    proving = np.flatnonzero(low > 0.8)
    assert least_hits(n, above=0.8) == (proving[0] if len(proving) else None)


def test_the_smallest_sample_is_the_one_below_which_nothing_can_be_proved():
    n = smallest_sample(above=0.8)
    assert most_hits(n, below=0.2) is not None
    assert most_hits(n - 1, below=0.2) is None


def test_a_target_is_proved_missed_or_undecided():
    assert decided(exact(60, 68), above=0.5) is True
    assert decided(exact(10, 68), above=0.5) is False
    assert decided(exact(36, 68), above=0.5) is None
    assert decided(exact(2, 100), below=0.2) is True
    assert decided(exact(60, 100), below=0.2) is False
    assert decided(exact(15, 100), below=0.2) is None
    assert decided(not_measured("none"), above=0.5) is None


def test_the_verdict_says_what_the_sample_can_prove():
    assert "at most 11 of 100 may pass" in contamination_verdict(exact(3, 100), words="").provable
    few = contamination_verdict(exact(0, 9), words="")
    assert few.passed is None
    assert few.provable == "no: 9 are too few; 17 without a false positive would prove it"
    assert contamination_verdict(exact(0, 0), words="").passed is None


def test_a_tpr_that_hangs_on_a_handful_of_negatives_proves_nothing():
    sure = exact(990, 1000)
    assert tpr_verdict(sure, n_negatives=200_000, words="").passed is True
    assert tpr_verdict(sure, n_negatives=20_000, words="").passed is None
    assert "hardly: 2.0 false positives" in tpr_verdict(sure, n_negatives=20_000, words="").provable
    assert "cannot show a rate of 0.0001" in tpr_verdict(sure, n_negatives=2_000, words="").provable
