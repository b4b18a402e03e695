"""Thresholds, probabilities, reliability: against scikit-learn, by simulation, and able to say that they fail."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression

from dhs.config.evaluation import CalibrationConfig
from dhs.evaluate.calibration import calibrate, fit_isotonic, fit_temperature, thresholds_of
from dhs.evaluate.calibration_stage import section
from dhs.evaluate.drift import drift_p_value
from dhs.evaluate.held_out import require_disjoint, split_test
from dhs.evaluate.reliability import at_share, ece_estimate, expected_calibration_error, perfect_error, reliability
from dhs.evaluate.score_faults import precision_of, score_faults
from dhs.rng import Purpose, keyed_rng
from tests.evaluate.conftest import as_held_out, synthetic_scores

FPRS = (1e-1, 1e-2, 1e-4)


@pytest.fixture(scope="module")
def forecast():
    """Probabilities and labels that agree: 4,000 stamps."""
    rng = keyed_rng(7, Purpose.BENCHMARK, 0, 0)
    p = rng.beta(0.6, 1.4, 4000)
    return p, (rng.random(4000) < p).astype(int)


def test_isotonic_equals_scikit_learn_between_and_beyond_the_scores(forecast):
    p, label = forecast
    ours = fit_isotonic(logit(p), label)
    theirs = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(logit(p), label)
    at = np.linspace(-12, 12, 500)
    np.testing.assert_allclose(ours.probability(at), theirs.predict(at), atol=1e-12)


def test_temperature_finds_the_one_that_was_planted(forecast):
    p, label = forecast
    for planted in (0.3, 1.0, 4.0):
        fit = fit_temperature(logit(p) * planted, label)
        assert fit.temperature == pytest.approx(planted, rel=0.08)


def test_temperature_of_a_finder_that_ranks_backwards_is_refused(forecast):
    p, label = forecast
    with pytest.raises(ValueError, match="rank no better than chance"):
        fit_temperature(-logit(p), label)


def test_a_threshold_lets_the_allowed_number_pass_and_never_more_with_ties():
    rng = keyed_rng(3, Purpose.BENCHMARK, 0, 0)
    for negatives in (rng.normal(size=1000), rng.integers(0, 30, 1000).astype(float)):
        found, unresolved = thresholds_of(negatives, fprs=FPRS)
        assert list(unresolved) == [1e-4]
        assert "needs at least 10,000" in unresolved[1e-4]
        for threshold in found:
            assert (negatives > threshold.logit).sum() <= threshold.fpr * 1000
    assert [t.fpr for t in found] == [1e-1, 1e-2]


def test_reliability_and_ece_equal_scikit_learn_bins(forecast):
    p, label = forecast
    cells = reliability(p, label, bins=12)
    observed, mean_p = calibration_curve(label, p, n_bins=12, strategy="quantile")
    np.testing.assert_allclose([cell.mean_p for cell in cells], mean_p)
    np.testing.assert_allclose([cell.observed.value for cell in cells], observed)
    n = np.array([cell.observed.n for cell in cells])
    assert expected_calibration_error(p, label, bins=12) == pytest.approx(
        float((n * np.abs(observed - mean_p)).sum() / n.sum())
    )


def test_a_perfect_forecast_is_within_what_a_perfect_forecast_has_and_a_bent_one_is_not(forecast):
    p, label = forecast
    rng = keyed_rng(8, Purpose.BENCHMARK, 0, 0)
    for forecasts, holds in ((p, True), (expit(2.0 * logit(p)), False)):
        high = np.quantile(perfect_error(forecasts, bins=15, draws=200, rng=rng), 0.99)
        assert (expected_calibration_error(forecasts, label, bins=15) < high) == holds


def test_the_interval_of_a_large_calibration_error_covers_it():
    """Truth from a sample of 400,000; 100 samples of 500: 95% +- 2 sigma of the count."""
    rng = keyed_rng(9, Purpose.BENCHMARK, 0, 0)

    def sample(n):
        p = rng.beta(0.6, 1.4, n)
        return expit(2.5 * logit(p)), (rng.random(n) < p).astype(int)

    truth = expected_calibration_error(*sample(400_000), bins=10)
    covered = 0
    for _ in range(100):
        said, label = sample(500)
        found = ece_estimate(said, label, galaxy_id=np.arange(500), bins=10, resamples=100, rng=rng)
        covered += found.low <= truth <= found.high
    assert covered >= 88


def test_another_share_of_lenses_is_bayes_rule(forecast):
    p, label = forecast
    kept = (label == 0) | (np.arange(len(p)) % 10 == 0)  # a tenth of the lenses
    wanted = label[kept].mean()
    shifted = at_share(p, fitted=label.mean(), wanted=wanted)
    assert shifted[kept].mean() == pytest.approx(wanted, abs=0.01)
    np.testing.assert_allclose(at_share(p, fitted=0.3, wanted=0.3), p)
    assert at_share(np.array([0.0, 1.0]), fitted=0.3, wanted=1e-3).tolist() == [0.0, 1.0]


def test_drift_p_values_are_uniform_where_nothing_drifts_and_small_where_it_does():
    """The p of a discrete statistic is at most alpha with a chance of at most alpha."""
    rng = keyed_rng(10, Purpose.BENCHMARK, 0, 0)
    values = []
    for _ in range(400):
        calibration, test = rng.normal(size=500), rng.normal(size=800)
        threshold = np.sort(calibration)[::-1][25]
        values.append(drift_p_value(25, 500, passed=int((test > threshold).sum()), n_test=800))
    low = np.mean(np.array(values) < 0.05)
    assert stats.binom(400, 0.05).ppf(0.001) / 400 <= low <= stats.binom(400, 0.05).ppf(0.999) / 400
    assert drift_p_value(25, 500, passed=40, n_test=800) > 0.5
    assert drift_p_value(25, 500, passed=120, n_test=800) < 1e-4
    assert drift_p_value(25, 500, passed=5, n_test=800) < 1e-3


def rounded(values, tail):
    return (np.asarray(values, np.float32).view(np.uint32) & ~np.uint32(tail)).view(np.float32)


def test_bf16_and_half_precision_and_ties_are_told_from_float32():
    values = keyed_rng(11, Purpose.BENCHMARK, 0, 0).normal(size=2000).astype(np.float32)
    assert precision_of(values) == "float32"
    assert precision_of(rounded(values, 0xFFFF)) == "bf16"
    assert precision_of(rounded(values, 0x1FFF)) == "float16"
    assert score_faults(values, what="x") == []
    faults = score_faults(rounded(values, 0xFFFF), what="x")
    assert "tied" in faults[0]
    assert "bf16 precision" in faults[1]
    assert "tied" in score_faults(np.round(values, 2), what="x")[0]
    assert "all 9 scores are equal" in score_faults(np.full(9, 0.25), what="x")[0]


def test_galaxies_in_both_parts_are_refused_and_the_parts_of_the_test_sky_are_disjoint(make_scores):
    test = as_held_out(make_scores(n_positives=200, n_negatives=400, seed=1))
    with pytest.raises(ValueError, match="600 galaxies are in both"):
        require_disjoint(test, test)
    calibrates, claims = split_test(test, fraction=0.3)
    assert not set(calibrates["target_id"].to_pylist()) & set(claims["target_id"].to_pylist())
    assert len(calibrates) + len(claims) == len(test)
    assert len(calibrates) == pytest.approx(180, abs=60)


def calibrated(test, *, method="isotonic", shift=0.0, fprs=FPRS):
    val = synthetic_scores(n_positives=600, n_negatives=2000, seed=21, first_id=10**6)
    val = val.set_column(val.column_names.index("logit"), "logit", pa.array(_shifted(val, shift)))
    settings = CalibrationConfig(method=method)
    fitted = calibrate(as_held_out(val), fprs=fprs, settings=settings)
    return section(
        fitted, calibration_scores=as_held_out(val), test_scores=as_held_out(test), source="val", bins=10, seed=1
    )


def _shifted(table, shift):
    return (table["logit"].to_numpy() + np.float32(shift)).astype(np.float32)


@pytest.mark.parametrize("method", ["isotonic", "temperature"])
def test_the_section_states_thresholds_drift_and_errors_before_and_after(make_scores, method):
    made = calibrated(make_scores(n_positives=900, n_negatives=3000, seed=22), method=method)
    assert made.data["calibrated"]["ece"]["value"] < made.data["raw"]["ece"]["value"]
    assert [entry["fpr"] for entry in made.data["thresholds"]] == [1e-1, 1e-2]
    assert all(entry["drift_p"] > 1e-3 for entry in made.data["thresholds"])
    assert any("no threshold at FPR 0.0001" in warning for warning in made.warnings)
    assert any("chose the checkpoint" in warning for warning in made.warnings)
    assert {row.quantity for row in made.rows} >= {"ece", "fpr_reached_at_stated_fpr_0.1"}


def test_a_calibration_sky_of_other_negatives_is_found_out(make_scores):
    made = calibrated(make_scores(n_positives=900, n_negatives=3000, seed=22), shift=-1.0)
    assert all(entry["drift_p"] < 1e-3 for entry in made.data["thresholds"])
    assert any("quote the rate that was reached" in warning for warning in made.warnings)
