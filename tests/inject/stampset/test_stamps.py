"""task=stamps on one process: what is rendered, which rows fail and why, and what is refused before rendering."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dhs.commands.stamps import StampsProgress
from dhs.commands.stamps import stamps as command
from dhs.inject.build import build_painter
from dhs.inject.painter import Painter
from dhs.inject.recipe import RecipeBatch
from dhs.inject.stampset.job import Progress, make_stamps
from dhs.inject.stampset.manifest_file import ManifestFile
from dhs.inject.stampset.plan import plan_parts
from tests.inject.stampset.files import digests, ledger, parts, stamps_of, table_of
from tests.inject.stampset.rows import write_manifest


def silent(state):
    """No report."""


def with_column(rows, name, values):
    return rows.set_column(rows.column_names.index(name), name, pa.array(values, rows[name].type))


@pytest.fixture(scope="module")
def made(stamps_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    make_stamps(stamps_config(folder), report=silent)
    return folder


@pytest.fixture(scope="module")
def painter(stamps_config, tmp_path_factory):
    return build_painter(stamps_config(tmp_path_factory.mktemp("none")))


def test_every_row_of_the_manifest_is_there_once_with_the_painters_stamp(made, rows, painter):
    table = table_of(made)
    assert table["task_id"].to_pylist() == rows["task_id"].to_pylist()
    for name in rows.column_names:
        assert table[name].combine_chunks().equals(rows[name].combine_chunks()) or np.array_equal(
            table[name].to_numpy(), rows[name].to_numpy(), equal_nan=True
        ), name
    columns = {name: rows[name].to_numpy() for name in rows.column_names}
    recipes = RecipeBatch.from_columns(columns | {"row": painter.cutouts.rows_of(columns["target_id"])})
    wanted = painter.stamps(recipes, measure=True)
    got = stamps_of(made)
    assert got.ok.all() and torch.equal(got.images, wanted.images) and torch.equal(got.good, wanted.good)
    np.testing.assert_array_equal(got.columns["lensed_hlr_arcsec"], wanted.measures.lensed_hlr_arcsec)
    injected = columns["injected"].astype(bool)
    assert 0 < injected.sum() < 60
    own = torch.from_numpy(np.asarray(painter.cutouts.images[recipes.row]))
    assert torch.equal(got.images[~injected], own[~injected])  # a control is its galaxy
    assert (got.images[injected] - own[injected]).amax(dim=(1, 2, 3)).min() > 0


def test_parts_hold_runs_of_one_split_and_the_ledger_describes_them(made, rows, manifest):
    planned = plan_parts(ManifestFile(str(manifest)), rows_per_part=8)
    assert [part.n_rows for part in planned] == [8, 8, 4] * 3 and len(parts(made)) == 9
    for part, entry in zip(planned, ledger(made), strict=True):
        table = pq.ParquetFile(made / part.path).read()
        wanted = rows["task_id"].to_pylist()[part.first_row : part.first_row + part.n_rows]
        assert table["task_id"].to_pylist() == wanted and set(table["split"].to_pylist()) == {part.split}
        assert entry["first_row"] == part.first_row and entry["n_ok"] == entry["n_rows"] == part.n_rows
        assert entry["n_bytes"] == (made / part.path).stat().st_size
    assert json.loads((made / "_SUCCESS.json").read_text())["splits"]["val"] == {"n_parts": 3, "n_rows": 20, "n_ok": 20}


def test_row_groups_and_compression_are_the_configured_ones(made, stamps_config, tmp_path):
    about = pq.ParquetFile(parts(made)[0]).metadata
    assert [about.row_group(i).num_rows for i in range(about.num_row_groups)] == [4, 4]
    assert about.row_group(0).column(2).compression == "ZSTD"
    options = ("task.compression=gzip", "task.compression_level=6", "task.image_type=tensor", "task.row_group_size=8")
    make_stamps(stamps_config(tmp_path / "gzip", *options), report=silent)
    about = pq.ParquetFile(parts(tmp_path / "gzip")[0]).metadata
    assert about.num_row_groups == 1 and about.row_group(0).column(2).compression == "GZIP"
    other = table_of(tmp_path / "gzip")
    assert other.schema.field("image").type.shape == [3, 64, 64]
    assert torch.equal(stamps_of(tmp_path / "gzip").images, stamps_of(made).images)
    make_stamps(stamps_config(tmp_path / "none", "task.compression=none", "task.measure=false"), report=silent)
    assert pq.ParquetFile(parts(tmp_path / "none")[0]).metadata.row_group(0).column(2).compression == "UNCOMPRESSED"
    assert "image_count" not in table_of(tmp_path / "none").column_names


def test_the_bytes_do_not_depend_on_the_number_of_processes(made, stamps_config, tmp_path):
    make_stamps(stamps_config(tmp_path / "two", "engine.num_processes=2"), report=silent)
    assert digests(tmp_path / "two") == digests(made)


def test_pixels_do_not_depend_on_the_parts(made, stamps_config, tmp_path):
    make_stamps(stamps_config(tmp_path / "other", "task.rows_per_part=60"), report=silent)
    assert torch.equal(stamps_of(tmp_path / "other").images, stamps_of(made).images)


def test_one_bad_row_fails_alone_and_says_why(stamps_config, rows, tmp_path):
    index = rows["source_index"].to_numpy().copy()
    bad = int(np.flatnonzero(rows["injected"].to_numpy())[5])
    index[bad] = 10**6
    wrong = write_manifest(tmp_path / "m.parquet", with_column(rows, "source_index", index))
    config = stamps_config(tmp_path / "set", "task.max_failed_fraction=0.5", of=wrong)
    result = make_stamps(config, report=silent)
    assert result["failures"] == {"render_error": 1} and result["n_ok"] == 59
    table = table_of(tmp_path / "set")
    assert table["reason"][bad].as_py().startswith("render_error: IndexError: ")
    assert table["image"].null_count == 1 and not table["image"][bad].is_valid
    assert [e["failed"][0].split(":")[0] for e in ledger(tmp_path / "set") if e["failed"]] == [
        rows["task_id"][bad].as_py()
    ]


def test_a_recipe_that_is_not_finite_gives_no_stamp(stamps_config, rows, tmp_path):
    mag = rows["source_g_mag"].to_numpy().copy()
    bad = int(np.flatnonzero(rows["injected"].to_numpy())[0])
    mag[bad] = np.nan
    wrong = write_manifest(tmp_path / "m.parquet", with_column(rows, "source_g_mag", mag))
    make_stamps(stamps_config(tmp_path / "set", "task.max_failed_fraction=0.5", of=wrong), report=silent)
    table = table_of(tmp_path / "set")
    assert table["reason"][bad].as_py() == "not_finite" and table["cutout_ok"].to_numpy().sum() == 59


def test_a_cutout_unfit_for_use_gives_no_stamp(stamps_config, tmp_path):
    options = ("task.quality.max_bad_stamp=0.0", "task.max_failed_fraction=1.0")
    make_stamps(stamps_config(tmp_path / "set", *options), report=silent)
    table = table_of(tmp_path / "set")
    reasons = set(table["reason"].to_pylist())
    assert "cutout_masked" in reasons and reasons <= {"", "cutout_masked", "cutout_masked_centre"}
    got = stamps_of(tmp_path / "set")
    assert got.good[torch.from_numpy(got.ok)].all()


def test_too_many_failures_stop_the_job_and_a_retry_mends_it(made, stamps_config, tmp_path, monkeypatch):
    def broken(self, recipes, *, measure=False):
        raise RuntimeError("out of luck")

    config = stamps_config(tmp_path / "set")
    monkeypatch.setattr(Painter, "stamps", broken)
    with pytest.raises(ValueError, match=r"60 of 60 rows failed \(60 render_error; .*out of luck.*max_failed_fraction"):
        make_stamps(config, report=silent)
    assert not (tmp_path / "set" / "_SUCCESS.json").exists()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="60 of 60 rows failed"):  # finished parts are kept, failed ones too
        make_stamps(config, report=silent)
    make_stamps(stamps_config(tmp_path / "set", "task.retry_failed=true"), report=silent)
    assert digests(tmp_path / "set") == digests(made)


def test_galaxies_that_the_sky_lacks_are_found_before_rendering(stamps_config, rows, tmp_path, monkeypatch):
    target = rows["target_id"].to_numpy().copy()
    target[[4, 50]] = 777_000, 888_000
    wrong = write_manifest(tmp_path / "m.parquet", with_column(rows, "target_id", target))
    with monkeypatch.context() as patched:
        patched.setattr(Painter, "stamps", lambda *_, **__: pytest.fail("rendered"))
        with pytest.raises(ValueError, match=r"2 of 60 rows .* sky = mock does not have \(target_id 777000, 888000\)"):
            make_stamps(stamps_config(tmp_path / "set", of=wrong), report=silent)
    result = make_stamps(stamps_config(tmp_path / "kept", "task.missing=record", of=wrong), report=silent)
    assert result["failures"] == {"not_in_sky": 2} and result["n_rows"] == 60


def test_a_job_of_other_pixels_is_refused_in_the_same_folder(made, stamps_config):
    before = digests(made)
    for other, named in (
        ("psf.beta=2.5", "psf.beta"),
        ("task.rows_per_part=16", "format.rows_per_part"),
        ("renderer.supersampling=2", "renderer.supersampling"),
    ):
        with pytest.raises(ValueError, match=rf"holds the stamps of another job \(other {named}\)"):
            make_stamps(stamps_config(made, other), report=silent)
    assert digests(made) == before


def test_another_manifest_is_refused_in_the_same_folder(made, stamps_config, rows, tmp_path):
    other = write_manifest(tmp_path / "m.parquet", rows.slice(0, 40))
    with pytest.raises(ValueError, match="other manifest_sha256"):
        make_stamps(stamps_config(made, of=other), report=silent)


def test_another_source_than_the_manifests_is_refused(stamps_config, rows, tmp_path):
    about = {"schema_version": 1, "configuration": stamps_config(tmp_path).model_dump(mode="json")}
    held = rows.replace_schema_metadata({b"dhs_manifest": json.dumps(about).encode()})
    own = write_manifest(tmp_path / "m.parquet", held)
    with pytest.raises(ValueError, match=r"source.n_sources: not as in task.manifest"):
        make_stamps(stamps_config(tmp_path / "set", "source.n_sources=41", of=own), report=silent)
    make_stamps(stamps_config(tmp_path / "set", of=own), report=silent)
    taken = ("source.n_sources=41", "task.other_source=take")
    make_stamps(stamps_config(tmp_path / "taken", *taken, of=own), report=silent)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda rows: rows.replace_schema_metadata(None), "no manifest"),
        (lambda rows: rows.drop_columns("phi_rad"), "column 'phi_rad'"),
        (lambda rows: rows.slice(0, 0), "has no rows"),
        (lambda rows: with_column(rows, "split", ["train", "val"] * 30), "sort its rows by split"),
        (lambda rows: with_column(rows, "split", ["south"] * 60), "split 'south'"),
        (lambda rows: rows.append_column("image", pa.nulls(60)), "column 'image'"),
        (lambda rows: with_column(rows, "source_index", [None] * 60), "'source_index' must be whole numbers"),
    ],
)
def test_a_table_that_is_no_manifest_is_one_line(stamps_config, rows, tmp_path, spoil, line):
    wrong = write_manifest(tmp_path / "m.parquet", spoil(rows))
    with pytest.raises(ValueError, match=line) as error:
        make_stamps(stamps_config(tmp_path / "set", of=wrong), report=silent)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_parquet_is_one_line(stamps_config, tmp_path):
    (tmp_path / "m.parquet").write_text("not parquet")
    with pytest.raises(ValueError, match=r"task.manifest = .*m.parquet: Parquet"):
        make_stamps(stamps_config(tmp_path / "set", of=tmp_path / "m.parquet"), report=silent)


def test_the_command_says_what_became_of_the_rows(stamps_config, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dhs.commands.stamps.log.propagate", True)
    with caplog.at_level("INFO", logger="dhs"):
        assert command(stamps_config(tmp_path / "set")) == 0
    assert "60 of 60 rows have a stamp; failed: none" in caplog.text and "9 parts" in caplog.text


def test_progress_tells_rate_time_to_go_and_failures(monkeypatch, caplog):
    clock = iter([0.0, 30.0, 40.0])  # made, first part, second part
    monkeypatch.setattr("dhs.commands.stamps.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("dhs.commands.stamps.log.propagate", True)
    with caplog.at_level("INFO", logger="dhs"):
        progress = StampsProgress()
        progress(Progress(100, 1000, 0))
        progress(Progress(600, 1000, 3))
    assert caplog.messages == ["stamps: 100/1000, 0 failed", "stamps: 600/1000, 50/s, 8 s to go, 3 failed"]
