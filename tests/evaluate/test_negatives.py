"""Contamination by class: counted right, at thresholds from elsewhere, with the worst shown."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.special import expit
from statsmodels.stats.proportion import proportion_confint

from dhs.config.evaluation import CalibrationConfig
from dhs.constants import CLASSES
from dhs.evaluate.calibration import calibrate
from dhs.evaluate.negatives import CALIBRATED, HARD_CLASSES, RAW, section, worst_of_each_class
from dhs.evaluate.table import column
from tests.evaluate.conftest import as_held_out


@pytest.fixture(scope="module")
def calibration(val_scores):
    return calibrate(as_held_out(val_scores), fprs=(1e-1, 1e-2), settings=CalibrationConfig(method="temperature"))


@pytest.fixture(scope="module")
def negatives(test_scores):
    return as_held_out(test_scores.filter(pc.equal(test_scores["label"], 0)))


@pytest.fixture(scope="module")
def made(negatives, calibration):
    return section(negatives, calibration=calibration, pictures="none here")


def test_rates_are_counts_over_counts_with_exact_intervals(made, negatives, calibration):
    logit, kind = column(negatives, "logit"), np.array(negatives["kind"].to_pylist())
    hard = np.isin(kind, HARD_CLASSES)
    assert "lrg" not in HARD_CLASSES
    assert len(HARD_CLASSES) == len(CLASSES) - 1
    for group, rows in (("ring", kind == "ring"), ("all hard classes", hard), ("all", kind != "")):
        cell = made.data["rates"][group][RAW]
        k, n = int((expit(logit[rows]) > 0.5).sum()), int(rows.sum())
        assert (cell["k"], cell["n"]) == (k, n)
        assert (cell["low"], cell["high"]) == pytest.approx(proportion_confint(k, n, method="beta"))
        at_fpr = made.data["rates"][group]["FPR 0.1"]
        assert at_fpr["k"] == (logit[rows] > calibration.threshold(0.1).logit).sum()
        assert made.data["rates"][group][CALIBRATED]["k"] == (calibration.probability(logit[rows]) > 0.5).sum()


def test_probabilities_for_a_rarer_lens_flag_fewer(negatives, val_scores):
    counts = []
    for share in (None, 1e-3):
        settings = CalibrationConfig(method="temperature", lens_share=share)
        rare = calibrate(as_held_out(val_scores), fprs=(1e-1,), settings=settings)
        counts.append(section(negatives, calibration=rare, pictures="").data["rates"]["all"][CALIBRATED]["k"])
    assert counts[1] < counts[0] / 3


def test_the_verdict_is_on_hard_classes_at_the_raw_half_and_says_both(made):
    (verdict,) = made.verdicts
    worst = made.data["rates"]["all hard classes"]
    assert f"({worst[RAW]['k']} of {worst[RAW]['n']})" in verdict.estimate
    assert "calibrated" in verdict.estimate
    assert verdict.passed == (True if worst[RAW]["high"] < 0.2 else False if worst[RAW]["low"] >= 0.2 else None)


def test_the_worst_of_each_class_come_first(negatives):
    chosen = worst_of_each_class(negatives)
    assert list(chosen) == list(CLASSES)
    logit, kind = column(negatives, "logit"), np.array(negatives["kind"].to_pylist())
    for name, rows in chosen.items():
        assert set(kind[rows]) == {name}
        np.testing.assert_array_equal(logit[rows], np.sort(logit[kind == name])[::-1][: len(rows)])


def test_a_class_without_negatives_is_said_and_not_zero(negatives, calibration):
    without = negatives.filter(pa.array(np.array(negatives["kind"].to_pylist()) != "ring"))
    made = section(without, calibration=calibration, pictures="")
    assert made.data["rates"]["ring"][RAW]["value"] is None
    assert "no negatives of class ring" in made.warnings[0]
    assert "<td>none</td>" in made.html


def test_a_claim_about_drawn_galaxies_says_so(negatives, calibration, made):
    drawn = section(negatives, calibration=calibration, pictures="", simulated=True)
    assert "simulated" in drawn.verdicts[0].claim
    assert "simulated" not in made.verdicts[0].claim
