"""One job a set: a lock on this machine's disks, a claim with a heartbeat in a bucket. What each guarantees:

On a disk: `flock` on `<set>/.lock`, which dies with its process. Two jobs at once are impossible where the file system
has flock (local disks, NFSv4, Lustre mounted with -o flock).

In a bucket: `<set>/_claim.json` with owner, machine, process and time, written anew every third of its expiry. It is
created by a conditional write where the file system has one (S3: If-None-Match), so of two jobs that begin at once one
is refused; elsewhere it is written, and read again a moment later, which two jobs may in bad luck both survive. A claim
is taken over when it is older than its expiry, or when its process was on this machine and is gone. A job that finds
its claim lost (it slept past the expiry) stops. Clocks of the machines must agree to a few seconds. If two jobs do meet
all the same, nothing is spoilt: parts are whole objects and both would write the same bytes.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from dhs.inject.stampset.faults import faults_as_lines
from dhs.inject.stampset.place import Place
from dhs.sky.file_lock import file_lock

CLAIM = "_claim.json"
SETTLE_S = 2.0
"""Between writing and reading again, where there is no conditional write."""

StillOurs = Callable[[], None]


@contextmanager
def claimed(place: Place, *, key: str, expires_s: float) -> Iterator[StillOurs]:
    """Hold the set at ``place``; ``key`` is the setting that named it. Call what is given between pieces of work.

    Raises:
        ValueError: another job holds it; from what is given: the claim was lost.
    """
    if place.local is not None:
        with faults_as_lines(f"{key} = {place.root}"):
            place.local.mkdir(parents=True, exist_ok=True)
            lock = file_lock(
                Path(place.local) / ".lock", held_elsewhere=f"{key} = {place.root}: another job is at work there"
            )
            lock.__enter__()
        try:
            yield lambda: None
        finally:
            lock.__exit__(None, None, None)
        return
    claim = _Claim(place, key=key, expires_s=expires_s)
    with faults_as_lines(f"{key} = {place.root}"):
        claim.take()
    claim.start()
    try:
        yield claim.require
    finally:
        claim.stop()


class _Claim:
    """The claim of one job on one set in a bucket."""

    def __init__(self, place: Place, *, key: str, expires_s: float) -> None:
        self._place, self._key, self._expires_s = place, key, expires_s
        self._files, base = fsspec.core.url_to_fs(place.root)
        self._path = f"{base}/{CLAIM}"
        self._owner = uuid.uuid4().hex
        self._lost: str | None = None
        self._renewed = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, daemon=True)

    def take(self) -> None:
        """ValueError where another living job has it."""
        held = self._read()
        if held is not None and not self._is_dead(held):
            age = max(0.0, time.time() - held["time"])
            raise ValueError(
                f"{self._key} = {self._place.root}: another job is at work there ({held['machine']}, process "
                f"{held['process']}, {age:.0f} s ago); wait for it, or, if it is dead, "
                f"{max(0.0, held['expires_s'] - age):.0f} s"
            )
        if held is not None:
            self._files.rm_file(self._path)
        try:
            self._files.pipe_file(self._path, self._content(), mode="create")
        except FileExistsError:
            raise ValueError(f"{self._key} = {self._place.root}: another job began there at this moment") from None
        except (NotImplementedError, TypeError):
            self._files.pipe_file(self._path, self._content())
            time.sleep(SETTLE_S)
        held = self._read()
        if held is None or held["owner"] != self._owner:
            raise ValueError(f"{self._key} = {self._place.root}: another job began there at this moment")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Give the claim back, where it is still ours."""
        self._end.set()
        self._thread.join()
        try:
            held = self._read()
            if held is not None and held["owner"] == self._owner:
                self._files.rm_file(self._path)
        except Exception:  # the set is what matters: a claim that stays expires by itself
            return

    def require(self) -> None:
        """ValueError where the claim is lost, or could not be renewed for so long that it has expired."""
        if self._lost is None and time.monotonic() - self._renewed > self._expires_s:
            self._lost = f"could not be renewed for {self._expires_s:.0f} s"
        if self._lost is not None:
            raise ValueError(
                f"{self._key} = {self._place.root}: this job's claim {self._lost}; finished parts are kept: see that "
                "no other job is at work there and run the same command again"
            )

    def _renew_for_ever(self) -> None:
        while not self._end.wait(self._expires_s / 3):
            try:
                held = self._read()
                if held is None or held["owner"] != self._owner:
                    self._lost = "was taken over by another job"
                    return
                self._files.pipe_file(self._path, self._content())
                self._renewed = time.monotonic()
            except Exception:  # a bucket may be away for a moment; `require` judges how long
                continue

    def _read(self) -> dict[str, Any] | None:
        self._files.invalidate_cache()
        try:
            return json.loads(self._files.cat_file(self._path))
        except FileNotFoundError:
            return None
        except json.JSONDecodeError:
            raise ValueError(f"{self._place.show(CLAIM)}: not readable; remove it if no job is at work there") from None

    def _is_dead(self, held: dict[str, Any]) -> bool:
        if time.time() - held["time"] > held["expires_s"]:
            return True
        return held["machine"] == _machine() and not _is_running(held["process"])

    def _content(self) -> bytes:
        about = {"owner": self._owner, "machine": _machine(), "process": os.getpid()}
        return json.dumps(about | {"time": time.time(), "expires_s": self._expires_s}).encode()


def _machine() -> str:
    return socket.gethostname()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
