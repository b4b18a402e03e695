"""Callbacks: progress one can read in a log file, and a status file that says where a run is."""

import logging
import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl

from dhs.config.run_dir import RunRecord
from dhs.train.module import total_steps

log = logging.getLogger("dhs")


class ProgressLines(pl.Callback):
    """One line every ``every_s`` seconds: epoch, step, loss, stamps per second, time to go."""

    def __init__(self, record: RunRecord, *, every_s: float = 10.0) -> None:
        self._record, self._every_s = record, every_s
        self._last_time, self._last_step = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._last_time, self._last_step = time.monotonic(), trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.monotonic()
        if now - self._last_time < self._every_s:
            return
        config = pl_module.config
        rate = (trainer.global_step - self._last_step) / (now - self._last_time)
        to_go = timedelta(seconds=round((total_steps(config) - trainer.global_step) / rate))
        log.info(
            "epoch %d/%d  step %d/%d  loss %.4f  %.0f stamps/s  %s to go (at most)",
            trainer.current_epoch + 1,
            config.trainer.max_epochs,
            trainer.global_step,
            total_steps(config),
            float(outputs["loss"]),
            rate * config.trainer.batch_size,
            to_go,
        )
        self._record.update(epoch=trainer.current_epoch, step=trainer.global_step)
        self._last_time, self._last_step = now, trainer.global_step

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        shown = {name: trainer.callback_metrics.get(name) for name in ("val/loss", "val/auroc", "val/pauroc")}
        text = "  ".join(f"{name} {float(value):.4f}" for name, value in shown.items() if value is not None)
        log.info("epoch %d/%d  %s", trainer.current_epoch + 1, pl_module.config.trainer.max_epochs, text)
        self._last_time, self._last_step = time.monotonic(), trainer.global_step
