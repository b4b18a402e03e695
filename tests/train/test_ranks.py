"""Two ranks (gloo, CPU) train as one process does, and a run moves from one to two and back.

Not bit for bit: the gradient is the same sum in another order. A float32 gradient differs by about 1e-7 of its size;
AdamW divides by its root mean square, so a weight whose gradient is near zero may move by a part of the learning rate.
After n steps of rate lr the weights are held to 0.001 n lr (6e-5 lr is measured after 12), the loss of the fixed
validation set to 1e-5. The network has no batch norm: on a CPU torch has none that is shared by ranks.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dhs.config.cli import CONF_DIR
from dhs.inject.build import build_injector
from dhs.preemption import Preempted
from dhs.train.checkpoint import HEADER, read_checkpoint
from tests.conftest import SMALL
from tests.train.runs import STEPS_PER_EPOCH, TINY, Death, restored_threads, run  # noqa: F401

REPO = CONF_DIR.parent
NO_BATCH_NORM = ("model=convnext_tiny", "model.backbone=test_convnext", "model.dropout=0", "model.drop_path=0")
LONG = (
    *(override for override in TINY if not override.startswith("model.")),
    *NO_BATCH_NORM,
    "trainer.max_epochs=400",
    "trainer.patience=400",
    "optim.warmup_fraction=0",
    "inject.n_val_positives=13",
)
LR = 2e-3


def state(run_dir: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run_dir / "checkpoints/last.ckpt")["current_model_state"]


def step_of(run_dir: Path) -> int:
    path = run_dir / "checkpoints/last.ckpt"
    return read_checkpoint(path)[HEADER]["step"] if path.is_file() else 0


def val_losses(path: Path) -> dict[int, float]:
    with path.open() as file:
        return {int(row["epoch"]): float(row["val/loss"]) for row in csv.DictReader(file) if row.get("val/loss")}


def assert_close(left: Path, right: Path, *, steps: int) -> None:
    ours, theirs = state(left), state(right)
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    print(f"largest difference {worst / LR:.2g} learning rates after {steps} steps")
    assert worst < 1e-3 * steps * LR


def test_one_rank_two_ranks_and_one_again_end_as_one_process_does(small_config, cache_dir, tmp_path):
    moving, alone = tmp_path / "moving", tmp_path / "alone"
    config = small_config(*LONG)
    injector = build_injector(config)
    with pytest.raises(Preempted):
        run(config, injector=injector, run_dir=moving, death=Death("SIGTERM", "training_step", 1))
    assert step_of(moving) == 2

    overrides = [*SMALL, *LONG, f"paths.cache_dir={cache_dir}", f"run_dir={moving}", "trainer.devices=2"]
    process = subprocess.Popen(
        [sys.executable, str(REPO / "train.py"), *overrides],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while step_of(moving) < 2 * STEPS_PER_EPOCH and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)  # as a queue does: to every process of the job
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "stopped by SIGTERM; the same command continues" in output
    assert output.count("run directory") == 1, "rank 1 is silent"
    steps = step_of(moving)
    assert steps >= 2 * STEPS_PER_EPOCH

    with pytest.raises(Preempted):
        run(config, injector=injector, run_dir=alone, death=Death("SIGTERM", "training_step", steps - 1))
    assert step_of(alone) == steps
    assert_close(moving, alone, steps=steps)
    measured, expected = val_losses(moving / "metrics.csv"), val_losses(alone / "metrics/attempt_1/metrics.csv")
    assert len(measured) >= 1
    for epoch, loss in measured.items():
        assert loss == pytest.approx(expected[epoch], abs=1e-5)

    for run_dir in (moving, alone):
        with pytest.raises(Preempted):
            run(config, injector=injector, run_dir=run_dir, death=Death("SIGTERM", "training_step", steps + 2))
    assert_close(moving, alone, steps=steps + 3)
