"""task=compact when something is wrong: killed, damaged, full, remote, twice at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from dhs.config.cli import CONF_DIR
from dhs.inject.stampset import compact_files, compact_runs
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.read import open_stamp_set
from tests.bucket import BUCKET, bucket, upload
from tests.inject.stampset.sets import part_table, write_set, write_tables
from tests.inject.stampset.test_compact import as_bytes, rows_of, run, same_rows

SIZES = {"train": [150, 161, 90], "val": [90], "test": [120]}


@pytest.fixture(scope="module")
def stamps(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "in", sizes=SIZES)


def refused(source: Path, output: Path, **settings: object) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        run(source, output, **settings)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def command(source: Path, output: Path, *overrides: str) -> list[str]:
    settings = [f"task.input={source}", f"task.output={output}", "task.format=webdataset", "task.rows_per_file=40"]
    return [sys.executable, str(CONF_DIR.parent / "inject.py"), "task=compact", "seed=3", *settings, *overrides]


def test_kill_9_while_files_are_written_and_the_same_command_ends_with_the_same_bytes(stamps, tmp_path):
    run(stamps, tmp_path / "whole", format="webdataset", rows_per_file=40)
    process = subprocess.Popen(command(stamps, tmp_path / "out"), cwd=CONF_DIR.parent, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/_ledger/*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    n_finished = len(list(tmp_path.glob("out/_ledger/*.json")))
    assert 0 < n_finished < 17
    assert not (tmp_path / "out" / "_SUCCESS.json").exists()
    again = subprocess.run(command(stamps, tmp_path / "out"), cwd=CONF_DIR.parent, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "of 17 files are finished" in again.stdout
    assert "writing: " in again.stdout and "/s, 0 s to go" in again.stdout
    assert as_bytes(tmp_path / "out") == as_bytes(tmp_path / "whole")
    assert not (tmp_path / "out" / "_scratch").exists()


def test_a_run_half_written_is_made_again(stamps, tmp_path, monkeypatch):
    """The scatter dies between a run's files: without its job's card nothing of it counts."""
    run(stamps, tmp_path / "whole")
    original = compact_runs.write_json

    def dying(path: Path, content: dict) -> None:
        if "job-000000" in path.name:
            raise KeyboardInterrupt
        original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(compact_runs, "write_json", dying)
        with pytest.raises(KeyboardInterrupt):
            run(stamps, tmp_path / "out")
    leftovers = list((tmp_path / "out" / "_scratch").glob("run-*"))
    assert leftovers
    for path in leftovers:
        path.write_bytes(path.read_bytes()[:100])
    run(stamps, tmp_path / "out")
    assert as_bytes(tmp_path / "out") == as_bytes(tmp_path / "whole")


@pytest.mark.parametrize("suffix", ["parquet", "tar"])
def test_a_flipped_byte_in_the_output_is_found_and_only_that_file_made_anew(stamps, tmp_path, suffix, caplog):
    run(stamps, tmp_path / "out", format="webdataset")
    good = as_bytes(tmp_path / "out")
    damaged = sorted(tmp_path.glob(f"out/split=train/*.{suffix}"))[1]
    flip(damaged)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/split=*/*")}
    run(stamps, tmp_path / "out", format="webdataset")
    assert as_bytes(tmp_path / "out") == good
    changed = {path.stem for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert changed == {damaged.stem}


def test_a_flipped_byte_in_the_input_stops_the_job_and_names_the_part(stamps, tmp_path):
    source = shutil.copytree(stamps, tmp_path / "in")
    flip(source / "split=train" / "part-00001.parquet")
    line = refused(source, tmp_path / "out")
    assert "split=train/part-00001.parquet" in line
    assert "another SHA-256" in line or "not readable" in line
    assert not (tmp_path / "out" / "_SUCCESS.json").exists()
    shutil.copy(stamps / "split=train" / "part-00001.parquet", source / "split=train" / "part-00001.parquet")
    run(source, tmp_path / "out")
    assert same_rows(rows_of(tmp_path / "out"), rows_of(stamps))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def test_input_that_is_no_sound_set_is_one_line(stamps, tmp_path):
    unfinished = shutil.copytree(stamps, tmp_path / "unfinished")
    (unfinished / "_SUCCESS.json").unlink()
    assert "task.input = " in refused(unfinished, tmp_path / "a") and "no finished stamp set" in refused(
        unfinished, tmp_path / "a"
    )
    table = part_table(30, split="train", first=0)
    twice = write_tables(tmp_path / "twice", [("train", table), ("train", table.slice(10))])
    line = refused(twice, tmp_path / "b")
    assert "task_id noise/000010/c.3/0 is in the set twice (and 19 other repeats)" in line
    failed = write_set(tmp_path / "failed", sizes={"train": [20], "val": [5], "test": [5]}, failed=1.0)
    assert "none of its 30 rows is left" in refused(failed, tmp_path / "c", failed_rows="drop")
    image = table["image"].combine_chunks().flatten().to_numpy().copy()
    image[5] = np.inf
    missing = pa.array(~table["cutout_ok"].to_numpy())
    values = np.zeros((30, 768), np.float32)
    values[table["cutout_ok"].to_numpy()] = image.reshape(-1, 768)
    nan = table.set_column(2, "image", pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 768, mask=missing))
    line = refused(write_tables(tmp_path / "nan", [("train", nan)]), tmp_path / "d")
    assert "has 1 NaN or infinite pixels, but cutout_ok = True" in line


def test_another_job_or_another_writer_in_the_same_folder_is_refused(stamps, tmp_path):
    run(stamps, tmp_path / "out")
    assert "holds the set of another job (other seed)" in refused(stamps, tmp_path / "out", seed=4)
    from dhs.sky.file_lock import file_lock

    with file_lock(tmp_path / "out" / ".lock", held_elsewhere="x"):
        assert "another job is at work there" in refused(stamps, tmp_path / "out")


def test_a_full_disk_is_seen_before_and_during_the_job(stamps, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        line = refused(stamps, tmp_path / "out")
    assert "GiB free, the job takes up to" in line
    original = compact_files.write_samples
    calls = iter(range(100))

    def full(*args, **settings):
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        return original(*args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(compact_files, "write_samples", full)
        line = refused(stamps, tmp_path / "tars", format="webdataset")
    assert "No space left on device; free space or mend access" in line and "finished parts are kept" in line
    run(stamps, tmp_path / "tars", format="webdataset")
    assert same_rows(rows_of(tmp_path / "tars"), rows_of(stamps))


def test_verification_sees_pixels_that_went_to_another_row(stamps, tmp_path, monkeypatch):
    """The check can fail: two images exchanged, or one column shifted, on the way to the file."""
    original = compact_files._in_order

    def exchanged(*args, **settings):
        rows = original(*args, **settings)
        first, second = np.flatnonzero(rows.pixels.ok)[:2]
        rows.pixels.image[[first, second]] = rows.pixels.image[[second, first]]
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(compact_files, "_in_order", exchanged)
        assert "2 rows are not those of the input" in refused(stamps, tmp_path / "a")

    def shifted(*args, **settings):
        rows = original(*args, **settings)
        values = np.roll(rows.columns["dec_deg"].to_numpy(), 1)
        at = rows.columns.schema.get_field_index("dec_deg")
        return rows._replace(columns=rows.columns.set_column(at, "dec_deg", pa.array(values)))

    monkeypatch.setattr(compact_files, "_in_order", shifted)
    assert "rows are not those of the input" in refused(stamps, tmp_path / "b", format="webdataset")


def test_from_a_bucket_to_a_bucket(stamps, tmp_path):
    with bucket() as files:
        upload(files, stamps, f"{BUCKET}/in")
        run(f"{BUCKET}/in", f"{BUCKET}/out", format="webdataset", scratch=tmp_path / "scratch")
        files.get(f"{BUCKET}/out", str(tmp_path / "fetched"), recursive=True)
        assert open_stamp_set(f"{BUCKET}/out", key="task.input").n_rows == 611
        with suppress(KeyboardInterrupt), Place(f"{BUCKET}/out").writing("half.bin") as file:
            file.write(b"half")
            raise KeyboardInterrupt
        assert not Place(f"{BUCKET}/out").exists("half.bin")
    run(stamps, tmp_path / "near", format="webdataset")
    assert as_bytes(tmp_path / "fetched") == as_bytes(tmp_path / "near")
    assert not list((tmp_path / "scratch").glob("*/*"))


def test_the_ledger_says_what_is_in_a_file(stamps, tmp_path):
    run(stamps, tmp_path / "out", format="webdataset")
    for path in (tmp_path / "out" / "_ledger").iterdir():
        entry = json.loads(path.read_text())
        assert entry["n_rows"] - entry["n_ok"] == sum(entry["failures"].values())
        assert (tmp_path / "out" / entry["tar"]["path"]).stat().st_size == entry["tar"]["n_bytes"]
        assert len(entry["sha256"]) == len(entry["tar"]["sha256"]) == 64
