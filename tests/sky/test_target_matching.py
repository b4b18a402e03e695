"""Matching: the negatives that stay have the positives' depth, exposures, seeing and types."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from dhs.config.targets import Matching
from dhs.sky.matching import REPORTED, Columns, affordable_ratio, match_negatives

MATCHING = Matching(variables=("psfdepth_r_mag", "psfsize_r_arcsec", "nobs_z"), n_bins=4, match_type=True, coverage=0.9)


def survey(n_positives: int = 3000, n_negatives: int = 20_000, *, shift: float = 1.0, seed: int = 0) -> Columns:
    """Positives, controls, and edge-on negatives from deeper sky with better seeing and other types."""
    rng = np.random.default_rng(seed)
    n = 2 * n_positives + n_negatives
    negative = np.arange(n) >= 2 * n_positives
    late, mixed = rng.choice(["EXP", "SER"], n, p=[0.9, 0.1]), rng.choice(["DEV", "EXP", "SER"], n, p=[0.5, 0.1, 0.4])
    depth = rng.normal(0, 1, n) + shift * negative
    columns: Columns = {
        "target_id": np.arange(n) + (10 << 42),
        "kind": np.where(negative, "edge_on", "lrg"),
        "role": np.where(negative, "negative", np.where(np.arange(n) % 2, "control", "injection")),
        "type": np.where(negative, late, mixed),
    }
    for band, zero in zip("grz", (24.2, 23.7, 22.9), strict=True):
        columns[f"psfdepth_{band}_mag"] = zero + 0.3 * depth
        columns[f"psfsize_{band}_arcsec"] = 1.2 - 0.08 * depth + rng.normal(0, 0.1, n)
        columns[f"nobs_{band}"] = np.clip(np.round(4 + depth + rng.normal(0, 1, n)), 1, 12).astype(int)
    return columns


def distances(columns: Columns, keep: np.ndarray) -> dict[str, float]:
    positive, negative = columns["role"] == "injection", keep & (columns["role"] == "negative")
    return {name: ks_2samp(columns[name][positive], columns[name][negative]).statistic for name in REPORTED}


def test_matched_negatives_have_the_conditions_of_the_positives() -> None:
    columns = survey()
    keep, report = match_negatives(columns, config=MATCHING)
    before, after = distances(columns, np.ones(len(keep), bool)), distances(columns, keep)
    for name in MATCHING.variables:
        assert before[name] > 0.2
        assert after[name] < 0.4 * before[name], name
    about = report.classes["edge_on"]
    assert about["n_before"] == 20_000
    assert about["n_after"] == (keep & (columns["role"] == "negative")).sum() > 500
    assert keep[columns["role"] != "negative"].all()


def test_the_table_shows_what_scipy_measures_before_and_after() -> None:
    columns = survey()
    keep, report = match_negatives(columns, config=MATCHING)
    before, after = distances(columns, np.ones(len(keep), bool)), distances(columns, keep)
    rows = {row.variable: row for row in report.rows}
    assert set(rows) == {*REPORTED, "type"}
    for name in REPORTED:
        assert (rows[name].before_distance, rows[name].after_distance) == pytest.approx((before[name], after[name]))
        negative = columns["role"] == "negative"
        assert rows[name].before_median == pytest.approx(np.median(columns[name][negative]))
        assert rows[name].after_median == pytest.approx(np.median(columns[name][negative & keep]))


def test_types_are_matched_as_far_as_the_class_has_them() -> None:
    """Positives of EXP and SER are 1:4, negatives 9:1; DEV (half of the positives) cannot be matched and is said so."""
    columns = survey()
    keep, report = match_negatives(columns, config=MATCHING)
    left = columns["type"][keep & (columns["role"] == "negative")]
    assert (left == "SER").mean() == pytest.approx(0.8, abs=0.05)
    assert report.classes["edge_on"]["positives_without_type"] == pytest.approx(0.5, abs=0.03)
    loose, _ = match_negatives(columns, config=MATCHING.model_copy(update={"match_type": False}))
    assert (columns["type"][loose & (columns["role"] == "negative")] == "SER").mean() == pytest.approx(0.1, abs=0.03)


def test_without_matching_nothing_is_left_out_and_the_table_still_shows_the_mismatch() -> None:
    columns = survey()
    keep, report = match_negatives(columns, config=MATCHING.model_copy(update={"enabled": False}))
    assert keep.all()
    rows = {row.variable: row for row in report.rows}
    assert rows["psfdepth_r_mag"].after_distance == rows["psfdepth_r_mag"].before_distance > 0.2


def test_matching_does_not_depend_on_the_order_of_rows() -> None:
    columns = survey(600, 4000)
    keep, _ = match_negatives(columns, config=MATCHING)
    order = np.random.default_rng(5).permutation(len(keep))
    shuffled, _ = match_negatives({name: values[order] for name, values in columns.items()}, config=MATCHING)
    assert np.array_equal(keep[order], shuffled)


def test_negatives_that_match_already_are_mostly_kept() -> None:
    columns = survey(shift=0.0)
    columns["type"][:] = "EXP"
    keep, _ = match_negatives(columns, config=MATCHING)
    assert keep[columns["role"] == "negative"].mean() > 0.7


def test_the_ratio_is_the_largest_that_the_covered_cells_afford() -> None:
    positives, negatives = np.array([10, 10, 70, 10, 0]), np.array([0, 50, 70, 20, 99])
    assert affordable_ratio(positives, negatives, coverage=0.9) == 1.0
    assert affordable_ratio(positives, negatives, coverage=0.2) == 2.0
    assert affordable_ratio(positives, negatives, coverage=0.1) == 5.0
    assert affordable_ratio(positives, negatives, coverage=1.0) == 0.0


def test_few_negatives_get_fewer_bins() -> None:
    _, report = match_negatives(survey(3000, 300), config=MATCHING)
    assert report.classes["edge_on"]["n_bins"] == 2
    _, report = match_negatives(survey(3000, 20_000), config=MATCHING)
    assert report.classes["edge_on"]["n_bins"] == 4


def test_no_positives_or_no_negatives_is_no_crash() -> None:
    columns = survey(300, 600)
    none = {name: values[columns["role"] != "injection"] for name, values in columns.items()}
    keep, report = match_negatives(none, config=MATCHING)
    assert keep.all() and np.isnan(report.rows[0].before_distance)
    hosts = {name: values[columns["role"] != "negative"] for name, values in columns.items()}
    keep, report = match_negatives(hosts, config=MATCHING)
    assert keep.all() and report.rows == []
