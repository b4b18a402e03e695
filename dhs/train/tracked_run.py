"""`TrackedRun`: what W&B gets of a run beside its curves: what earlier attempts could not send, the best epoch's
figures, checkpoints as artifacts; and the warning where uploads fail."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from dhs.config.root import TrainConfig
from dhs.config.run_dir import config_hash
from dhs.train.attempts import joined_rows
from dhs.train.checkpoint import HEADER, read_checkpoint
from dhs.train.keep import MONITOR
from dhs.train.pictures import as_wandb, drawn_pictures
from dhs.train.tracker import Tracker
from dhs.train.wandb_run import warn_of_failed_uploads

log = logging.getLogger("dhs")

NAMES_OF_ARTIFACTS: dict[str, tuple[str, ...]] = {"none": (), "best": ("best",), "all": ("best", "last")}


class TrackedRun(pl.Callback):
    """Callback of rank 0; ``artifacts`` is a key of NAMES_OF_ARTIFACTS."""

    def __init__(self, tracker: Tracker, *, config: TrainConfig, run_dir: Path, artifacts: str) -> None:
        self._tracker, self._config, self._run_dir = tracker, config, run_dir
        self._artifacts = NAMES_OF_ARTIFACTS[artifacts]
        self._best: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rows = [row for row in joined_rows(self._run_dir) if int(row["step"]) < trainer.global_step]
        sent = [(int(row["step"]), dict[str, Any](_numbers(row))) for row in rows]
        sent += [(made.step, as_wandb(made)) for made in drawn_pictures(self._run_dir, config=self._config)]
        self._tracker.fill(sent, before=trainer.global_step)
        for row in rows:
            if row.get(MONITOR):
                self._keep_best(_numbers(row), step=int(row["step"]) + 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        self._keep_best(metrics | {"epoch": trainer.current_epoch}, step=trainer.global_step)
        warn_of_failed_uploads(self._tracker.experiment)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        self._tracker.flush()  # what a run goes on from is never ahead of its curves

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._tracker.flush()
        for name in self._artifacts:
            self._upload(self._run_dir / "checkpoints" / f"{name}.ckpt")

    def _keep_best(self, metrics: dict[str, float], *, step: int) -> None:
        """Figures of the epoch that best.ckpt is of: all of one epoch, not each one's own maximum."""
        if self._best is not None and metrics[MONITOR] <= self._best:
            return
        self._best = metrics[MONITOR]
        best = {f"best/{name.removeprefix('val/')}": value for name, value in metrics.items() if name != "step"}
        self._tracker.experiment.summary.update(best | {"best/step": step})

    def _upload(self, path: Path) -> None:
        import wandb

        run, header = self._tracker.experiment, read_checkpoint(path)[HEADER]
        metadata = {
            "config_hash": config_hash(self._config),
            "monitor": MONITOR,
            **{name: header[name] for name in ("score", "epoch", "step")},
        }
        artifact = wandb.Artifact(f"{self._config.name}-{run.id}", type="model", metadata=metadata)
        artifact.add_file(str(path))
        try:
            run.log_artifact(artifact, aliases=[path.stem])
        except Exception as error:  # an upload must not end a run, and W&B raises whatever its libraries do
            log.warning("W&B: %s is not uploaded (%s); it is at %s", path.name, error, path)


def _numbers(row: dict[str, str]) -> dict[str, float]:
    """A row of metrics.csv as it was logged: without the step, and without empty cells."""
    return {
        name: int(value) if name == "epoch" else float(value) for name, value in row.items() if value and name != "step"
    }
