"""Callbacks: progress one can read in a log file and in the metrics, and a status file that says where a run is."""

import logging
import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from dhs.config.run_dir import RunRecord
from dhs.train.keep import MONITOR
from dhs.train.module import total_steps
from dhs.train.speed import LoaderClock, Stopwatch, Window, memory_gib, process_age_s

log = logging.getLogger("dhs")

LOG_EVERY_STEPS = 20
NOTHING = Window(0, 0.0, 0.0)


class Patience(EarlyStopping):
    """Stops when val/pauroc has not risen for ``patience`` epochs; the count survives a restart, the setting is ours.

    Lightning keeps the count but not the decision: continued from its last epoch, a stopped run would train one more.
    """

    def __init__(self, *, patience: int) -> None:
        super().__init__(MONITOR, mode="max", patience=patience, check_on_train_epoch_end=False)
        self._configured = patience

    @property
    def state_key(self) -> str:
        return "Patience"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.patience = self._configured

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class ScheduleOfConfig(pl.Callback):
    """The learning rate follows the configuration, not the checkpoint: a run made longer has a longer schedule."""

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        for state in checkpoint["lr_schedulers"]:
            if "lr_lambdas" in state:  # LambdaLR stores the total number of steps of its functions
                state["lr_lambdas"] = [None] * len(state["lr_lambdas"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for config in trainer.lr_scheduler_configs:
            schedule: Any = config.scheduler
            if not hasattr(schedule, "lr_lambdas"):
                continue
            for group, base, factor in zip(
                schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
            ):
                group["lr"] = base * factor(schedule.last_epoch)


class ProgressLines(pl.Callback):
    """One line every ``every_s`` seconds: epoch, step, loss, stamps per second, wait for data, time to go; and one for
    each epoch. The same figures go to the metrics, and the run's own to status.json."""

    def __init__(self, record: RunRecord, *, clock: LoaderClock, every_s: float = 10.0) -> None:
        self._record, self._every_s = record, every_s
        self._lines, self._metrics = Stopwatch(clock), Stopwatch(clock)
        self._last_line = time.monotonic()
        self._epoch = NOTHING
        self._first_step_done = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._epoch = NOTHING
        self._begin(trainer.global_step)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._begin(trainer.global_step)  # a run that goes on in mid-epoch has no epoch start

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._first_step_done:
            self._first_step(trainer)
        if trainer.global_step % LOG_EVERY_STEPS == 0:
            self._log_metrics(trainer, self._metrics.lap(step=trainer.global_step), pl_module.config)
        if time.monotonic() - self._last_line >= self._every_s:
            self._line(trainer, pl_module.config, loss=float(outputs["loss"]))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._epoch += self._lines.lap(step=trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        config = pl_module.config
        shown = {name: trainer.callback_metrics.get(name) for name in ("val/loss", "val/auroc", MONITOR)}
        text = "  ".join(f"{name} {float(value):.4f}" for name, value in shown.items() if value is not None)
        rate, wait = self._epoch.stamps_per_s(config.trainer.batch_size), self._epoch.data_wait
        memory = memory_gib()
        log.info(
            "epoch %d/%d  %s  (%.0f stamps/s, %.0f%% of it waiting for data, peak %s)",
            trainer.current_epoch + 1,
            config.trainer.max_epochs,
            text,
            rate,
            100 * wait,
            ", ".join(f"{value:.1f} GiB {name.removesuffix('_gib')}" for name, value in memory.items()),
        )
        self._record.update(
            epoch=trainer.current_epoch,
            step=trainer.global_step,
            stamps_per_s=round(rate, 1),
            data_wait=round(wait, 4),
            **{name: round(value, 3) for name, value in memory.items()},
        )
        self._begin(trainer.global_step)

    def _begin(self, step: int) -> None:
        self._lines.begin(step=step)
        self._metrics.begin(step=step)
        self._last_line = time.monotonic()

    def _first_step(self, trainer: pl.Trainer) -> None:
        self._first_step_done = True
        seconds = process_age_s()
        log.info("first step done %.1f s after the start", seconds)
        self._record.update(first_step_s=round(seconds, 2))
        self._begin(trainer.global_step)

    def _log_metrics(self, trainer: pl.Trainer, window: Window, config: Any) -> None:
        figures = {"stamps_per_s": window.stamps_per_s(config.trainer.batch_size), "data_wait": window.data_wait}
        values = {f"perf/{name}": value for name, value in (figures | memory_gib()).items()}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.fit_loop.epoch_loop._batches_that_stepped)

    def _line(self, trainer: pl.Trainer, config: Any, *, loss: float) -> None:
        window = self._lines.lap(step=trainer.global_step)
        self._epoch += window
        steps_to_go = total_steps(config) - trainer.global_step
        to_go = timedelta(seconds=round(steps_to_go * window.seconds / max(window.steps, 1)))
        log.info(
            "epoch %d/%d  step %d/%d  loss %.4f  %.0f stamps/s  %.0f%% waiting for data  %s to go (at most)",
            trainer.current_epoch + 1,
            config.trainer.max_epochs,
            trainer.global_step,
            total_steps(config),
            loss,
            window.stamps_per_s(config.trainer.batch_size),
            100 * window.data_wait,
            to_go,
        )
        self._record.update(epoch=trainer.current_epoch, step=trainer.global_step)
        self._last_line = time.monotonic()
