"""The lock: one holder, gone with its process, whatever children that process has left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dhs.sky.file_lock import file_lock

HOLDER = """
import os, sys, time
from pathlib import Path
from dhs.sky.file_lock import file_lock
with file_lock(Path(sys.argv[1]), held_elsewhere="held"):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_with_the_line_it_is_given(tmp_path):
    with file_lock(tmp_path / "lock", held_elsewhere="x"), pytest.raises(ValueError, match="in use"):
        with file_lock(tmp_path / "lock", held_elsewhere="in use"):
            pass
    with file_lock(tmp_path / "lock", held_elsewhere="in use"):
        pass


def test_an_orphan_of_a_killed_holder_does_not_keep_the_lock(tmp_path):
    """A loader's worker lives on for seconds after its parent was killed; the same command must start at once."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="in use"), file_lock(tmp_path / "lock", held_elsewhere="in use"):
            pass
        process.kill()
        process.wait()
        time.sleep(0.05)
        os.killpg(process.pid, 0)  # the orphan is there
        with file_lock(tmp_path / "lock", held_elsewhere="in use"):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
