"""AUROC, thresholds and TPR at FPR against scikit-learn and brute force, ties included."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dhs.evaluate.bootstrap import Ranked, statistics
from dhs.evaluate.metrics import (
    allowed_false_positives,
    auroc,
    hits_at_count,
    resolution,
    resolution_note,
    threshold_at,
    tied_fraction,
    tpr_at_fpr,
)
from dhs.rng import Purpose, keyed_rng


@st.composite
def tied_samples(draw):
    """Scores on a coarse grid, so that ties within and between the labels are the rule."""
    score = st.integers(-4, 4).map(float)
    negative = draw(st.lists(score, min_size=2, max_size=40))
    positive = draw(st.lists(score, min_size=1, max_size=40))
    logit = np.array(positive + negative)
    return logit, np.repeat([1, 0], [len(positive), len(negative)])


def brute_force_hits(logit, label, *, allowed):
    """Most positives strictly above any threshold that at most ``allowed`` negatives exceed: every threshold tried."""
    candidates = np.concatenate([[-math.inf], np.unique(logit), np.unique(logit) - 0.5])
    positive, negative = logit[label == 1], logit[label == 0]
    return max(int((positive > t).sum()) for t in candidates if (negative > t).sum() <= allowed)


@settings(max_examples=150, deadline=None)
@given(sample=tied_samples(), fpr=st.sampled_from([0.5, 0.2, 0.1, 0.05]))
def test_tpr_at_fpr_is_the_best_any_threshold_can_do_even_with_ties(sample, fpr):
    logit, label = sample
    n_negatives = int((label == 0).sum())
    point = tpr_at_fpr(logit, label, fpr=fpr)
    if fpr * n_negatives < 1 - 1e-9:
        assert (point.tpr, point.threshold, point.status) == (None, None, "not resolvable")
        return
    allowed = math.floor(fpr * n_negatives + 1e-9)
    assert point.tpr == brute_force_hits(logit, label, allowed=allowed) / (label == 1).sum()
    assert point.n_false_positives == (logit[label == 0] > point.threshold).sum() <= allowed


@settings(max_examples=150, deadline=None)
@given(sample=tied_samples(), max_fpr=st.sampled_from([0.1, 0.37, 0.9]))
def test_bootstrap_statistics_with_unit_weights_equal_scikit_learn_and_brute_force(sample, max_fpr):
    logit, label = sample
    fprs = np.array([0.05, 0.3, 1.0])
    curves = Ranked.of(logit, label).curves(np.ones((1, len(logit)), dtype=int))
    area, partial, tpr = statistics(*curves, fprs=fprs, max_fpr=max_fpr)
    assert area[0] == pytest.approx(roc_auc_score(label, logit), abs=1e-12)
    assert partial[0] == pytest.approx(roc_auc_score(label, logit, max_fpr=max_fpr), abs=1e-12)
    counts = [math.floor(fpr * (label == 0).sum() + 1e-9) for fpr in fprs]
    expected = [brute_force_hits(logit, label, allowed=count) / (label == 1).sum() for count in counts]
    np.testing.assert_allclose(tpr[0], expected, atol=1e-12)


def test_bootstrap_weights_act_as_repeated_rows():
    rng = keyed_rng(1, Purpose.BENCHMARK, 0, 0)
    logit, label = rng.integers(0, 12, 60).astype(float), np.repeat([1, 0], 30)
    weights = rng.integers(0, 4, 60)
    curves = Ranked.of(logit, label).curves(weights[None])
    area, partial, _ = statistics(*curves, fprs=np.array([0.5]), max_fpr=0.2)
    repeated = np.repeat(label, weights), np.repeat(logit, weights)
    assert area[0] == pytest.approx(roc_auc_score(*repeated), abs=1e-12)
    assert partial[0] == pytest.approx(roc_auc_score(*repeated, max_fpr=0.2), abs=1e-12)


def test_auroc_counts_a_tie_one_half():
    assert auroc(np.zeros(4), np.array([1, 0, 1, 0])) == 0.5


@pytest.mark.parametrize(("fpr", "n", "allowed"), [(0.01, 100, 1), (0.1, 30, 3), (0.29, 100, 29), (1e-3, 999, 0)])
def test_allowed_false_positives_do_not_lose_one_to_rounding(fpr, n, allowed):
    assert allowed_false_positives(fpr, n_negatives=n) == allowed


def test_a_tie_at_the_threshold_stays_out():
    negative = np.array([5.0, 3.0, 3.0, 3.0, 0.0])
    assert threshold_at(negative, n_false_positives=2) == 3.0
    assert (negative > 3.0).sum() == 1


def test_tpr0_and_tpr10_count_positives_above_the_first_and_the_tenth_negative():
    negative, positive = np.arange(100.0), np.array([99.5, 99.0, 90.5, 89.5])
    logit, label = np.concatenate([positive, negative]), np.repeat([1, 0], [4, 100])
    assert hits_at_count(logit, label, n_false_positives=0) == 1
    assert hits_at_count(logit, label, n_false_positives=9) == 3


@pytest.mark.parametrize(
    ("n", "status"),
    [(9_999, "not resolvable"), (10_000, "weak"), (99_999, "weak"), (100_000, "measured")],
)
def test_resolution_of_1e4_needs_ten_thousand_negatives_and_a_hundred_thousand_to_be_solid(n, status):
    assert resolution(1e-4, n_negatives=n) == status
    assert (resolution_note(1e-4, n_negatives=n) == "") == (status == "measured")


def test_note_says_how_many_negatives_would_be_needed():
    assert resolution_note(1e-4, n_negatives=2500) == "not resolvable with 2,500 negatives (needs at least 10,000)"


def test_tied_fraction_sees_bf16_scores():
    rng = keyed_rng(2, Purpose.BENCHMARK, 0, 0)
    scores = rng.normal(size=4000).astype(np.float32)
    as_bf16 = (scores.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    assert tied_fraction(scores.astype(float)) < 0.005
    assert tied_fraction(as_bf16.astype(float)) > 0.5
