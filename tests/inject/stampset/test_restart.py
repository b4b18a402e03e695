"""A job that is interrupted, damaged or hindered: the rerun makes what is missing, and the set is the same bytes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dhs.inject.stampset import local
from dhs.inject.stampset.job import make_stamps
from dhs.sky.file_lock import file_lock
from tests.inject.stampset.files import digests, ledger, parts

REPO = Path(__file__).resolve().parents[3]


def silent(state):
    """No report."""


@pytest.fixture(scope="module")
def made(stamps_config, tmp_path_factory):
    """What an uninterrupted job writes."""
    folder = tmp_path_factory.mktemp("set")
    make_stamps(stamps_config(folder), report=silent)
    return digests(folder)


@pytest.fixture
def folder(stamps_config, tmp_path):
    """A finished set of its own, to be spoilt."""
    make_stamps(stamps_config(tmp_path / "set"), report=silent)
    return tmp_path / "set"


def rerun(stamps_config, folder, monkeypatch, *more):
    """Run again; the parts that were made anew."""
    anew = []
    real = local.make_part

    def noted(part, context):
        anew.append(part.number)
        return real(part, context)

    monkeypatch.setattr("dhs.inject.stampset.job.make_part", noted)
    make_stamps(stamps_config(folder, *more), report=silent)
    monkeypatch.undo()
    return anew


def test_a_finished_set_is_left_alone(made, folder, stamps_config, monkeypatch):
    times = [path.stat().st_mtime_ns for path in parts(folder)]
    assert rerun(stamps_config, folder, monkeypatch) == []
    assert [path.stat().st_mtime_ns for path in parts(folder)] == times and digests(folder) == made


def test_skip_existing_false_makes_the_same_bytes_again(made, folder, stamps_config, monkeypatch):
    assert rerun(stamps_config, folder, monkeypatch, "task.skip_existing=false") == list(range(9))
    assert digests(folder) == made


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda set_: (set_ / "split=val" / "part-00004.parquet").unlink(), "the file is missing"),
        (lambda set_: os.truncate(set_ / "split=val" / "part-00004.parquet", 1000), "1000 bytes, written were"),
        (lambda set_: (set_ / "_ledger" / "part-00004.json").write_text("{"), "ledger entry is not readable"),
        (
            lambda set_: (set_ / "_ledger" / "part-00004.json").write_bytes(
                (set_ / "_ledger" / "part-00003.json").read_bytes()
            ),
            "ledger entry is of other rows",
        ),
    ],
)
def test_a_damaged_part_is_named_and_made_again(made, folder, stamps_config, monkeypatch, caplog, spoil, word):
    spoil(folder)
    monkeypatch.setattr("dhs.inject.stampset.ledger._LOG.propagate", True)
    assert rerun(stamps_config, folder, monkeypatch) == [4]
    assert "part-00004.parquet is damaged" in caplog.text and word in caplog.text
    assert digests(folder) == made


def test_a_flipped_byte_is_found_by_verify_named_and_mended(made, folder, stamps_config, monkeypatch, caplog):
    path = parts(folder)[6]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert rerun(stamps_config, folder, monkeypatch) == []  # sizes alone do not tell
    monkeypatch.setattr("dhs.inject.stampset.ledger._LOG.propagate", True)
    assert rerun(stamps_config, folder, monkeypatch, "task.verify=true") == [6]
    assert f"{path} is damaged (another SHA-256" in caplog.text and digests(folder) == made


def test_a_part_without_a_ledger_entry_is_not_finished(made, folder, stamps_config, monkeypatch):
    for number in (0, 8):
        (folder / "_ledger" / f"part-{number:05d}.json").unlink()
    assert rerun(stamps_config, folder, monkeypatch) == [0, 8] and digests(folder) == made


def test_a_second_writer_is_refused(folder, stamps_config):
    with (
        file_lock(folder / ".lock", held_elsewhere="no"),
        pytest.raises(ValueError, match=r"task.output = .*: another job is at work there"),
    ):
        make_stamps(stamps_config(folder), report=silent)


def test_a_full_disk_is_one_line_leaves_no_torn_part_and_is_mended(made, stamps_config, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))  # a part takes 350 kB: EFBIG, as ENOSPC is
    try:
        with pytest.raises(ValueError, match=r"part-00000.parquet: File too large; free space") as error:
            make_stamps(stamps_config(tmp_path / "set"), report=silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert [p.name for p in (tmp_path / "set").rglob("*") if p.is_file()] in (
        ["job.json", ".lock"],
        [".lock", "job.json"],
    )
    make_stamps(stamps_config(tmp_path / "set"), report=silent)
    assert digests(tmp_path / "set") == made


def test_a_path_that_cannot_be_written_is_one_line(stamps_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"task.output = .*file/set: Not a directory"):
        make_stamps(stamps_config(tmp_path / "file" / "set"), report=silent)


class Program:
    """`inject.py task=stamps` with two processes, as a user runs it."""

    def __init__(self, arguments):
        command = [sys.executable, "inject.py", *arguments, "engine.num_processes=2", "task.rows_per_part=2"]
        self.process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def when(self, ready):
        """Wait until ``ready()``."""
        end = time.monotonic() + 120
        while not ready():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.005)

    def workers(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]

    def end(self):
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out + err


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds worker processes through /proc")
def test_the_program_killed_at_several_points_ends_with_the_same_bytes(overrides, stamps_config, tmp_path):
    """kill -9 of a worker, of the program between two parts, and in the middle of a part."""
    reference, folder = tmp_path / "reference", tmp_path / "set"
    make_stamps(stamps_config(reference, "task.rows_per_part=2"), report=silent)
    entries = folder / "_ledger"

    def n_entries():
        return len(list(entries.glob("part-*.json"))) if entries.is_dir() else 0

    engine_dies = Program(overrides(folder))
    engine_dies.when(lambda: n_entries() >= 2)
    os.kill(engine_dies.workers()[0], signal.SIGKILL)
    code, text = engine_dies.end()
    assert code == 2 and text.count("a worker process died") == 1 and "Traceback" not in text
    done = n_entries()
    assert 2 <= done < 30 and not (folder / "_SUCCESS.json").exists()

    killed = Program(overrides(folder))
    killed.when(lambda: n_entries() > done and list(folder.glob("split=*/.part-*.tmp")))
    workers = killed.workers()
    killed.process.kill()
    killed.end()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").is_dir() for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").is_dir() for pid in workers), "workers outlive their parent"
    before = {path.name: path.stat().st_mtime_ns for path in entries.glob("part-*.json")}
    assert done < len(before) < 30

    code, text = Program(overrides(folder)).end()
    assert code == 0 and f"{len(before)} of 30 parts are finished" in text, text
    after = {path.name: path.stat().st_mtime_ns for path in entries.glob("part-*.json")}
    assert len(after) == 30 and {name: after[name] for name in before} == before, "a finished part was made twice"
    assert digests(folder) == digests(reference) and [e["first_row"] for e in ledger(folder)] == list(range(0, 60, 2))
    assert not list(folder.rglob("*.tmp"))
