"""`python train.py --search FILE`: Optuna chooses the overrides of each run by the val/pauroc of those before.

The objective is that of the run's best checkpoint, on the validation sky; no test stamp is drawn. The study is a
journal in `<paths.runs_dir>/search/`, the runs are ordinary ones beside it, named by their configuration: a search
that was killed, however, goes on with the trial in hand where it was, and a configuration that comes twice is not run
twice. (hydra-optuna-sweeper needs Optuna 2 and cannot go on; this is Optuna 5's ask and tell.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dhs.config.cli import compose_job, expand
from dhs.config.load import ConfigError, validate
from dhs.config.many import compose_jobs
from dhs.config.root import TrainConfig
from dhs.config.run_dir import SWEEP_VARIABLE, run_directory
from dhs.config.search import SearchConfig
from dhs.sky.file_lock import file_lock
from dhs.sweep.job import run_job
from dhs.sweep.outcome import Outcome, OutcomeFiles, best_score, status_of, validation_curve
from dhs.sweep.plan import PlannedJob
from dhs.sweep.stop import StopFlag
from dhs.sweep.study import as_overrides, corners, distributions, open_study
from dhs.sweep.watch import say

if TYPE_CHECKING:
    import optuna

FAILED = 1
PROGRAMS = Path(__file__).resolve().parents[2]
NO_TEST_SKY = "evaluate.enabled=false"


def run_search(path: Path, overrides: Sequence[str]) -> int:
    """Run, or go on with, the search of the YAML file ``path``; ``overrides`` are added to its own. The exit code.

    Raises:
        ConfigError: the file, its space or an override is wrong; nothing was started.
    """
    search = read_search(path)
    base = [f"paths.runs_dir=runs/{search.name}", *search.overrides, *overrides, NO_TEST_SKY]
    (base,) = expand(base, multirun=True) or [[]]
    runs_dir = _validated_runs_dir(search, base)
    folder = runs_dir / "search"
    refusal = f"{folder}: another process runs this search; wait for it, or give another name"
    try:
        with file_lock(folder / ".lock", held_elsewhere=refusal):
            return _Search(search, base=base, folder=folder).run()
    except ValueError as error:
        if str(error) == refusal:
            raise ConfigError(refusal) from None
        raise


def read_search(path: Path) -> SearchConfig:
    """Read and check a search file; ConfigError in a line."""
    try:
        plain = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"--search {path}: {error.strerror}; give a YAML file such as sweeps/search_quickstart.yaml"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"--search {path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"--search {path}: must be a mapping with name, n_trials, space")
    try:
        return validate(plain, schema=SearchConfig)
    except ConfigError as error:
        raise ConfigError("\n".join(f"--search {path}: {line}" for line in str(error).splitlines())) from None


def _validated_runs_dir(search: SearchConfig, base: list[str]) -> Path:
    tried = corners(search)
    configs, faults = compose_jobs("train", [base, *([*base, *corner] for corner in tried)], schema=TrainConfig)
    if 0 in faults:
        raise faults[0]
    if faults:
        first = {str(error): tried[number - 1] for number, error in reversed(faults.items())}
        raise ConfigError(
            "\n".join(f"space ({' '.join(corner)}): {error}" for error, corner in reversed(first.items()))
        )
    return configs[0].paths.runs_dir


class _Search:
    """One call of a search."""

    def __init__(self, search: SearchConfig, *, base: list[str], folder: Path) -> None:
        self._search, self._base, self._folder = search, base, folder
        self._study = open_study(search, folder=folder, overrides=base)
        self._name = os.environ.get(SWEEP_VARIABLE) or search.name
        self._n_failed = 0
        self._pruned = False

    def run(self) -> int:
        files = OutcomeFiles(self._folder / "jobs")
        files.folder.mkdir(exist_ok=True)
        (files.folder / "stop").unlink(missing_ok=True)
        self._say_start()
        self._retry_failed()
        with StopFlag(on_stop=files.ask_to_stop).watching() as flag:
            while flag.signum is None and self._n_ended() + self._n_failed < self._search.n_trials:
                self._run_trial(self._next_trial(), files)
        print(self._table())
        if flag.signum is not None:
            print("stopped; the same command goes on where the trial was")
            return flag.exit_code
        return FAILED if self._n_failed else 0

    def _n_ended(self) -> int:
        return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in self._study.get_trials(deepcopy=False))

    def _retry_failed(self) -> None:
        """A trial that failed is run again, once a call."""
        trials = self._study.get_trials(deepcopy=False)
        retried = {trial.user_attrs.get("retry_of") for trial in trials}
        for trial in trials:
            if trial.state.name == "FAIL" and trial.number not in retried:
                self._study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})

    def _next_trial(self) -> optuna.Trial:
        """The one that was in hand when the search ended, or a new one."""
        import optuna

        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.name == "RUNNING":
                return optuna.Trial(self._study, trial._trial_id)
        return self._study.ask(distributions(self._search))

    def _run_trial(self, trial: optuna.Trial, files: OutcomeFiles) -> None:
        chosen = as_overrides(trial.params)
        try:
            config = compose_job("train", [*self._base, *chosen], schema=TrainConfig)
        except ConfigError as error:
            self._fail(trial, " ".join(str(error).split()))
            return
        run_dir = run_directory(config)
        trial.set_user_attr("run_dir", str(run_dir))
        job = PlannedJob(trial.number + 1, (*self._base, *chosen), " ".join(chosen), str(run_dir))
        if status_of(job.run_dir).get("state") != "done":
            say(f"[{job.number}] {job.label}: started ({files.log(job.number)})")
            self._pruned = False
            outcome = run_job(
                job,
                script=str(PROGRAMS / "train.py"),
                sweep_name=self._name,
                files=files,
                must_end=lambda: self._reports(trial, run_dir),
            )
            if not self._has_ended(trial, outcome):
                return
        self._reports(trial, run_dir)
        self._tell_done(trial, run_dir)

    def _has_ended(self, trial: optuna.Trial, outcome: Outcome) -> bool:
        """Whether the run is complete; a pruned or failed one is told to the study, a stopped one goes on later."""
        import optuna

        label = " ".join(as_overrides(trial.params))
        if outcome.state == "failed":
            self._fail(trial, str(outcome.error))
        elif outcome.state == "stopped" and self._pruned:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            say(f"[{trial.number + 1}] {label}: pruned after {_time(outcome.seconds)}, below the median of its epoch")
        elif outcome.state == "stopped":
            say(f"[{trial.number + 1}] {label}: stopped after {_time(outcome.seconds)}")
        return outcome.state == "done"

    def _tell_done(self, trial: optuna.Trial, run_dir: Path) -> None:
        score = best_score(str(run_dir))
        if score is None:
            self._fail(trial, f"{run_dir}: done, and no val/pauroc in its metrics")
            return
        self._study.tell(trial, score)
        say(
            f"[{trial.number + 1}] {' '.join(as_overrides(trial.params))}: val/pauroc {score:.4f} "
            f"(best {self._study.best_value:.4f}); {max(self._search.n_trials - self._n_ended(), 0)} to go"
        )

    def _fail(self, trial: optuna.Trial, error: str) -> None:
        import optuna

        self._n_failed += 1
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        say(f"[{trial.number + 1}] {' '.join(as_overrides(trial.params))}: FAILED: {error}")

    def _reports(self, trial: optuna.Trial, run_dir: Path) -> bool:
        """Tell the study the epochs that are new; whether the pruner gives the trial up."""
        known = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for epoch, value in enumerate(validation_curve(run_dir)):
            if epoch not in known:
                trial.report(value, epoch)
        self._pruned = self._pruned or trial.should_prune()
        return self._pruned

    def _say_start(self) -> None:
        begun = self._study.get_trials(deepcopy=False)
        say(
            f"search {self._search.name}: {self._n_ended()} of {self._search.n_trials} trials done before; "
            f"{self._folder}"
        )
        if any(trial.state.name == "RUNNING" for trial in begun):
            say("going on with the trial that was in hand")

    def _table(self) -> str:
        """Every trial, best first, and the best as a command."""
        trials = [each for each in self._study.get_trials(deepcopy=False) if each.params]
        trials.sort(key=lambda each: -(each.value if each.value is not None else -1.0))
        rows = [("trial", "state", "val/pauroc", "epochs", "overrides")]
        for each in trials:
            score = "" if each.value is None or each.state.name != "COMPLETE" else f"{each.value:.4f}"
            epochs = str(len(each.intermediate_values))
            rows.append(
                (str(each.number + 1), each.state.name.lower(), score, epochs, " ".join(as_overrides(each.params)))
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if any(each.state.name == "COMPLETE" for each in trials):
            best = self._study.best_trial
            given = [each for each in self._base if not each.startswith(("evaluate.enabled=", "paths.runs_dir="))]
            lines += [
                "the best by validation, one seed; its test is still to be made:",
                f"  python train.py {' '.join([*given, *as_overrides(best.params)])}",
                f"  python evaluate.py checkpoint={best.user_attrs['run_dir']}",
            ]
        return "\n".join(lines)


def _time(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))
