"""Runs that are stopped, doubled, made longer, as a queue and a user do it: whole commands with loader workers."""

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
from dhs.train.checkpoint import HEADER, read_checkpoint
from tests.conftest import SMALL
from tests.train.runs import TINY, first_difference

REPO = CONF_DIR.parent


class Program:
    """train.py in a session of its own, with two workers."""

    def __init__(self, *overrides: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(REPO / "train.py"), *overrides],
            cwd=REPO,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + 200
        while not path.exists() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.exists(), self.process.communicate(timeout=10)[0]

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=200)
        return self.process.returncode, output


@pytest.fixture
def command(cache_dir, tmp_path):
    def overrides(*more: str) -> list[str]:
        shared = (f"paths.cache_dir={cache_dir}", f"paths.runs_dir={tmp_path}", "evaluate.enabled=false")
        return [*SMALL, *TINY, *shared, "trainer.num_workers=2", *more]

    return overrides


def test_a_queue_stops_the_whole_job_and_the_same_command_ends_it_exactly(command, tmp_path):
    """SIGTERM to every process, workers too; beside it a second start is refused; the end is made longer."""
    run_dir = tmp_path / "stopped"
    first = Program(*command(f"run_dir={run_dir}"))
    first.wait_for(run_dir / "checkpoints" / "last.ckpt")
    os.killpg(first.process.pid, signal.SIGSTOP)
    code, output = Program(*command(f"run_dir={run_dir}", "resume=never")).end()
    assert code == 2, output
    assert output.startswith(f"run_dir = {run_dir}: another process trains in it (pid {first.process.pid} on ")
    assert len(output.strip().splitlines()) == 1
    os.killpg(first.process.pid, signal.SIGTERM)
    os.killpg(first.process.pid, signal.SIGCONT)
    code, output = first.end()
    assert code == 128 + signal.SIGTERM, output
    assert "stopped by SIGTERM; the same command continues" in output
    assert "Traceback" not in output
    assert json.loads((run_dir / "status.json").read_text())["state"] == "preempted"
    stopped_at = read_checkpoint(run_dir / "checkpoints/last.ckpt")[HEADER]

    code, output = Program(*command(f"run_dir={run_dir}")).end()
    assert code == 0, output
    assert f"resuming from {run_dir}/checkpoints/last.ckpt (step {stopped_at['step']}, in" in output
    code, output = Program(*command(f"run_dir={tmp_path}/straight", "trainer.num_workers=0")).end()
    assert code == 0, output
    for name in ("last", "best"):
        ours, theirs = (read_checkpoint(d / f"checkpoints/{name}.ckpt") for d in (run_dir, tmp_path / "straight"))
        for part in ("state_dict", "current_model_state", "optimizer_states", HEADER):
            assert first_difference(ours[part], theirs[part]) is None, (name, part)

    code, output = Program(*command(f"resume={run_dir}", "trainer.max_epochs=4")).end()
    assert code == 0, output
    assert "the learning rate follows the schedule of 4 epochs from here on (it was that of 3)" in output
    (longer,) = tmp_path.glob("debug-*/checkpoints/last.ckpt")
    assert read_checkpoint(longer)[HEADER]["epoch"] == 3
    status = json.loads((longer.parents[1] / "status.json").read_text())
    assert status["resumed_from"] == str(run_dir)
    assert status["first_step_s"] > 0
    assert torch.load(longer, weights_only=True)["hyper_parameters"]["config"]["trainer"]["max_epochs"] == 4
