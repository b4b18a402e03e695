"""A part as a table: what goes in comes out, with every column that the format promises."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dhs.inject.stampset.schema import METADATA_KEY, part_schema, part_table, read_stamps, stamps_metadata
from tests.inject.stampset.rows import manifest_table, recipes_of

PROVENANCE = {"manifest_sha256": "0" * 64, "configuration": {}, "versions": {}}
FAILED = np.array([3, 17])


@pytest.fixture(scope="module")
def rows(small_injector):
    return manifest_table(small_injector, n_rows=48)


@pytest.fixture(scope="module")
def stamps(rows, small_injector):
    return small_injector.painter.stamps(recipes_of(rows, small_injector), measure=True)


def as_table(rows, stamps, injector, *, image_type="list", measure=True, failed=FAILED):
    where = np.setdiff1d(np.arange(rows.num_rows), failed)
    sky_row = injector.cutouts.rows_of(rows["target_id"].to_numpy())
    sky_row[failed] = -1
    schema = part_schema(
        rows.schema,
        size_px=64,
        image_type=image_type,
        measure=measure,
        metadata=stamps_metadata(size_px=64, provenance=PROVENANCE),
    )
    return part_table(
        rows,
        stamps=stamps.take(where) if len(where) else None,
        where=where,
        reason=np.full(rows.num_rows, "not_in_sky", object),
        sky_row=sky_row,
        cutouts=injector.cutouts,
        source=injector.source,
        schema=schema,
    )


@pytest.mark.parametrize("image_type", ["list", "tensor"])
def test_pixels_and_columns_survive_a_parquet_file(rows, stamps, small_injector, tmp_path, image_type):
    table = as_table(rows, stamps, small_injector, image_type=image_type)
    pq.write_table(table, tmp_path / "part.parquet", compression="zstd")
    read = pq.read_table(tmp_path / "part.parquet")
    assert read.schema.field("image").type == table.schema.field("image").type
    back = read_stamps(read)
    assert back.ok.sum() == 46 and not back.ok[FAILED].any()
    ok = torch.from_numpy(back.ok)
    assert torch.equal(back.images[ok], stamps.images[ok]) and torch.equal(back.good[ok], stamps.good[ok])
    assert not back.images[~ok].any() and not back.good[~ok].any()
    for name, column in stamps.columns().items():
        if name != "row" and not name.startswith("n_rejected"):
            np.testing.assert_array_equal(back.columns[name][back.ok], column[back.ok], err_msg=name)


def test_the_columns_stand_in_the_order_of_the_format(rows, stamps, small_injector):
    names = as_table(rows, stamps, small_injector).column_names
    assert names[:6] == ["task_id", "split", "image", "bad_pixels", "cutout_ok", "reason"]
    others = [name for name in rows.column_names if name not in ("task_id", "split")]
    assert names[6 : 6 + len(others)] == others
    assert names[-11:] == [
        *(f"psfsize_{b}_arcsec" for b in "grz"), *(f"psfdepth_{b}_mag" for b in "grz"), *(f"mag_{b}" for b in "grz"),
        "redshift", "origin",
    ]  # fmt: skip
    assert len(set(names)) == len(names) and "row" not in names


def test_a_failed_row_stays_with_its_reason_and_no_pixels(rows, stamps, small_injector):
    table = as_table(rows, stamps, small_injector)
    for row in FAILED.tolist():
        one = table.slice(row, 1).to_pylist()[0]
        assert one["image"] is None and one["bad_pixels"] is None and one["cutout_ok"] is False
        assert one["reason"] == "not_in_sky" and one["task_id"] == rows["task_id"][row].as_py()
        assert np.isnan(one["magnification"]) and np.isnan(one["psfsize_r_arcsec"]) and one["image_count"] == -1
        assert one["theta_e_arcsec"] == rows["theta_e_arcsec"][row].as_py() or np.isnan(one["theta_e_arcsec"])
    assert set(table["reason"].to_pylist()) == {"", "not_in_sky"}


def test_a_part_in_which_every_row_failed_has_the_same_schema(rows, stamps, small_injector):
    whole = as_table(rows, stamps, small_injector)
    none = as_table(rows, stamps, small_injector, failed=np.arange(rows.num_rows))
    assert none.schema.equals(whole.schema, check_metadata=True) and none["image"].null_count == rows.num_rows


def test_arc_snr_is_the_best_bands_and_controls_say_nothing(rows, stamps, small_injector):
    columns = read_stamps(as_table(rows, stamps, small_injector, failed=np.zeros(0, int))).columns
    injected = columns["injected"].astype(bool)
    assert injected.any() and not injected.all()
    best = np.max([columns[f"arc_snr_sum_{b}"] for b in "grz"], axis=0)
    np.testing.assert_array_equal(columns["arc_snr_sum"], best)
    assert np.isfinite(columns["arc_snr"][injected]).all() and np.isnan(columns["arc_snr"][~injected]).all()
    assert set(columns["source_kind"][injected]) == {"clumpy"} and set(columns["source_kind"][~injected]) == {""}
    np.testing.assert_array_equal(columns["source_own_index"], columns["source_index"])


def test_bad_pixels_are_packbits_of_what_may_not_be_used(rows, stamps, small_injector):
    table = as_table(rows, stamps, small_injector, failed=np.zeros(0, int))
    row = int(np.argmin(stamps.good.numpy().reshape(48, -1).mean(axis=1)))
    assert not stamps.good[row].all(), "needs a stamp with bad pixels"
    assert table["bad_pixels"][row].as_py() == np.packbits(~stamps.good[row].numpy()).tobytes()


def test_a_column_that_the_manifest_has_is_not_computed_again(rows, stamps, small_injector):
    asked = rows.append_column("source_hlr_arcsec", pa.array(np.full(48, 0.123, np.float32)))
    table = as_table(asked, stamps, small_injector)
    assert table.column_names.count("source_hlr_arcsec") == 1
    assert set(table["source_hlr_arcsec"].to_pylist()) == {float(np.float32(0.123))}


def test_the_metadata_says_what_the_pixels_are(rows, stamps, small_injector):
    about = json.loads(as_table(rows, stamps, small_injector).schema.metadata[METADATA_KEY])
    assert about["bands"] == "grz" and about["pixel_scale_arcsec"] == 0.262 and about["stamp_size_px"] == 64
    assert about["unit"] == "nMgy per pixel" and about["image_layout"] == "(band, y, x)"


def test_without_measures_their_columns_are_absent(rows, stamps, small_injector):
    table = as_table(rows, stamps, small_injector, measure=False)
    assert "image_count" not in table.column_names and "arc_snr" in table.column_names


@pytest.mark.parametrize(("change", "word"), [("reason", "rename"), ("task_id", "missing")])
def test_a_table_that_is_no_manifest_is_refused(rows, stamps, small_injector, change, word):
    wrong = rows.append_column("reason", pa.array(["x"] * 48)) if change == "reason" else rows.drop_columns(change)
    with pytest.raises(ValueError, match=f"{change}.*{word}"):
        as_table(wrong, stamps, small_injector)


def test_a_table_without_the_formats_metadata_is_not_read(rows):
    with pytest.raises(ValueError, match="no stamps of dhs"):
        read_stamps(rows)
