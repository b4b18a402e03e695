"""`Checkpoints`: what is kept of a run, when it is written, and how it stops when a queue says so.

    checkpoints/last.ckpt     every `checkpoint_every_steps`, at the end of every epoch's validation, and at a stop
    checkpoints/last-1.ckpt   the one before, and so on: `keep_last_n` in all, should the last be damaged
    checkpoints/best.ckpt     the end of the epoch with the highest val/pauroc; complete, a run can go on from it

The last batch of an epoch is never a place to save: Lightning would skip the validation that follows (2.6.5).
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from dhs.preemption import Preempted, StopRequest
from dhs.train.checkpoint import FORMAT, HEADER
from dhs.train.nonfinite import require_finite_weights

log = logging.getLogger("dhs")

MONITOR = "val/pauroc"
VAL_PROGRESS = "epoch_loop.val_loop.batch_progress"


class Checkpoints(Checkpoint):
    """Saves last and best; stops the run at a place from which it goes on exactly. All ranks call, rank 0 writes."""

    def __init__(self, directory: Path, *, every_n_steps: int, keep_last_n: int, stop: StopRequest) -> None:
        self._directory, self._every_n_steps, self._keep_last_n = directory, every_n_steps, keep_last_n
        self._stop = stop
        self._score: float | None = None
        self._best_score: float | None = None
        self._position = "start"

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self._best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best_score = state_dict["best_score"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop.handle_signals()  # Lightning's own handler broadcasts inside a signal: with ranks it hangs

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stop = self._stop_agreed(trainer)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        if stop or trainer.global_step % self._every_n_steps == 0:
            self._save(trainer, position="mid_epoch")
        if stop:
            self._raise_stop()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if self._stop_agreed(trainer):
            self._save(trainer, position="validation")
            self._raise_stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._score = float(trainer.callback_metrics[MONITOR])
        better = self._best_score is None or self._score > self._best_score
        if better:
            self._best_score = self._score
        self._save(trainer, position="epoch_end")
        if better and trainer.is_global_zero:
            duplicate(self._directory / "last.ckpt", self._directory / "best.ckpt")
        if self._stop_agreed(trainer):
            self._raise_stop()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[HEADER] = {
            "format": FORMAT,
            "position": self._position,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "score": self._score if self._position == "epoch_end" else None,
            "best_score": self._best_score,
        }
        if self._position == "validation":  # as Lightning writes it in the first batch: begin the validation anew
            zero = {"ready": 0, "completed": 0, "started": 0, "processed": 0}
            checkpoint["loops"]["fit_loop"][VAL_PROGRESS] = {
                "total": zero | {"ready": 1, "started": 1},
                "current": zero,
                "is_last_batch": False,
            }

    def _stop_agreed(self, trainer: pl.Trainer) -> bool:
        """Whether any rank was told to stop; all ranks get the same answer."""
        return trainer.strategy.reduce_boolean_decision(self._stop.signum is not None, all=False)

    def _raise_stop(self) -> None:
        raise Preempted(self._stop.signum or STOPPED_BY_ANOTHER_RANK)

    def _save(self, trainer: pl.Trainer, *, position: str) -> None:
        require_finite_weights(trainer.lightning_module)
        self._position = position
        target = self._directory / "last.ckpt"
        if trainer.is_global_zero:
            keep_previous(target, keep=self._keep_last_n)
        trainer.save_checkpoint(target)


STOPPED_BY_ANOTHER_RANK = 15
"""SIGTERM, for the exit code of a rank that was not told itself."""


def keep_previous(last: Path, *, keep: int) -> None:
    """Let ``last`` stay under ``<stem>-1``, that under ``-2``, ... up to ``keep`` - 1; at no time is there none."""
    if keep == 1 or not last.is_file():
        return
    names = [last, *(last.with_name(f"{last.stem}-{n}{last.suffix}") for n in range(1, keep))]
    for older, newer in zip(names[:1:-1], names[-2:0:-1], strict=True):
        if newer.is_file():
            os.replace(newer, older)
    duplicate(last, names[1])


def duplicate(source: Path, target: Path) -> None:
    """``target`` becomes the file ``source``, at once: a second name for it, or a copy where the disk has no links.

    Checkpoints are replaced, never written into, so both names keep what they name.
    """
    temporary = target.with_name(f".{target.name}.tmp{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    os.replace(temporary, target)
