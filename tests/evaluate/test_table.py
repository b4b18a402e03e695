"""The contract of scores.parquet: what is refused, in one line, and what "visible" means."""

import numpy as np
import pyarrow as pa
import pytest

from dhs.evaluate.table import SCORE_SCHEMA, column, read_scores, validate_scores, visible_mask, write_scores


def with_column(table, name, values, kind=None):
    field = pa.field(name, kind or SCORE_SCHEMA.field(name).type)
    return table.set_column(table.column_names.index(name), field, pa.array(values, type=field.type))


def edited(table, name, *, row, value):
    values = table.column(name).to_pylist()
    values[row] = value
    return with_column(table, name, values)


def test_a_written_table_is_read_back_unchanged(test_scores, tmp_path):
    path = tmp_path / "scores.parquet"
    write_scores(test_scores, path=path)
    again = read_scores(path)
    assert again.schema == SCORE_SCHEMA
    for name in SCORE_SCHEMA.names:
        np.testing.assert_array_equal(column(again, name), column(test_scores, name))


def test_columns_in_another_order_and_extra_ones_are_accepted(test_scores):
    shuffled = test_scores.select(SCORE_SCHEMA.names[::-1]).append_column("note", pa.array(["x"] * len(test_scores)))
    assert validate_scores(shuffled, where="x").schema == SCORE_SCHEMA


BROKEN = {
    "missing column": (lambda t: t.drop_columns(["arc_snr_sum_g"]), "missing column.* arc_snr_sum_g"),
    "wrong type": (
        lambda t: with_column(t, "logit", t.column("logit").to_pylist(), pa.float64()),
        "logit is double: must be float",
    ),
    "NaN logit": (lambda t: edited(t, "logit", row=7, value=float("nan")), "logit: 1 of 2100 are NaN or infinite"),
    "infinite logit": (lambda t: edited(t, "logit", row=7, value=float("inf")), "logit: 1 of 2100"),
    "null": (lambda t: edited(t, "theta_e_arcsec", row=2000, value=None), "theta_e_arcsec has nulls"),
    "no negatives": (lambda t: t.slice(0, 900), "no negatives .* needs both labels"),
    "no positives": (lambda t: t.slice(900), "no positives .* needs both labels"),
    "stray label": (lambda t: edited(t, "label", row=0, value=2), "label = 2: allowed are 0"),
    "stray class": (lambda t: edited(t, "kind", row=0, value="quasar"), "kind = 'quasar': allowed are lrg"),
    "arc without theta_E": (lambda t: edited(t, "theta_e_arcsec", row=0, value=float("nan")), "1 of 900 positives"),
    "no seeing": (lambda t: edited(t, "psf_fwhm_r_arcsec", row=0, value=0.0), "must be above 0 arcsec"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_refused_in_one_line(test_scores, case):
    breaks, message = BROKEN[case]
    with pytest.raises(ValueError, match=message) as caught:
        validate_scores(breaks(test_scores), where="scores.parquet")
    assert str(caught.value).startswith("scores.parquet: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_file_that_is_no_parquet_say_so(tmp_path):
    with pytest.raises(ValueError, match="no such file; evaluate.py writes"):
        read_scores(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("not parquet at all")
    with pytest.raises(ValueError, match="not a Parquet file"):
        read_scores(tmp_path / "text.parquet")


def test_visible_needs_an_arc_resolved_and_bright_in_g(test_scores):
    rows = test_scores.slice(0, 4)
    table = pa.concat_tables([rows, test_scores.slice(900, 1)])
    table = with_column(table, "psf_fwhm_r_arcsec", [1.0] * 5)
    table = with_column(table, "theta_e_arcsec", [1.3, 1.3, 1.1, 1.1, np.nan])
    table = with_column(table, "arc_snr_sum_g", [26.0, 24.0, 26.0, 24.0, np.nan])
    np.testing.assert_array_equal(visible_mask(table), [True, False, False, False, False])
