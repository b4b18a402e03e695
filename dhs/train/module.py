"""`LensFinder`: the Lightning module. Wiring only; the pieces are pure functions beside it."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torchmetrics.aggregation import CatMetric

from dhs.config.root import TrainConfig
from dhs.operating_point import tpr_at_fpr
from dhs.rng import stable_hash
from dhs.train.ema import EmaWeights
from dhs.train.losses import batch_loss
from dhs.train.network import FinderNetwork
from dhs.train.optimiser import WarmupCosine, build_optimizer, drop_frozen_gradients, keep_asleep

log = logging.getLogger("dhs")

VAL_FPRS = (1e-2, 1e-3)
"""val/tpr_at_fpr_0.01 and so on, each where the negatives of the validation set can resolve it."""


@dataclass(frozen=True)
class ValidationScores:
    """What the last validation gave, in the order of the set."""

    index: np.ndarray
    """(N,) int64, number of the stamp in the validation set."""
    logit: np.ndarray
    """(N,) float64."""
    label: np.ndarray
    """(N,) float32, 1 = injected."""


class LensFinder(pl.LightningModule):
    """Network, loss and schedule of one configuration; the configuration travels in the checkpoint."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.save_hyperparameters({"config": config.model_dump(mode="json")})
        self.config = config
        torch.manual_seed(step_seed(config.seed, 0, label="weights"))
        self.network = FinderNetwork(
            config.model,
            in_channels=len(config.preprocess.channels),
            channels_last=config.trainer.channels_last,
        )
        # Dropped NaNs would shift scores against labels; dhs.train.nonfinite stops at the first one.
        self.val_logits, self.val_labels, self.val_index = CatMetric(nan_strategy="disable"), CatMetric(), CatMetric()
        self.val_scores: ValidationScores | None = None
        self._unresolved_said = False

    def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """(B,) float32 logits."""
        return self.network(image, metadata)

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.config.trainer.compile:
            self.network.compile()  # in place: the names of the weights stay those of the network

    def configure_callbacks(self) -> list[Callback]:
        decay = self.config.optim.ema_decay
        return [EmaWeights(decay)] if decay else []

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        # Dropout and drop-path draw from torch's generator: a pure function of the step makes resuming exact.
        rank = f" of rank {self.global_rank}" if self.global_rank else ""
        torch.manual_seed(step_seed(self.config.seed, self.global_step, label=f"step{rank}"))
        # At every step: Lightning starts no epoch when it resumes in the middle of one.
        keep_asleep(self.network, epoch=self.current_epoch, config=self.config.optim)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        logits = self(batch["image"], batch["metadata"])
        loss = batch_loss(logits, batch["label"], kind=batch["kind"], config=self.config.loss)
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(logits))
        return loss

    def on_after_backward(self) -> None:
        drop_frozen_gradients(self.network, epoch=self.current_epoch, config=self.config.optim)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        logits = self(batch["image"], batch["metadata"])
        loss = batch_loss(logits, batch["label"], kind=batch["kind"], config=self.config.loss)
        self.log("val/loss", loss, batch_size=len(logits), sync_dist=True)
        self.val_logits.update(logits)
        self.val_labels.update(batch["label"])
        self.val_index.update(batch["index"])  # kept as float32: exact below 2^24
        return logits

    def on_validation_epoch_end(self) -> None:
        from sklearn.metrics import roc_auc_score  # takes two seconds, which the first step need not wait for

        logits, labels, index = (_gathered(metric) for metric in (self.val_logits, self.val_labels, self.val_index))
        order = np.argsort(index)  # with ranks, batches come interleaved
        scores = ValidationScores(index[order].astype(np.int64), logits[order].astype(np.float64), labels[order])
        self.val_scores = scores
        if labels.min() == labels.max():  # Lightning's sanity check sees only the first batches
            return
        partial = roc_auc_score(scores.label, scores.logit, max_fpr=self.config.trainer.monitor_max_fpr)
        self.log("val/auroc", float(roc_auc_score(scores.label, scores.logit)), prog_bar=True)
        self.log("val/pauroc", float(partial), prog_bar=True)
        self._log_rates(scores)

    def _log_rates(self, scores: ValidationScores) -> None:
        """TPR at VAL_FPRS; a rate that the sample cannot give is said once, and never logged."""
        points = [tpr_at_fpr(scores.logit, scores.label, fpr=fpr) for fpr in VAL_FPRS]
        for point in points:
            if point.tpr is not None:
                self.log(f"val/tpr_at_fpr_{point.fpr:g}", point.tpr)
        unresolved = [f"val/tpr_at_fpr_{point.fpr:g}: {point.note}" for point in points if point.tpr is None]
        if unresolved and not self._unresolved_said and self.global_rank == 0:
            log.info("not logged: %s", "; ".join(unresolved))
        self._unresolved_said = True

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optim = self.config.optim
        optimizer = build_optimizer(self.network, optim)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            WarmupCosine(
                total_steps=total_steps(self.config),
                warmup_fraction=optim.warmup_fraction,
                final_fraction=optim.final_lr_fraction,
            ),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def total_steps(config: TrainConfig) -> int:
    """Optimiser steps of the whole run, from the configuration alone.

    (Asking the trainer restarts the loader on resume: Lightning's `estimated_stepping_batches`.)
    """
    return config.trainer.max_epochs * (config.inject.samples_per_epoch // config.trainer.batch_size)


def step_seed(seed: int, step: int, *, label: str) -> int:
    """Seed of torch's generator at ``step``."""
    return stable_hash(f"{label}:{seed}:{step}") % 2**63


def _gathered(metric: CatMetric) -> np.ndarray:
    """(N,) of all ranks; the metric begins anew."""
    values = torch.atleast_1d(metric.compute()).cpu().numpy()
    metric.reset()
    return values
