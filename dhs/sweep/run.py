"""`-m`: all jobs of a command. A faulty one is found before the first starts; a finished one is not repeated; one
that fails is shown at once and does not stop the rest; Ctrl-C and SIGTERM stop all of it with the runs saved, and the
same command goes on. The exit code is 1 where a job failed, 130 or 143 where the sweep was stopped.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from dhs.config.run_dir import write_text
from dhs.sweep.job import SweepTask
from dhs.sweep.launch import launch, require_launcher
from dhs.sweep.outcome import Outcome, OutcomeFiles
from dhs.sweep.plan import SweepPlan, plan_sweep
from dhs.sweep.stop import POLL_S, StopFlag
from dhs.sweep.watch import Watch, say, summary

LOST_AFTER_S = 60.0
"""A job whose process has given no sign for so long is gone."""

FAILED = 1
PROGRAMS = Path(__file__).resolve().parents[2]


def run_sweep(program: str, overrides: Sequence[str], *, schema: type[BaseModel]) -> int:
    """Run ``program`` with every combination of ``overrides``; the exit code.

    Raises:
        ConfigError: a job or the launcher's settings are wrong; nothing was started.
    """
    plan = plan_sweep(program, overrides, schema=schema)
    launcher, has_queue = require_launcher(plan)
    files = OutcomeFiles(_new_folder(plan))
    to_run = plan.to_run
    known = len(plan.jobs) - len(to_run)
    say(f"sweep {plan.name}: {len(plan.jobs)} jobs, {known} finished before; launcher {launcher}; {files.folder}")
    trouble, flag = None, StopFlag(on_stop=_stopper(files, has_queue=has_queue))
    if to_run:
        with flag.watching(), Watch(plan, files).watching():
            trouble = _launched(plan, files)
    outcomes = _without_lost(files)
    print(summary(plan, outcomes))
    return _exit_code(plan, outcomes, flag=flag, trouble=trouble)


class Detached(BaseException):
    """The sweep was told to stop while jobs wait in a queue: it does not wait there with them."""


def _stopper(files: OutcomeFiles, *, has_queue: bool) -> Callable[[], None]:
    """What a signal does: every job reads the file. A job that is still queued reads it when its turn comes."""

    def stop() -> None:
        files.ask_to_stop()
        if has_queue:
            raise Detached

    return stop


def _launched(plan: SweepPlan, files: OutcomeFiles) -> str | None:
    """Run the jobs; what the launcher itself died of, in a line."""
    task = SweepTask(
        str(PROGRAMS / f"{plan.program}.py"), plan.name, str(files.folder.resolve()), tuple(plan.to_run), os.getpid()
    )
    try:
        launch(plan, task)
    except Detached:
        say("stopping: jobs that run save and end, queued ones end when their turn comes")
        _wait_for_living(files)
    except Exception as error:  # a plugin's: of joblib, submitit, the queue
        trouble = f"launcher: {type(error).__name__}: {' '.join(str(error).split())}"
        say(trouble)
        _wait_for_living(files)
        return trouble
    return None


def _wait_for_living(files: OutcomeFiles) -> None:
    """Until no job that has begun still gives signs of life."""
    beats: dict[int, float] = {}
    changed: dict[int, float] = {}
    while True:
        running = {number: each.beat for number, each in files.read().items() if each.state == "running"}
        for number, beat in running.items():
            if beats.get(number) != beat:
                beats[number], changed[number] = beat, time.monotonic()
        if all(time.monotonic() - changed[number] > LOST_AFTER_S for number in running):
            return
        time.sleep(POLL_S)


def _without_lost(files: OutcomeFiles) -> dict[int, Outcome]:
    """The outcomes; a job whose process was killed together with the launcher's has failed."""
    lost = "its launcher's process is gone"
    return {
        number: replace(each, state="failed", error=f"{lost} ({files.log(number)})")
        if each.state == "running"
        else each
        for number, each in files.read().items()
    }


def _new_folder(plan: SweepPlan) -> Path:
    """A folder for this call, named by the time."""
    folder = plan.runs_dir / "multirun" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder.mkdir(parents=True)
    record = {
        "sweep": plan.name,
        "program": plan.program,
        "hydra": plan.hydra_overrides,
        "jobs": [{"number": job.number, "overrides": job.overrides, "run_dir": job.run_dir} for job in plan.jobs],
    }
    write_text(folder / "sweep.json", json.dumps(record, indent=2))
    return folder


def _exit_code(plan: SweepPlan, outcomes: dict[int, Outcome], *, flag: StopFlag, trouble: str | None) -> int:
    states = [outcome.state for outcome in outcomes.values()]
    incomplete = len(outcomes) < len(plan.to_run) or "stopped" in states
    if flag.signum is not None and incomplete:
        print("stopped; the same command goes on where the jobs were")
        return flag.exit_code
    if "failed" in states or incomplete or trouble:
        print("the same command skips what is done and starts the rest again")
        return FAILED
    return 0
