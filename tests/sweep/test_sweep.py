"""What `-m` promises, under every launcher; the program that it runs is a stand-in of twenty lines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import dhs.sweep.run
from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.sweep.job import run_job
from dhs.sweep.outcome import OutcomeFiles
from dhs.sweep.plan import PlannedJob
from dhs.sweep.run import run_sweep
from tests.conftest import REPO

BASIC: list[str] = []
LAUNCHERS = {
    "basic": BASIC,
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder of runs; train.py is the stand-in."""
    programs = tmp_path / "programs"
    programs.mkdir()
    shutil.copy(Path(__file__).with_name("fake_train.py"), programs / "train.py")
    monkeypatch.setattr(dhs.sweep.run, "PROGRAMS", programs)
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.delenv("DHS_SWEEP", raising=False)
    (tmp_path / "night").mkdir()
    return tmp_path / "night"


@pytest.fixture(params=LAUNCHERS)
def launcher(request):
    if request.param != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{request.param.split('_')[0]}_launcher", reason="extra: launchers")
    return LAUNCHERS[request.param]


def arguments(runs: Path, *names: str, launcher: list[str] = BASIC) -> list[str]:
    return [f"run_dir={','.join(str(runs / name) for name in names)}", f"paths.runs_dir={runs}", *launcher]


def sweep(runs: Path, *names: str, launcher: list[str] = BASIC) -> int:
    return run_sweep("train", arguments(runs, *names, launcher=launcher), schema=TrainConfig)


def starts(runs: Path, name: str) -> int:
    path = runs / name / "starts"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def state(runs: Path, name: str) -> str:
    return json.loads((runs / name / "status.json").read_text())["state"]


def when(condition, then) -> threading.Thread:
    """Do ``then()`` as soon as ``condition()``."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_failed_job_shows_stops_nothing_and_alone_is_started_again(runs, launcher, capfd):
    assert sweep(runs, "one", "bad", "two", launcher=launcher) == 1
    told = capfd.readouterr().out
    assert f"bad: FAILED: ValueError: no such thing ({runs}/bad/error.txt)" in told
    assert [state(runs, name) for name in ("one", "bad", "two")] == ["done", "failed", "done"]
    assert told.splitlines()[-2] == "3 jobs: 2 done, 1 failed"
    (runs / "bad" / "mended").touch()
    assert sweep(runs, "one", "bad", "two", launcher=launcher) == 0
    assert [starts(runs, name) for name in ("one", "bad", "two")] == [1, 2, 1]
    assert capfd.readouterr().out.splitlines()[-1] == "3 jobs: 1 done, 2 finished before"


def test_a_stopped_sweep_has_saved_its_jobs_and_goes_on(runs, launcher, capfd):
    stop = when(lambda: starts(runs, "slow"), lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert sweep(runs, "slow", "slow_too", launcher=launcher) == 143
    stop.join()
    assert state(runs, "slow") == "preempted"
    assert "the same command goes on" in capfd.readouterr().out
    for name in ("slow", "slow_too"):
        (runs / name).mkdir(exist_ok=True)
        (runs / name / "go_on").touch()
    assert sweep(runs, "slow", "slow_too", launcher=launcher) == 0
    assert starts(runs, "slow") == 2
    assert [state(runs, name) for name in ("slow", "slow_too")] == ["done"] * 2


def test_ctrl_c_starts_no_further_job(runs):
    when(lambda: starts(runs, "slow"), lambda: os.kill(os.getpid(), signal.SIGINT))
    assert sweep(runs, "slow", "one") == 130
    assert starts(runs, "one") == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_stopped_sweep_does_not_wait_for_what_is_still_in_a_queue(runs, monkeypatch, capfd):
    """As under SLURM: the launcher is left; the queued job finds the word to stop when its turn comes."""
    monkeypatch.setattr(dhs.sweep.run, "require_launcher", lambda plan: ("queue", True))
    when(lambda: starts(runs, "slow"), lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert sweep(runs, "slow", "one") == 143
    assert state(runs, "slow") == "preempted"
    assert "queued ones end when their turn comes" in capfd.readouterr().out
    (call,) = (runs / "multirun").iterdir()
    queued = PlannedJob(2, (f"run_dir={runs / 'one'}",), "one", str(runs / "one"))
    script = str(dhs.sweep.run.PROGRAMS / "train.py")
    assert run_job(queued, script=script, sweep_name="night", files=OutcomeFiles(call)).state == "stopped"
    assert starts(runs, "one") == 0


def test_a_job_that_is_killed_is_told_and_the_rest_run(runs, capfd):
    assert sweep(runs, "killed", "one") == 1
    assert "killed: FAILED: killed by SIGKILL (out of memory?)" in capfd.readouterr().out
    assert state(runs, "one") == "done"


def test_jobs_save_and_end_when_the_sweep_itself_is_killed(runs):
    code = (
        "import sys; from pathlib import Path; import dhs.sweep.run as run; from dhs.config.root import TrainConfig;"
        f"run.PROGRAMS = Path({str(dhs.sweep.run.PROGRAMS)!r});"
        "run.run_sweep('train', sys.argv[1:], schema=TrainConfig)"
    )
    command = [sys.executable, "-c", code, *arguments(runs, "slow", "one")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    when(lambda: starts(runs, "slow"), process.kill).join()
    process.wait(timeout=30)
    when(lambda: state(runs, "slow") == "preempted", lambda: None).join()
    assert state(runs, "slow") == "preempted"
    assert starts(runs, "one") == 0


def test_runs_know_their_sweep_and_the_call_is_on_record(runs, monkeypatch):
    assert sweep(runs, "one", "two") == 0
    assert json.loads((runs / "one" / "status.json").read_text())["sweep"] == "night"
    monkeypatch.setenv("DHS_SWEEP", "mine")
    assert sweep(runs, "three", "two") == 0
    assert json.loads((runs / "three" / "status.json").read_text())["sweep"] == "mine"
    first, _ = sorted((runs / "multirun").iterdir())
    record = json.loads((first / "sweep.json").read_text())
    assert [job["run_dir"] for job in record["jobs"]] == [str(runs / "one"), str(runs / "two")]
    assert OutcomeFiles(first).log(1).read_text() == "some output\n"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hydra/launcher=nosuch", r"hydra/launcher = nosuch: must be one of basic, .*pip install"),
        ("hydra/sweeper=optuna", r"hydra/sweeper=optuna: .* a search is `train.py --search FILE`"),
        ("hydra.launcher.n_job=2", r"hydra\.launcher\.n_job: unknown key"),
    ],
)
def test_a_wrong_launcher_is_one_line_before_the_first_job(runs, override, words):
    with pytest.raises(ConfigError, match=words) as caught:
        sweep(runs, "one", "two", launcher=[override])
    assert len(str(caught.value).splitlines()) == 1
    assert starts(runs, "one") == 0
