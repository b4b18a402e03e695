"""Whole commands as a user types them: train to report, kill and resume, evaluate again, sweep, build a bank."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dhs.config.cli import CONF_DIR
from tests.conftest import SMALL

REPO = CONF_DIR.parent


def command(program: str, *overrides: str) -> list[str]:
    return [sys.executable, str(REPO / program), *overrides]


def run(program: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(program, *overrides), cwd=REPO, capture_output=True, text=True, timeout=280)


def small(cache_dir: Path, runs_dir: Path, *overrides: str) -> list[str]:
    return [*SMALL, f"paths.cache_dir={cache_dir}", f"paths.runs_dir={runs_dir}", *overrides]


def weights(run_dir: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def finished(cache_dir, tmp_path_factory) -> Path:
    """The run directory of one small training run, done."""
    runs = tmp_path_factory.mktemp("runs")
    result = run("train.py", *small(cache_dir, runs))
    assert result.returncode == 0, result.stdout + result.stderr
    (run_dir,) = [path for path in runs.iterdir() if path.is_dir()]
    return run_dir


def test_a_run_directory_holds_everything(finished):
    for name in (
        "config.yaml",
        "overrides.yaml",
        "versions.json",
        "run.log",
        "first_batch.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "metrics/attempt_1/metrics.csv",
        "evaluate/scores/test.parquet",
        "evaluate/metrics.json",
        "evaluate/metrics.csv",
        "evaluate/report.html",
    ):
        assert (finished / name).stat().st_size > 0, name
    status = json.loads((finished / "status.json").read_text())
    assert status["state"] == "done"
    assert status["wall_s"] > 0
    assert "http" not in (finished / "evaluate/report.html").read_text().replace("http://www.w3.org/2000/svg", "")


def test_a_finished_run_is_not_repeated_unless_asked(finished, cache_dir):
    again = run("train.py", *small(cache_dir, finished.parent))
    assert again.returncode == 0
    assert "already finished" in again.stdout
    assert json.loads((finished / "status.json").read_text())["attempt"] == 1


def test_evaluate_reproduces_the_figures_of_training(finished, tmp_path):
    result = run(
        "evaluate.py",
        f"checkpoint={finished}",
        f"output_dir={tmp_path}",
        "num_workers=0",
        "evaluate.bootstrap_resamples=100",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    theirs, ours = (json.loads((path / "metrics.json").read_text()) for path in (finished / "evaluate", tmp_path))
    assert theirs["heldout"] == ours["heldout"]


def test_kill_9_in_mid_epoch_and_the_same_command_ends_with_the_same_weights(finished, cache_dir, tmp_path):
    overrides = small(cache_dir, tmp_path, "trainer.checkpoint_every_steps=2")
    process = subprocess.Popen(command("train.py", *overrides), cwd=REPO, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (run_dir,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert json.loads((run_dir / "status.json").read_text())["state"] == "running"
    result = run("train.py", *overrides, "trainer.num_workers=1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "resuming from" in result.stdout
    for name in ("last", "best"):
        resumed, reference = weights(run_dir, name), weights(finished, name)
        assert all(torch.equal(resumed[key], reference[key]) for key in reference)
    assert json.loads((run_dir / "status.json").read_text())["attempt"] == 2


def test_an_interrupted_run_says_so_and_can_go_on(cache_dir, tmp_path):
    overrides = small(cache_dir, tmp_path, "trainer.max_epochs=500", "trainer.patience=500")
    process = subprocess.Popen(command("train.py", *overrides), cwd=REPO, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in output
    (status,) = tmp_path.glob("*/status.json")
    assert json.loads(status.read_text())["state"] == "interrupted"


@pytest.fixture(scope="module")
def swept(cache_dir, tmp_path_factory) -> Path:
    """The folder of a sweep of two runs."""
    folder = tmp_path_factory.mktemp("sweep")
    result = run(
        "train.py",
        "-m",
        *small(
            cache_dir,
            folder,
            "evaluate.enabled=false",
            "trainer.max_epochs=1",
            "inject.samples_per_epoch=32",
            "loss=focal,bce",
        ),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_a_sweep_runs_every_combination(swept):
    states = [json.loads(path.read_text())["state"] for path in swept.glob("*/status.json")]
    assert states == ["done"] * 2


def test_a_sweep_becomes_a_table_and_the_second_time_from_its_scores(swept, cache_dir):
    command = ["task=ablation", f"task.sweep={swept}", "task.resamples=200", f"paths.cache_dir={cache_dir}"]
    command += [
        "task.baseline='loss=bce'",
        "num_workers=0",
        "evaluate.fprs=[0.1]",
        "evaluate.bin_fpr=0.1",
        "task.test_on=['loss=bce']",
    ]
    result = run("evaluate.py", *command)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "scored 2/2" in result.stdout
    made = json.loads((swept / "ablation" / "ablation.json").read_text())
    assert {c["test_set"] for c in made["comparisons"]} == {"common test set"}
    verdicts = {d["verdict"] for c in made["comparisons"] for d in c["differences"]}
    assert verdicts == {"no claim: 1 seed(s) an arm, a recipe needs 3"}
    scores = {path: path.stat().st_mtime_ns for path in (swept / "ablation" / "scores").iterdir()}
    again = run("evaluate.py", *command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in (swept / "ablation" / "scores").iterdir()} == scores
    assert json.loads((swept / "ablation" / "ablation.json").read_text()) == made


def test_a_failing_run_says_one_line_and_keeps_the_traceback(cache_dir, tmp_path):
    result = run("train.py", *small(cache_dir, tmp_path, "model.backbone=resnt18"))
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "resnet18" in result.stderr
    (error,) = tmp_path.glob("*/error.txt")
    assert "Traceback" in error.read_text()
    assert json.loads((error.parent / "status.json").read_text())["state"] == "failed"


def test_an_offline_wandb_run_is_written(cache_dir, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    runs = tmp_path / "runs"
    result = run("train.py", *small(cache_dir, runs, "logger=wandb", "evaluate.enabled=false", "trainer.max_epochs=1"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "W&B: offline" in result.stdout
    (run_dir,) = [path for path in runs.iterdir() if path.is_dir()]
    run_id = (run_dir / "wandb_id.txt").read_text()
    assert list(run_dir.glob(f"wandb/offline-run-*-{run_id}/*.wandb"))


def test_inject_sheet_draws_injected_stamps(cache_dir, tmp_path):
    result = run(
        "inject.py",
        "task=sheet",
        f"task.output={tmp_path / 'sheet.png'}",
        "task.n_stamps=4",
        "max_galaxies=256",
        f"paths.cache_dir={cache_dir}",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    with open(tmp_path / "sheet.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all(0.5 <= float(row["theta_e_arcsec"]) <= 2.5 for row in rows)


def test_the_real_example_builds_its_bank_and_trains(shared_data, tmp_path):
    if not (shared_data / "cosmos_23.5_example").is_dir():
        pytest.skip("no COSMOS example catalogue")
    result = run(
        "train.py",
        "experiment=real_example",
        "debug=fast",
        f"paths.runs_dir={tmp_path / 'runs'}",
        f"paths.cache_dir={tmp_path / 'cache'}",
        "inject.samples_per_epoch=64",
        "trainer.max_epochs=1",
        "inject.n_val_positives=16",
        "inject.n_test_positives=16",
        "evaluate.bootstrap_resamples=100",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "cache" / "cosmos_example_bank.h5").is_file()
    assert list((tmp_path / "runs").glob("*/evaluate/report.html"))
