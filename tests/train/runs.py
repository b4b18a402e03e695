"""Small training runs that die where a test wants them to, and what is left of them."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from dhs.config.root import TrainConfig
from dhs.config.run_dir import RunRecord
from dhs.inject.injector import Injector
from dhs.preemption import StopRequest
from dhs.train.checkpoint import HEADER, read_checkpoint
from dhs.train.fit import fit
from dhs.train.module import LensFinder
from dhs.train.resume import continue_run

STEPS_PER_EPOCH, EPOCHS = 4, 3
TINY = (
    "trainer.batch_size=8",
    f"inject.samples_per_epoch={8 * STEPS_PER_EPOCH}",
    f"trainer.max_epochs={EPOCHS}",
    "inject.n_val_positives=12",
    "model.backbone_kwargs.channels=[4,8,8,8]",
    "model.dropout=0.3",
    "optim.ema_decay=0.9",
    "trainer.checkpoint_every_steps=2",
)
"""A run of twelve steps, about half a second; dropout draws from torch's generator on the way."""


DECISIVE = (
    "state_dict",
    "current_model_state",
    "averaging_state",
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
    HEADER,
)
"""What the rest of a run depends on: averaged and raw weights, optimiser, schedule, callbacks, place."""


class PlannedCrash(RuntimeError):
    """As SIGKILL leaves it: nothing is saved that was not."""


class Death(NamedTuple):
    """``how`` a run dies (crash, SIGTERM, SIGUSR1), in which hook of the module, at which global step."""

    how: str
    hook: str
    step: int

    def __str__(self) -> str:
        return f"{self.how} in {self.hook.removesuffix('_step')} at {self.step}"


def run(
    config: TrainConfig,
    *,
    injector: Injector,
    run_dir: Path,
    death: Death | None = None,
    resume_from: Path | None = None,
) -> list[tuple[int, list[int]]]:
    """Start or continue a run as `train.py` does; the samples of every step it has begun."""
    run_dir.mkdir(parents=True, exist_ok=True)
    record = RunRecord(run_dir)
    record.update(attempt=record.status.get("attempt", 0) + 1)
    resume_from = resume_from or continue_run(run_dir, config=config)
    stop = StopRequest()
    with pytest.MonkeyPatch.context() as patch, stop.watching():
        steps = watch_steps(patch)
        if death is not None:
            die_at(patch, death)
        fit(config, injector=injector, record=record, resume_from=resume_from, stop=stop)
    return steps


def watch_steps(patch: pytest.MonkeyPatch) -> list[tuple[int, list[int]]]:
    steps: list[tuple[int, list[int]]] = []
    original = LensFinder.training_step

    def watching(self: LensFinder, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        steps.append((self.global_step, batch["index"].tolist()))
        return original(self, batch, batch_idx)

    patch.setattr(LensFinder, "training_step", watching)
    return steps


def die_at(patch: pytest.MonkeyPatch, death: Death) -> None:
    original: Callable[..., Any] = getattr(LensFinder, death.hook)

    def dying(self: LensFinder, batch: dict[str, Any], batch_idx: int) -> Any:
        if self.global_step == death.step and batch_idx >= (death.hook == "validation_step"):
            if death.how == "crash":
                raise PlannedCrash
            os.kill(os.getpid(), signal.Signals[death.how])
        return original(self, batch, batch_idx)

    patch.setattr(LensFinder, death.hook, dying)


def final_state(run_dir: Path, name: str = "last") -> dict[str, Any]:
    """Everything that the rest of a run would depend on."""
    checkpoint = read_checkpoint(run_dir / "checkpoints" / f"{name}.ckpt")
    return {key: checkpoint[key] for key in DECISIVE}


def first_difference(left: Any, right: Any, *, path: str = "") -> str | None:
    """Where two states differ in any bit; None where they are equal."""
    if isinstance(left, torch.Tensor):
        return None if isinstance(right, torch.Tensor) and torch.equal(left, right) else path
    if isinstance(left, dict) and isinstance(right, dict):
        if left.keys() != right.keys():
            return f"{path}: {sorted(map(str, left.keys() ^ right.keys()))}"
        pairs = [(key, left[key], right[key]) for key in left]
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(left, right, strict=True))]
    else:
        return None if left == right else f"{path}: {left} != {right}"
    found = (first_difference(a, b, path=f"{path}.{key}") for key, a, b in pairs)
    return next((difference for difference in found if difference), None)


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    """A run sets the number of threads that its configuration asks for; the next test finds it as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
