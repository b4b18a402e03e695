"""A search goes on where it was, repeats nothing, and never sees the test sky; training is a stand-in."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import dhs.sweep.search
from dhs.config.cli import CONF_DIR, compose_job
from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.sweep.search import read_search, run_search
from dhs.sweep.study import as_overrides, corners
from tests.conftest import REPO

pytest.importorskip("optuna", reason="extra: search")

SEARCH = {
    "name": "night",
    "n_trials": 4,
    "overrides": ["trainer.max_epochs=3"],
    "space": {
        "optim.lr": {"low": 1e-4, "high": 1e-1, "log": True},
        "loss": {"choices": ["bce", "focal"]},
        "trainer.batch_size": {"low": 32, "high": 128, "step": 32},
    },
}


def short_run_directory(config: TrainConfig) -> Path:
    """As the stand-in finds it from its arguments, without composing them."""
    return config.paths.runs_dir / f"{config.optim.lr:.6g}-{config.loss.name}-{config.trainer.batch_size}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The stand-in is train.py; runs go to ``tmp_path/runs``."""
    shutil.copy(Path(__file__).with_name("fake_trial.py"), tmp_path / "train.py")
    monkeypatch.setattr(dhs.sweep.search, "PROGRAMS", tmp_path)
    monkeypatch.setattr(dhs.sweep.search, "run_directory", short_run_directory)
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    return tmp_path


def search(folder: Path, *overrides: str, **changes: object) -> int:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(SEARCH | changes))
    return run_search(path, [f"paths.runs_dir={folder / 'runs'}", *overrides])


def starts(folder: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text().splitlines()) for path in (folder / "runs").glob("*/starts")}


def scores(folder: Path) -> list[float]:
    found = [json.loads(path.read_text()) for path in (folder / "runs").glob("*/status.json")]
    return [each["score"] for each in found if each["state"] == "done"]


def test_the_best_is_printed_as_a_command_and_more_trials_repeat_none(folder, capfd):
    assert search(folder) == 0
    told = capfd.readouterr().out
    assert len(starts(folder)) == 4
    (command,) = [line.strip() for line in told.splitlines() if line.startswith("  python train.py")]
    best = compose_job("train", command.split()[2:], schema=TrainConfig)
    assert f"{1 - abs(best.optim.lr - 0.01):.4f}" == f"{max(scores(folder)):.4f}"
    assert f"val/pauroc {max(scores(folder)):.4f}" in told
    assert search(folder, n_trials=6) == 0
    assert len(starts(folder)) == 6
    assert set(starts(folder).values()) == {1}
    assert all("evaluate.enabled=false" in path.read_text().lower() for path in (folder / "runs").glob("*/arguments"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_search_that_was_ended_goes_on_with_the_trial_in_hand(folder, how):
    (folder / "runs").mkdir()
    (folder / "runs" / "hang_at").write_text("2")
    (folder / "search.yaml").write_text(yaml.safe_dump(SEARCH))
    code = (
        "import sys; from pathlib import Path; import dhs.sweep.search as search;"
        f"search.PROGRAMS = Path({str(folder)!r});"
        "from tests.sweep.test_search import short_run_directory; search.run_directory = short_run_directory;"
        f"sys.exit(search.run_search(Path({str(folder / 'search.yaml')!r}), ['paths.runs_dir={folder / 'runs'}']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (folder / "runs" / "hanging").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    assert process.wait(timeout=60) == (143 if how == signal.SIGTERM else -9)
    if how == signal.SIGKILL:  # as killed in the middle of a write
        with (folder / "runs" / "search" / "journal.log").open("a") as journal:
            journal.write('{"op_code": 4, "wor')
        (folder / "runs" / "search" / "journal.log.lock").symlink_to("journal.log")
        while "preempted" not in (folder / "runs" / "hanging").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
    (folder / "runs" / "hang_at").unlink()
    assert search(folder) == 0
    assert sorted(starts(folder).values()) == [1, 1, 1, 2]
    assert len(scores(folder)) == 4


def test_a_failed_trial_is_told_and_run_again_by_the_next_call(folder, capfd):
    (folder / "runs").mkdir()
    (folder / "runs" / "fail_at").write_text("1")
    assert search(folder) == 1
    assert "FAILED: boom" in capfd.readouterr().out
    (folder / "runs" / "fail_at").unlink()
    assert search(folder) == 0
    assert sorted(starts(folder).values()) == [1, 1, 1, 2]


def test_a_poor_trial_is_pruned_by_its_epochs(folder, capfd):
    space = {"optim.lr": {"choices": [0.01, 0.0101, 0.9, 0.8, 0.7, 0.6]}}
    pruner = {"n_startup_trials": 1, "n_warmup_epochs": 0}
    (folder / "runs").mkdir()
    (folder / "runs" / "slow_epochs").touch()
    assert search(folder, space=space, pruner=pruner, sampler="random", n_trials=8, seed=4) == 0
    assert "pruned after" in capfd.readouterr().out
    states = {json.loads(path.read_text())["state"] for path in (folder / "runs").glob("*/status.json")}
    assert states == {"done", "preempted"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": {"optim.lrr": {"low": 0.1, "high": 0.2}}}, r"space \(optim\.lrr=0\.1\): optim\.lrr: unknown key"),
        (
            {"space": {"optim.lr": {"low": 0.1, "high": 2.0}}},
            r"space \(optim\.lr=2\): optim\.lr = 2: must be less than",
        ),
        ({"space": {"loss": {"choices": ["bce", "foo"]}}}, r"loss = foo: must be one of bce, focal"),
        ({"space": {"optim.lr": {"low": 0.2, "high": 0.1}}}, r"low = 0\.2: must not be above high = 0\.1"),
        ({"space": {"optim.lr": {"low": 0, "high": 0.1, "log": True}}}, r"low = 0: must be above 0 where log is true"),
        ({"space": {"optim.lr": {"low": 0.1}}}, r"space\.optim\.lr\.low and high: give both, or choices"),
        ({"overrides": ["loss=bce"]}, r"space\.loss: is fixed in overrides too"),
        ({"n_trials": 0}, r"n_trials = 0: must be greater than or equal to 1"),
        ({"objective": "test"}, r"objective = 'test': unknown key"),
    ],
)
def test_a_wrong_search_is_one_line_before_the_first_trial(folder, changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        search(folder, **changes)
    assert len(str(caught.value).splitlines()) == 1
    assert starts(folder) == {}


def test_another_space_under_the_same_name_is_refused(folder):
    assert search(folder, n_trials=1) == 0
    with pytest.raises(ConfigError, match="holds a search with another space or other overrides; give another name"):
        search(folder, "optim.weight_decay=0", n_trials=1)


def test_the_search_files_are_valid():
    for path in sorted((CONF_DIR.parent / "sweeps").glob("search*.yaml")):
        settings = read_search(path)
        for corner in corners(settings):
            compose_job("train", [*settings.overrides, *corner], schema=TrainConfig)


def test_a_parameter_is_typed_as_it_was_run():
    assert as_overrides({"optim.lr": 1 / 3, "n": 64, "flag": True, "loss": "bce"}) == [
        "optim.lr=0.333333",
        "n=64",
        "flag=true",
        "loss=bce",
    ]
