"""`SweepTask`: what a launcher runs for each job, here or on another machine: the program in a process of its own.

A process of its own is the command that a user would type, with the same result; it cannot spoil the next job or be
spoiled by the one before; and whatever ends it (out of memory, a library's crash) ends nothing else.
"""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dhs.config.run_dir import SWEEP_VARIABLE
from dhs.sweep.outcome import Outcome, OutcomeFiles, status_of
from dhs.sweep.plan import PlannedJob
from dhs.sweep.stop import PARENT_VARIABLE, POLL_S, StopFlag

BEAT_S = 5.0
STOPPED_CODES = (130, 143, 138, 140, -signal.SIGINT, -signal.SIGTERM)
"""Of a program that a signal ended, saved or not."""


@dataclass(frozen=True)
class SweepTask:
    """A launcher's task function; it can be pickled."""

    script: str
    """train.py, inject.py or evaluate.py."""
    sweep_name: str
    folder: str
    """Of `OutcomeFiles`; on a cluster it must be on a disk that all machines share."""
    jobs: tuple[PlannedJob, ...]
    """By the number that the launcher gives them, from 0."""
    sweep_pid: int
    """Another process, a launcher's worker, stops when its parent is gone."""

    def __call__(self, composed: Any) -> str:
        from hydra.core.hydra_config import HydraConfig

        job = self.jobs[HydraConfig.get().job.num]
        return run_job(
            job,
            script=self.script,
            sweep_name=self.sweep_name,
            files=OutcomeFiles(Path(self.folder)),
            is_worker=os.getpid() != self.sweep_pid,
        ).state


def run_job(
    job: PlannedJob,
    *,
    script: str,
    sweep_name: str,
    files: OutcomeFiles,
    is_worker: bool = False,
    must_end: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run one job to its end and record it. It is told to stop, and saves, when this process is told, when the whole
    sweep is (``files``), when ``must_end()``, or when a worker has lost its parent; a second signal kills it."""
    started = time.monotonic()
    outcome = Outcome(job.number, "running", pid=os.getpid(), host=platform.node(), beat=time.time())
    with StopFlag().watching() as flag:
        if files.stop_asked:
            return replace(outcome, state="stopped")  # unrecorded: it was never started
        files.write(outcome)
        with files.log(job.number).open("ab") as log:
            process = _start(script, job, sweep_name=sweep_name, log=log)
            parent = os.getppid()

            def told() -> bool:
                orphaned = is_worker and os.getppid() != parent
                return flag.signum is not None or files.stop_asked or orphaned or must_end()

            code = _wait(
                process,
                told,
                killed=lambda: flag.count > 1,
                beat=lambda: files.write(replace(outcome, beat=time.time())),
            )
        outcome = replace(outcome, code=code, seconds=round(time.monotonic() - started, 1))
        outcome = _judged(outcome, job, files)
        files.write(outcome)
    return outcome


def _start(script: str, job: PlannedJob, *, sweep_name: str, log: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, script, *job.overrides],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | {SWEEP_VARIABLE: sweep_name, PARENT_VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C reaches the sweep alone, which tells its jobs to save
    )


def _wait(
    process: subprocess.Popen[bytes], told: Callable[[], bool], *, killed: Callable[[], bool], beat: Callable[[], None]
) -> int:
    terminated, last_beat = False, time.monotonic()
    while True:
        try:
            return process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            pass
        if killed():
            process.kill()
        elif not terminated and told():
            process.terminate()
            terminated = True
        if time.monotonic() - last_beat > BEAT_S:
            beat()
            last_beat = time.monotonic()


def _judged(outcome: Outcome, job: PlannedJob, files: OutcomeFiles) -> Outcome:
    code = outcome.code
    if code == 0:
        return replace(outcome, state="done")
    if code in STOPPED_CODES:
        return replace(outcome, state="stopped")
    return replace(outcome, state="failed", error=_reason(code or 0, job, files.log(job.number)))


def _reason(code: int, job: PlannedJob, log: Path) -> str:
    """One line, and where the rest is."""
    if code < 0:
        killed = signal.Signals(-code).name
        hint = " (out of memory?)" if killed == "SIGKILL" else ""
        return f"killed by {killed}{hint} ({log})"
    error = Path(job.run_dir or "", "error.txt")
    told = status_of(job.run_dir).get("error")
    if told and job.run_dir and error.is_file():
        return f"{' '.join(str(told).split())} ({error})"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else f'exit code {code}'} ({log})"
