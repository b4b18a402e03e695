"""The summary states what the sample supports, and None with a reason for the rest."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import roc_auc_score

from dhs.constants import CLASSES
from dhs.evaluate.binned import THETA_E_OVER_PSF_EDGES, recall_by_bins
from dhs.evaluate.rows import rows_as_csv, summary_rows
from dhs.evaluate.summary import summarise
from dhs.evaluate.table import column, visible_mask

FPRS = (1e-2, 1e-3, 1e-4)


def summarised(test, val, *, threshold_logit=None, fprs=FPRS):
    return summarise(test, val, fprs=fprs, bootstrap_resamples=100, seed=1, threshold_logit=threshold_logit)


@pytest.fixture(scope="module")
def summary(test_scores, val_scores):
    return summarised(test_scores, val_scores)


def test_summary_is_json_without_nan(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_aurocs_equal_scikit_learn_for_all_and_for_visible_lenses_against_all_negatives(summary, test_scores):
    logit, label, visible = column(test_scores, "logit"), column(test_scores, "label"), visible_mask(test_scores)
    assert summary["all"]["auroc"]["value"] == pytest.approx(roc_auc_score(label, logit))
    rows = visible | (label == 0)
    assert summary["visible"]["auroc"]["value"] == pytest.approx(roc_auc_score(label[rows], logit[rows]))
    assert summary["visible"]["n_negatives"] == summary["all"]["n_negatives"] == 1200
    for name in ("all", "visible"):
        estimate = summary[name]["auroc"]
        assert estimate["low"] < estimate["value"] < estimate["high"]


def test_rates_the_sample_cannot_resolve_are_none_with_the_reason(summary):
    solid, weak, impossible = summary["all"]["tpr_at_fpr"]
    assert (solid["status"], weak["status"], impossible["status"]) == ("measured", "weak", "not resolvable")
    assert solid["value"] is not None
    assert "weak: 1.2 expected false positives" in weak["note"]
    assert impossible["value"] is impossible["low"] is impossible["threshold_logit"] is None
    assert impossible["note"] == "not resolvable with 1,200 negatives (needs at least 10,000)"
    assert any("0.0001: not resolvable" in warning for warning in summary["warnings"])


def test_tpr0_and_tpr10_count_lenses_above_the_first_and_the_tenth_negative(summary, test_scores):
    logit, label = column(test_scores, "logit"), column(test_scores, "label")
    worst_first = np.sort(logit[label == 0])[::-1]
    for name, nth in (("tpr0", 0), ("tpr10", 9)):
        assert summary["all"][name]["k"] == (logit[label == 1] > worst_first[nth]).sum()
    assert "none in 1,200 only bounds the FPR below 2.5e-03" in summary["all"]["tpr0"]["note"]


def test_the_threshold_of_the_bins_comes_from_the_calibration_negatives_alone(summary, test_scores, val_scores):
    calibration = np.sort(column(val_scores, "logit")[column(val_scores, "label") == 0])[::-1]
    point = summary["operating_point"]
    assert point["fpr"] == 1e-2
    assert point["threshold_logit"] == calibration[11]
    negative = column(test_scores, "logit")[column(test_scores, "label") == 0]
    assert point["fpr_on_test"]["k"] == (negative > calibration[11]).sum()
    shifted = test_scores.set_column(
        3, test_scores.schema.field(3), pc.add(test_scores.column(3), pa.scalar(1, pa.float32()))
    )
    assert summarised(shifted, val_scores)["operating_point"]["threshold_logit"] == calibration[11]


def test_bins_and_classes_account_for_every_stamp(summary):
    for key in ("by_theta_e_over_psf", "by_arc_snr_sum"):
        assert sum(cell["n"] for cell in summary[key]) == summary["counts"]["positives"]
        assert sum(cell["k"] for cell in summary[key]) == summary["all"]["recall_calibrated"][0]["k"]
    classes = summary["by_class"]["at_operating_point"]
    assert [cell["name"] for cell in classes] == list(CLASSES)
    assert sum(cell["n"] for cell in classes) == summary["counts"]["negatives"]
    assert sum(cell["k"] for cell in classes) == summary["operating_point"]["fpr_on_test"]["k"]


def test_an_empty_bin_says_so_instead_of_zero_percent():
    cells = recall_by_bins(
        np.array([1.0, -1.0]), values=np.array([1.3, 1.4]), edges=THETA_E_OVER_PSF_EDGES, threshold=0
    )
    assert cells[0].rate.value is None
    assert cells[0].rate.note == "no lenses in this bin"
    assert (cells[4].name, cells[4].rate.k, cells[4].rate.n) == ("1.2 - 1.5", 1, 2)


def test_a_value_outside_the_bins_is_not_dropped_in_silence():
    with pytest.raises(ValueError, match="1 of 2 values lie outside"):
        recall_by_bins(np.zeros(2), values=np.array([1.0, np.nan]), edges=(0.0, 2.0), threshold=0)


def test_a_missing_class_gives_one_warning_and_no_rate(test_scores, val_scores):
    without = test_scores.filter(pc.not_equal(test_scores.column("kind"), "ring"))
    summary = summarised(without, val_scores)
    ring = summary["by_class"]["at_operating_point"][CLASSES.index("ring")]
    assert (ring["value"], ring["n"], ring["note"]) == (None, 0, "no negatives of this class")
    assert [w for w in summary["warnings"] if "class ring" in w] == [
        "no negatives of class ring: contamination by them is unknown"
    ]


def test_without_visible_lenses_the_headline_is_not_measured(test_scores, val_scores):
    dark = test_scores.filter(pc.invert(pa.array(visible_mask(test_scores))))
    summary = summarised(dark, val_scores)
    assert summary["visible"]["auroc"]["value"] is None
    assert summary["all"]["auroc"]["value"] is not None
    assert any("no visible lenses" in warning for warning in summary["warnings"])
    json.dumps(summary, allow_nan=False)


def test_a_dead_network_is_called_out(test_scores, val_scores):
    constant = pa.array(np.zeros(len(test_scores), dtype=np.float32))
    summary = summarised(test_scores.set_column(3, test_scores.schema.field(3), constant), val_scores)
    assert summary["all"]["auroc"]["value"] == 0.5
    assert any("100.0% of the scores are tied" in warning for warning in summary["warnings"])


def test_repeated_galaxies_are_reported(test_scores, val_scores):
    doubled = pa.concat_tables([test_scores, test_scores])
    warnings = summarised(doubled, val_scores)["warnings"]
    assert any("900 of 1800 positives repeat a galaxy" in warning for warning in warnings)


def test_calibration_on_the_galaxies_of_the_test_is_refused(test_scores):
    with pytest.raises(ValueError, match="2100 galaxies are in both the calibration and the test"):
        summarised(test_scores, test_scores)


def test_a_threshold_must_come_from_one_place(test_scores, val_scores):
    with pytest.raises(ValueError, match="one of the two"):
        summarised(test_scores, None)
    with pytest.raises(ValueError, match="one of the two"):
        summarised(test_scores, val_scores, threshold_logit=0.0)
    explicit = summarised(test_scores, None, threshold_logit=1.5)
    assert explicit["operating_point"]["threshold_logit"] == 1.5
    assert explicit["all"]["recall_calibrated"] == []


def test_few_negatives_fall_back_on_p_half_and_say_it(make_scores):
    tiny, calibration = (
        make_scores(n_positives=8, n_negatives=12, seed=1),
        make_scores(n_positives=4, n_negatives=9, seed=2, first_id=100),
    )
    summary = summarised(tiny, calibration)
    assert summary["operating_point"]["threshold_logit"] == 0.0
    assert "resolve none of the stated FPRs" in summary["operating_point"]["threshold_from"]
    json.dumps(summary, allow_nan=False)


def test_equal_seeds_give_equal_summaries_and_another_seed_other_intervals(summary, test_scores, val_scores):
    assert summarised(test_scores, val_scores) == summary
    other = summarise(test_scores, val_scores, fprs=FPRS, bootstrap_resamples=100, seed=2)
    assert other["all"]["auroc"]["low"] != summary["all"]["auroc"]["low"]


def test_csv_has_one_row_for_every_number(summary):
    lines = rows_as_csv(summary_rows(summary)).splitlines()
    assert lines[0] == "quantity,subset,value,low,high,n,note"
    assert len(lines) == len({tuple(line.split(",")[:2]) for line in lines})
    unresolved = next(line for line in lines if line.startswith("tpr_at_fpr_0.0001,all,"))
    assert unresolved.startswith("tpr_at_fpr_0.0001,all,,,,900,")
