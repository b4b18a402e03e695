"""task=compact: every row once, the same bits, shuffled for good, whatever happens on the way."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from scipy import stats

from dhs.config.compact import CompactTask
from dhs.inject.stampset import compact_files, compact_job
from dhs.inject.stampset.compact_job import Summary, compact
from dhs.inject.stampset.read import open_stamp_set
from tests.inject.stampset.sets import N_PX, part_table, write_set, write_tables

SIZES = {"train": [50, 61, 70, 400, 33], "val": [90, 50], "test": [120]}
BOTH = pytest.mark.parametrize("format_", ["parquet", "webdataset"])


@pytest.fixture(scope="module")
def stamps(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "in", sizes=SIZES)


def run(source: Path | str, output: Path | str, *, seed: int = 3, **settings: Any) -> Summary:
    values = {"name": "compact", "input": str(source), "output": str(output), "rows_per_file": 200, "num_processes": 1}
    task = CompactTask.model_validate(values | settings)
    return compact(task, seed=seed, cache_dir=Path(f"{output}-cache"), progress=lambda what, done, total: None)


def rows_of(folder: Path) -> pa.Table:
    """All rows of a set as its readers see them."""
    found = open_stamp_set(folder, key="task.input")
    batches = [batch for part in found.parts for batch in found.batches(part, batch_rows=37)]
    return pa.Table.from_batches(batches).replace_schema_metadata(None)


def as_bytes(folder: Path) -> dict[str, bytes]:
    """What decides: data and index, without ledgers (they hold seconds)."""
    names = [path for path in folder.rglob("*") if path.suffix in (".parquet", ".tar")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


def same_rows(one: pa.Table, other: pa.Table) -> bool:
    """The same rows in any order, bit for bit (NaN equals NaN)."""
    one, other = (table.sort_by("task_id").combine_chunks() for table in (one, other))
    return one.schema == other.schema and all(_bits(one[name]) == _bits(other[name]) for name in one.column_names)


def _bits(column: pa.ChunkedArray) -> tuple[Any, ...]:
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return tuple(array.is_valid().to_pylist()), array.flatten().to_numpy().tobytes()
    if pa.types.is_floating(array.type):
        assert array.null_count == 0
        return (array.to_numpy().tobytes(),)
    return tuple(array.to_pylist())


@BOTH
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_every_row_is_there_once_with_all_its_bits(stamps, tmp_path, format_, shuffle):
    summary = run(stamps, tmp_path / "out", format=format_, shuffle=shuffle)
    before, after = rows_of(stamps), rows_of(tmp_path / "out")
    assert summary.rows["train"][0] == 614 and summary.n_dropped == 0
    assert after.schema == before.schema
    assert same_rows(after, before)
    assert (after["task_id"].to_pylist() == before["task_id"].to_pylist()) is not shuffle
    assert not (tmp_path / "out" / "_scratch").exists()


def test_parquet_alone_reads_the_output_as_it_reads_the_input(stamps, tmp_path):
    """Without any of our readers: the columns, their order and types, and the metadata of the schema."""
    run(stamps, tmp_path / "out")
    parts = sorted(tmp_path.glob("out/split=*/part-*.parquet"))
    found = pa.concat_tables(pq.read_table(path, partitioning=None) for path in parts)
    source = pa.concat_tables(
        pq.read_table(path, partitioning=None) for path in sorted(stamps.glob("split=*/part-*.parquet"))
    )
    assert same_rows(found.replace_schema_metadata(None), source.replace_schema_metadata(None))
    metadata = json.loads(found.schema.metadata[b"dhs_stamps"])
    assert metadata["configuration"] == {"sky": {"name": "mock"}, "seed": 1}
    assert metadata["compact"]["seed"] == 3


def test_files_are_few_alike_and_of_one_split(stamps, tmp_path):
    run(stamps, tmp_path / "out")
    sizes = [(part.split, part.n_rows) for part in open_stamp_set(tmp_path / "out", key="x").parts]
    assert sorted(sizes) == sorted([("train", n) for n in (153, 154, 153, 154)] + [("val", 140), ("test", 120)])


def test_the_shuffle_is_of_the_whole_split(tmp_path):
    """Ranks before and after do not correlate, each part is spread over all files, and neighbours are parted."""
    source = write_set(tmp_path / "in", sizes={"train": [200] * 10, "val": [20], "test": [20]}, failed=0)
    run(source, tmp_path / "out", rows_per_file=500)
    found = rows_of(tmp_path / "out")
    rank = np.array([int(name.split("/")[1]) for name in found["task_id"].to_pylist()[:2000]])
    assert sorted(rank) == list(range(2000))
    assert stats.spearmanr(rank, np.arange(2000)).pvalue > 1e-3
    counts = np.histogram2d(rank // 200, np.arange(2000) // 500, bins=(10, 4))[0]
    assert stats.chi2_contingency(counts).pvalue > 1e-3
    assert np.mean(np.abs(np.diff(rank)) == 1) < 0.01


@BOTH
def test_the_bytes_depend_on_the_seed_and_on_nothing_else(stamps, tmp_path, format_, monkeypatch):
    run(stamps, tmp_path / "a", format=format_)
    monkeypatch.setattr("dhs.inject.stampset.compact_runs.RUN_BYTES", 100 * 3264)
    run(stamps, tmp_path / "b", format=format_, scratch=tmp_path / "elsewhere")
    run(stamps, tmp_path / "c", format=format_, seed=4)
    assert as_bytes(tmp_path / "a") == as_bytes(tmp_path / "b")
    assert as_bytes(tmp_path / "a") != as_bytes(tmp_path / "c")


def test_two_processes_write_what_one_writes(stamps, tmp_path):
    run(stamps, tmp_path / "one")
    run(stamps, tmp_path / "two", num_processes=2)
    assert as_bytes(tmp_path / "one") == as_bytes(tmp_path / "two")


@BOTH
def test_failed_rows_are_dropped_and_counted_where_that_is_asked(stamps, tmp_path, format_):
    summary = run(stamps, tmp_path / "out", format=format_, failed_rows="drop")
    before, after = rows_of(stamps), rows_of(tmp_path / "out")
    n_failed = np.count_nonzero(~before["cutout_ok"].to_numpy())
    assert summary.n_dropped == n_failed > 0
    assert summary.failed == {"too_many_bad_pixels": n_failed}
    assert same_rows(after, before.filter(before["cutout_ok"]))
    assert json.loads((tmp_path / "out" / "_SUCCESS.json").read_text())["n_dropped"] == n_failed


def test_the_index_leads_to_the_bytes_of_a_stamp(stamps, tmp_path):
    """Read by hand: at the offset lies a tar header, behind it an .npy with the pixels of that task."""
    run(stamps, tmp_path / "out", format="webdataset")
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    before = {row["task_id"]: row for row in rows_of(stamps).to_pylist()}
    assert sorted(entry["task_id"] for entry in index) == sorted(before)
    for entry in index[::29]:
        row = before[entry["task_id"]]
        if not row["cutout_ok"]:
            assert (entry["sample"], entry["offset"], entry["crc32"]) == (-1, -1, -1)
            continue
        with open((tmp_path / "out" / entry["file"]).with_suffix(".tar"), "rb") as file:
            file.seek(entry["offset"])
            assert b".image.npy" in file.read(512)
            image = np.load(file, allow_pickle=False)
        assert np.array_equal(image.reshape(-1), np.array(row["image"], np.float32))
        assert entry["crc32"] == zlib.crc32(row["bad_pixels"], zlib.crc32(image.tobytes()))
        parquet = pq.read_table(tmp_path / "out" / entry["file"], partitioning=None)
        assert parquet["task_id"][entry["row"]].as_py() == entry["task_id"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_the_shards_with_keys_labels_and_pixels(stamps, tmp_path):
    run(stamps, tmp_path / "out", format="webdataset")
    before = {row["task_id"]: row for row in rows_of(stamps).to_pylist() if row["cutout_ok"]}
    tars = [str(path) for path in sorted(tmp_path.glob("out/split=*/*.tar"))]
    found = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert len({sample["__key__"] for sample in found}) == len(found) == len(before)
    for sample in found[::17]:
        row = before[sample["json"]["task_id"]]
        assert sample["__key__"].startswith(f"{row['split']}-")
        assert sample["json"]["label"] == int(row["injected"])
        assert sample["json"]["ra_deg"] == pytest.approx(row["ra_deg"], abs=1e-6)
        assert np.array_equal(sample["image.npy"].reshape(-1), np.array(row["image"], np.float32))
        assert sample["bad_pixels.npy"].tobytes() == row["bad_pixels"]


def test_a_compact_set_is_an_input_too(stamps, tmp_path):
    run(stamps, tmp_path / "tars", format="webdataset")
    run(tmp_path / "tars", tmp_path / "back", seed=9, rows_per_file=1000)
    assert same_rows(rows_of(tmp_path / "back"), rows_of(stamps))


def test_an_image_of_the_tensor_type_keeps_its_type(tmp_path):
    tables = []
    for split, first in (("train", 0), ("val", 40), ("test", 80)):
        table = part_table(40, split=split, first=first)
        kind = pa.fixed_shape_tensor(pa.float32(), (3, N_PX, N_PX))
        column = pa.ExtensionArray.from_storage(kind, table["image"].combine_chunks())
        tables.append((split, table.set_column(2, "image", column)))
    write_tables(tmp_path / "in", tables)
    run(tmp_path / "in", tmp_path / "out")
    after, before = rows_of(tmp_path / "out"), rows_of(tmp_path / "in")
    assert after.schema.field("image").type == kind
    ids = pa.array(sorted(before["task_id"].to_pylist()))
    for table in (before, after):
        assert table.num_rows == len(ids)
    pixels = [
        dict(zip(t["task_id"].to_pylist(), t["image"].combine_chunks().storage.to_pylist(), strict=True))
        for t in (before, after)
    ]
    assert pixels[0] == pixels[1]


def test_bytes_per_file_and_the_memory_limit(stamps, tmp_path):
    run(stamps, tmp_path / "out", rows_per_file=None, mib_per_file=0.5)
    assert max(part.n_rows for part in open_stamp_set(tmp_path / "out", key="x").parts) * 3168 < 0.5 * 2**20
    with pytest.raises(ValueError, match=r"task\.rows_per_file = 10000000: must be at most 254200 .* below 2 GB"):
        run(stamps, tmp_path / "big", rows_per_file=10_000_000)


def test_compression_and_row_groups_are_as_asked(stamps, tmp_path):
    run(stamps, tmp_path / "out", compression="lz4", row_group_rows=64)
    metadata = pq.read_metadata(tmp_path / "out" / "split=train" / "part-00000.parquet")
    assert metadata.row_group(0).num_rows == 64
    assert {metadata.row_group(0).column(i).compression for i in range(metadata.num_columns)} == {"LZ4"}


@pytest.fixture
def interrupted(monkeypatch):
    """``interrupted(n)``: the n-th call of `write_file` dies after its data, before its ledger."""

    def arm(n: int) -> None:
        original = compact_files._verify
        calls = iter(range(10_000))

        def dying(*args: Any, **settings: Any) -> None:
            if next(calls) == n:
                raise KeyboardInterrupt
            original(*args, **settings)

        monkeypatch.setattr(compact_files, "_verify", dying)

    return arm


@pytest.mark.parametrize("n", [0, 3])
def test_an_interrupted_job_goes_on_to_the_same_bytes(stamps, tmp_path, interrupted, monkeypatch, n):
    run(stamps, tmp_path / "whole", format="webdataset")
    with monkeypatch.context():
        interrupted(n)
        with pytest.raises(KeyboardInterrupt):
            run(stamps, tmp_path / "out", format="webdataset")
    monkeypatch.undo()
    assert not (tmp_path / "out" / "_SUCCESS.json").exists()
    written: list[int] = []
    original = compact_job.write_file
    monkeypatch.setattr(
        compact_job, "write_file", lambda target, file, *a, **k: written.append(1) or original(target, file, *a, **k)
    )
    run(stamps, tmp_path / "out", format="webdataset")
    assert len(written) == 6 - n
    assert as_bytes(tmp_path / "out") == as_bytes(tmp_path / "whole")
