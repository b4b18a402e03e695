"""What a sweep says while it runs: a line when a job starts, ends or fails, progress in between, a table at the end."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from dhs.sweep.outcome import Outcome, OutcomeFiles, best_score, status_of
from dhs.sweep.plan import PlannedJob, SweepPlan

POLL_S = 0.5
PROGRESS_EVERY_S = 30.0


class Watch:
    """Reads the outcomes of all jobs, wherever they run, and tells what is new."""

    def __init__(self, plan: SweepPlan, files: OutcomeFiles) -> None:
        self._plan, self._files = plan, files
        self._jobs = {job.number: job for job in plan.jobs}
        self._told: dict[int, str] = {}
        self._started = self._last_progress = time.monotonic()
        self._ended = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell what happens during the block."""
        thread = threading.Thread(target=self._follow, daemon=True, name="sweep-progress")
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            self._tell_news()

    def _follow(self) -> None:
        while not self._ended.wait(POLL_S):
            self._tell_news()
            if time.monotonic() - self._last_progress > PROGRESS_EVERY_S:
                self._last_progress = time.monotonic()
                self._tell_progress()

    def _tell_news(self) -> None:
        for number, outcome in self._files.read().items():
            if self._told.get(number) != outcome.state:
                self._told[number] = outcome.state
                say(f"[{number}/{len(self._jobs)}] {self._jobs[number].label}: {self._news(outcome)}")

    def _news(self, outcome: Outcome) -> str:
        job = self._jobs[outcome.number]
        if outcome.state == "running":
            return f"started ({self._files.log(job.number)})"
        if outcome.state == "failed":
            return f"FAILED: {outcome.error}"
        took = f"{timedelta(seconds=round(outcome.seconds))}"
        if outcome.state == "stopped":
            return f"stopped after {took}"
        score = best_score(job.run_dir)
        return f"done in {took}{'' if score is None else f', val/pauroc {score:.4f}'}{self._to_go()}"

    def _to_go(self) -> str:
        ended = sum(state in ("done", "failed") for state in self._told.values())
        left = len(self._plan.to_run) - ended
        if not left:
            return ""
        seconds = (time.monotonic() - self._started) / ended * left
        return f"; {left} to go, about {timedelta(seconds=round(seconds))}"

    def _tell_progress(self) -> None:
        for number, state in sorted(self._told.items()):
            status = status_of(self._jobs[number].run_dir) if state == "running" else {}
            if "step" in status:
                rate = f", {status['stamps_per_s']:.0f} stamps/s" if "stamps_per_s" in status else ""
                say(f"[{number}/{len(self._jobs)}] epoch {status['epoch'] + 1}, step {status['step']}{rate}")


def say(line: str) -> None:
    """One line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def summary(plan: SweepPlan, outcomes: dict[int, Outcome]) -> str:
    """The table at the end: every job of the plan, and a line that counts them."""
    states = {job.number: _state(job, outcomes) for job in plan.jobs}
    rows = [("#", "job", "state", "time", "val/pauroc", "where")]
    for job in plan.jobs:
        outcome, score = outcomes.get(job.number), best_score(job.run_dir)
        took = "" if outcome is None or job.finished else f"{timedelta(seconds=round(outcome.seconds))}"
        shown = "" if score is None else f"{score:.4f}"
        rows.append((str(job.number), job.label, states[job.number], took, shown, job.run_dir or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    names = ("done", "finished before", "failed", "stopped", "not started")
    counts = ", ".join(f"{n} {name}" for name in names if (n := list(states.values()).count(name)))
    return "\n".join([*lines, f"{len(plan.jobs)} jobs: {counts}"])


def _state(job: PlannedJob, outcomes: dict[int, Outcome]) -> str:
    if job.finished:
        return "finished before"
    return outcomes[job.number].state if job.number in outcomes else "not started"
