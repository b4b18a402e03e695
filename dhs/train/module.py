"""`LensFinder`: the Lightning module. Wiring only; the pieces are pure functions beside it."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from sklearn.metrics import roc_auc_score
from torchmetrics.aggregation import CatMetric

from dhs.config.root import TrainConfig
from dhs.rng import stable_hash
from dhs.train.losses import loss_per_sample
from dhs.train.network import FinderNetwork


class LensFinder(pl.LightningModule):
    """Network, loss and schedule of one configuration; the configuration travels in the checkpoint."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.save_hyperparameters({"config": config.model_dump(mode="json")})
        self.config = config
        torch.manual_seed(step_seed(config.seed, 0, label="weights"))
        self.network = FinderNetwork(config.model, in_channels=len(config.preprocess.channels))
        self.val_logits, self.val_labels = CatMetric(), CatMetric()

    def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """(B,) float32 logits."""
        return self.network(image, metadata)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        # Dropout and drop-path draw from torch's generator: a pure function of the step makes resuming exact.
        torch.manual_seed(step_seed(self.config.seed, self.global_step, label="step"))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        logits = self(batch["image"], batch["metadata"])
        loss = loss_per_sample(logits, batch["label"], config=self.config.loss).mean()
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} at step {self.global_step} (samples {batch['index'].tolist()[:8]}...); "
                "lower optim.lr or raise optim.gradient_clip"
            )
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(logits))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        logits = self(batch["image"], batch["metadata"])
        loss = loss_per_sample(logits, batch["label"], config=self.config.loss).mean()
        self.log("val/loss", loss, batch_size=len(logits), sync_dist=True)
        self.val_logits.update(logits)
        self.val_labels.update(batch["label"])

    def on_validation_epoch_end(self) -> None:
        logits = torch.atleast_1d(self.val_logits.compute()).double().cpu().numpy()
        labels = torch.atleast_1d(self.val_labels.compute()).cpu().numpy()
        self.val_logits.reset()
        self.val_labels.reset()
        if labels.min() == labels.max():  # Lightning's sanity check sees only the first batches
            return
        partial = roc_auc_score(labels, logits, max_fpr=self.config.trainer.monitor_max_fpr)
        self.log("val/auroc", float(roc_auc_score(labels, logits)), prog_bar=True)
        self.log("val/pauroc", float(partial), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optim = self.config.optim
        optimizer = torch.optim.AdamW(parameter_groups(self.network, optim.weight_decay), lr=optim.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            WarmupCosine(
                total_steps=total_steps(self.config),
                warmup_fraction=optim.warmup_fraction,
                final_fraction=optim.final_lr_fraction,
            ),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class WarmupCosine:
    """Learning-rate factor of a step: linear warm-up, then cosine to ``final_fraction``."""

    def __init__(self, *, total_steps: int, warmup_fraction: float, final_fraction: float) -> None:
        self._total, self._final = total_steps, final_fraction
        self._warmup = max(1, round(warmup_fraction * total_steps))

    def __call__(self, step: int) -> float:
        if step < self._warmup:
            return (step + 1) / self._warmup
        progress = min(1.0, (step - self._warmup) / max(1, self._total - self._warmup))
        return self._final + (1 - self._final) * 0.5 * (1 + math.cos(math.pi * progress))


def total_steps(config: TrainConfig) -> int:
    """Optimiser steps of the whole run, from the configuration alone.

    (Asking the trainer restarts the loader on resume: Lightning's `estimated_stepping_batches`.)
    """
    return config.trainer.max_epochs * (config.inject.samples_per_epoch // config.trainer.batch_size)


def parameter_groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels decay; biases and normalisation scales (one-dimensional) do not."""
    decay = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def step_seed(seed: int, step: int, *, label: str) -> int:
    """Seed of torch's generator at ``step``."""
    return stable_hash(f"{label}:{seed}:{step}") % 2**63
