"""The Parquet file: its columns, row groups and metadata, written once and whole, the same bytes again."""

import errno
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dhs.inject.manifest import run
from dhs.inject.manifest.run import make_manifest
from dhs.inject.manifest.summary import PERCENTILES, Histogram
from dhs.inject.manifest.table import read_metadata
from dhs.rng import Purpose
from tests.inject.manifest.conftest import columns_of, config_of, galaxy_list, nothing

FIRST = ["task_id", "split", "design", "cell", "replicate", "pair_id", "ra_deg", "dec_deg", "kind", "key_seed"]


def test_columns_row_groups_and_metadata(make, tmp_path):
    table = make("task/design=grid_sota", "task.design.cells_per_galaxy=30")
    file = pq.ParquetFile(tmp_path / "m.parquet")
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups[:-1] == [4096] * (len(groups) - 1)
    assert len(groups) > 1
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert table.column_names[:10] == FIRST
    assert "row" not in table.column_names
    assert table.schema.field("cell").type == table.schema.field("replicate").type == pa.int32()
    columns = columns_of(table)
    assert set(columns["key_purpose"]) == {int(Purpose.MANIFEST)}
    assert set(columns["key_epoch"]) == {0}
    assert columns["key_index"].min() >= 0
    assert table["pair_id"].null_count == table.num_rows
    assert set(columns["cell"][~columns["injected"]]) == {-1}
    about = read_metadata(tmp_path / "m.parquet")
    assert about["schema_version"] == 1
    assert about["seed"] == 1
    assert about["configuration"]["task"]["design"]["axes"]["dmag"] == [0.5, 1.0, 1.5, 2.0]
    assert about["configuration"]["lens"]["name"] == "uniform"
    assert sum(about["rows"].values()) == table.num_rows
    assert "numpy" in about["versions"]["packages"]
    firsts = np.unique(columns["split"], return_counts=True)
    assert dict(zip(*firsts, strict=True)) == about["rows"]


def test_the_same_command_gives_the_same_bytes(make, tmp_path):
    make("task/design=prior")
    first = (tmp_path / "m.parquet").read_bytes()
    make("task/design=prior", output="again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == first


def test_the_name_appears_only_when_the_file_is_whole(make, tmp_path, monkeypatch):
    def dies(*arguments, **named):
        blocks = blocks_of(*arguments, **named)
        yield next(blocks)
        raise OSError(errno.ENOSPC, "No space left on device")

    blocks_of = run._blocks
    monkeypatch.setattr(run, "_blocks", dies)
    with pytest.raises(ValueError, match=r"task.output = .*m.parquet: cannot be written .*No space left"):
        make("task/design=prior")
    assert [path.name for path in tmp_path.iterdir()] == ["targets.parquet"]


def test_a_folder_that_is_a_file_is_one_line(make, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        make("task/design=prior", output="file/m.parquet")


def test_a_manifest_of_another_configuration_is_not_replaced(make, tmp_path):
    make("task/design=prior")
    before = (tmp_path / "m.parquet").read_bytes()
    given = ["task/design=prior", f"task.targets={tmp_path}/targets.parquet"]
    config = config_of(tmp_path / "m.parquet", *given, "seed=3")
    with pytest.raises(ValueError, match=r"holds a manifest of another configuration \(seed\).*overwrite=true"):
        make_manifest(config, config.task, sky_progress=nothing, progress=nothing)
    assert (tmp_path / "m.parquet").read_bytes() == before
    same = config_of(tmp_path / "m.parquet", *given, "task.estimate.cores=8")
    make_manifest(same, same.task, sky_progress=nothing, progress=nothing)
    assert (tmp_path / "m.parquet").read_bytes() == before


def test_another_file_is_not_replaced(tmp_path):
    pq.write_table(galaxy_list(), tmp_path / "targets.parquet")
    (tmp_path / "m.parquet").write_text("my notes")
    config = config_of(tmp_path / "m.parquet", f"task.targets={tmp_path}/targets.parquet")
    with pytest.raises(ValueError, match="no manifest of ours"):
        make_manifest(config, config.task, sky_progress=nothing, progress=nothing)
    assert (tmp_path / "m.parquet").read_text() == "my notes"


def test_the_summary_counts_what_is_in_the_file(make, tmp_path):
    table = columns_of(make("task/design=grid_sota", "task.design.cells_per_galaxy=3"))
    summary = json.loads((tmp_path / "m.summary.json").read_text())
    assert summary == make.summary
    injected = table["injected"]
    for split, numbers in summary["splits"].items():
        mine = table["split"] == split
        assert numbers["rows"] == mine.sum()
        assert numbers["injected"] == (mine & injected).sum()
        assert numbers["controls"] == (mine & ~injected).sum()
        assert numbers["galaxies"] == len(np.unique(table["target_id"][mine]))
        assert numbers["cells"]["filled"] == len(np.unique(table["cell"][mine & injected]))
        assert numbers["cells"]["hosts_reused"] == 0
        psf, theta = table["psf_fwhm_r_arcsec"][mine & injected], table["theta_e_arcsec"][mine & injected]
        for name, values in (
            ("source_r_mag", table["source_r_mag"][mine & injected]),
            ("psf_fwhm_r_arcsec", psf),
            ("theta_e_over_psf_r", theta / psf),
        ):
            wanted = np.percentile(values, PERCENTILES, method="inverted_cdf")
            np.testing.assert_allclose(list(numbers["percentiles"][name].values()), wanted, atol=0.003, err_msg=name)
    expected = summary["stamps"]
    assert expected["bytes"] == 46_000 * len(injected)
    assert expected["seconds"] == pytest.approx(len(injected) / 400)
    assert any("brighter than r = 22" in warning for warning in summary["warnings"])


def test_percentiles_of_a_histogram_are_numpys_to_a_bin():
    values = np.random.default_rng(3).normal(3.0, 1.0, 5000).clip(0, 6.4)
    histogram = Histogram(0.0, 6.5, 0.001)
    for part in np.array_split(values, 7):
        histogram.add(part)
    for percent in PERCENTILES:
        wanted = np.percentile(values, percent, method="inverted_cdf")
        assert histogram.percentile(percent) == pytest.approx(wanted, abs=0.001)
    assert Histogram(0.0, 1.0, 0.1).percentile(50) is None
