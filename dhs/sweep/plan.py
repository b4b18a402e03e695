"""The jobs of a sweep, each composed and validated before the first one starts; those already finished are known."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from dhs.config.cli import expand, is_hydras
from dhs.config.load import ConfigError
from dhs.config.many import compose_jobs
from dhs.config.root import TrainConfig
from dhs.config.run_dir import SWEEP_VARIABLE, RunRecord, run_directory

MAX_FAULTS_TOLD = 10
DEFAULT_RUNS_DIR = "runs"


@dataclass(frozen=True)
class PlannedJob:
    """One job: plain values, as it is sent to another machine."""

    number: int
    """From 1."""
    overrides: tuple[str, ...]
    label: str
    """The overrides in which the jobs of the sweep differ."""
    run_dir: str | None
    """Where `train.py` puts it; None for other programs, whose jobs are never known to be finished."""
    finished: bool = False


@dataclass(frozen=True)
class SweepPlan:
    """All jobs of one command."""

    program: str
    """train, inject or evaluate."""
    name: str
    """What the runs have in common (status.json `sweep`, W&B's group): equal for every repetition of the command."""
    runs_dir: Path
    hydra_overrides: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]

    @property
    def to_run(self) -> list[PlannedJob]:
        return [job for job in self.jobs if not job.finished]


def plan_sweep(program: str, overrides: Sequence[str], *, schema: type[BaseModel]) -> SweepPlan:
    """Expand ``overrides`` (`-m`) into jobs.

    Raises:
        ConfigError: one line for each faulty job, with its number, what sets it apart, and the fault; or two jobs are
            one and the same run.
    """
    expanded = expand(overrides, multirun=True)
    labels = _labels(expanded)
    configs, faults = compose_jobs(program, expanded, schema=schema)
    if faults:
        raise ConfigError(_faults_told(faults, labels))
    run_dirs = [run_directory(config) if isinstance(config, TrainConfig) else None for config in configs]
    _require_different(run_dirs, labels)
    runs_dir: Path = configs[0].paths.runs_dir  # type: ignore[attr-defined]
    return SweepPlan(
        program=program,
        name=os.environ.get(SWEEP_VARIABLE) or _name(runs_dir, expanded),
        runs_dir=runs_dir,
        hydra_overrides=tuple(each for each in overrides if is_hydras(each)),
        jobs=tuple(
            PlannedJob(
                number=number,
                overrides=tuple(job),
                label=label,
                run_dir=None if run_dir is None else str(run_dir),
                finished=run_dir is not None and _is_finished(config, run_dir),
            )
            for number, (job, label, config, run_dir) in enumerate(
                zip(expanded, labels, configs, run_dirs, strict=True), start=1
            )
        ),
    )


def _is_finished(config: BaseModel, run_dir: Path) -> bool:
    return (
        isinstance(config, TrainConfig) and config.resume == "auto" and RunRecord(run_dir).status.get("state") == "done"
    )


def _name(runs_dir: Path, jobs: list[list[str]]) -> str:
    """A folder of its own names a sweep; in the common one, a hash of the jobs does."""
    if str(runs_dir) != DEFAULT_RUNS_DIR:
        return runs_dir.name
    return f"sweep-{hashlib.sha256(repr(jobs).encode()).hexdigest()[:8]}"


def _labels(jobs: list[list[str]]) -> list[str]:
    common = set.intersection(*map(set, jobs))
    if len(jobs) == 1:
        return [" ".join(jobs[0]) or "defaults"]
    return [" ".join(item for item in job if item not in common) or "defaults" for job in jobs]


def _faults_told(faults: dict[int, ConfigError], labels: list[str]) -> str:
    lines = [
        f"job {number + 1} of {len(labels)} ({labels[number]}): {line}"
        for number, error in faults.items()
        for line in str(error).splitlines()
    ]
    more = len(lines) - MAX_FAULTS_TOLD
    if more > 0:
        lines = [
            *lines[:MAX_FAULTS_TOLD],
            f"and {more} more; {len(faults)} of {len(labels)} jobs are wrong, none was started",
        ]
    return "\n".join(lines)


def _require_different(run_dirs: list[Path | None], labels: list[str]) -> None:
    first: dict[Path, int] = {}
    for number, run_dir in enumerate(run_dirs):
        if run_dir is None:
            continue
        if run_dir in first:
            raise ConfigError(
                f"jobs {first[run_dir] + 1} ({labels[first[run_dir]]}) and {number + 1} ({labels[number]}): both are "
                f"the run {run_dir}; they differ in nothing that decides a result, or run_dir is given"
            )
        first[run_dir] = number
