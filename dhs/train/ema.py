"""Exponential moving average of the weights: what is validated, written as the checkpoint's weights, and evaluated.

Lightning's `WeightAveraging` does the book-keeping; this adds a warm-up of the decay (so that a short run is not an
average of its first, random weights) and keeps the raw weights in every checkpoint, whenever it is written: in the
middle of a validation (a queue's signal) or after the last step. So resuming a run, or extending a finished one, is
exact.
"""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging


class WarmingAverage:
    """``average + (1 - d) (current - average)`` with ``d = min(decay, (1 + n) / (10 + n))`` after n updates.

    The warm-up is TensorFlow's (`tf.train.ExponentialMovingAverage`). Whole numbers (counters) are copied.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay

    @torch.no_grad()
    def __call__(self, average: torch.Tensor, current: torch.Tensor, n_updates: torch.Tensor | int) -> torch.Tensor:
        if not torch.is_floating_point(average):
            return current
        n = torch.as_tensor(n_updates, device=average.device)
        weight = 1 - torch.clamp((1 + n) / (10 + n), max=self._decay)
        return torch.lerp(average, current.to(average.device), weight.to(average.dtype))


class EmaWeights(WeightAveraging):
    """The moving average as a callback; in a checkpoint `state_dict` is the average, `current_model_state` the raw."""

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, avg_fn=WarmingAverage(decay))
        self._swapped = False

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_models(pl_module)  # the parent copies, and the raw weights are gone
        self._swapped = True

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._swapped:
            raw, average = checkpoint["state_dict"], checkpoint["current_model_state"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = average, raw
