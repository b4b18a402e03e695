"""`StopAtNonFinite`: a loss that is NaN or infinite ends the run before the weights know of it, and names its cause.

The loss is looked at after the backward pass is on its way and before the optimiser steps, so that a GPU does not
wait. Found, the batch is written to `nonfinite/step_N.npz` (plain arrays, `np.load` reads it without pickle) and every
stamp of it is passed through the network alone: those whose own loss is not finite are named with their recipes.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from dhs.rng import Purpose
from dhs.train.data import InjectionData
from dhs.train.losses import loss_per_sample

log = logging.getLogger("dhs")

Batch = dict[str, Any]
NAMED_AT_MOST = 3


class Diverged(ValueError):
    """Training has met NaN or infinity; the same command would meet it again. ``where``: for status.json."""

    def __init__(self, message: str, *, where: dict[str, Any]) -> None:
        super().__init__(message)
        self.where = where


class NonFiniteLoss(Diverged):
    """The loss is not finite. ``where`` says which step, which stamps, which file."""


class NonFiniteWeights(Diverged):
    """The weights hold NaN or infinity."""


def require_finite_weights(finder: Any) -> None:
    """NonFiniteWeights where one is NaN or infinite: from such a checkpoint a run could only go on to NaN."""
    weights = [weight for weight in finder.state_dict().values() if weight.is_floating_point()]
    if bool(torch.stack([torch.isfinite(weight).all() for weight in weights]).all()):
        return
    step = finder.global_step
    raise NonFiniteWeights(
        f"weights are not finite after step {step}: the gradient was not; the checkpoint of before is kept; lower "
        "optim.lr or optim.gradient_clip",
        where={"step": step, "epoch": finder.current_epoch},
    )


@dataclass(frozen=True)
class Suspects:
    """What passing each stamp of a batch alone has shown."""

    losses: np.ndarray
    """(B,) float32."""
    guilty: np.ndarray = field(repr=False)
    """(B,) bool."""
    reason: str


class StopAtNonFinite(pl.Callback):
    """Raises NonFiniteLoss, on every rank, in the step whose loss is not finite."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / "nonfinite"
        self._batch: Batch = {}
        self._scores: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._loss = torch.zeros(())
        self._copied: torch.cuda.Event | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        self._batch = batch

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: torch.Tensor) -> None:
        if loss.device.type != "cuda":
            self._loss = loss.detach()
            return
        self._loss = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss.detach(), non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        if self._copied is not None:
            self._copied.synchronize()  # of the forward pass: the device is in the backward pass by now
        mine = not bool(torch.isfinite(self._loss))
        if not trainer.strategy.reduce_boolean_decision(mine, all=False):
            return
        found = self._report(trainer, pl_module) if mine else None
        reports = _gathered(found)
        message, where = next(report for report in reports if report is not None)
        raise NonFiniteLoss(message, where=where)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._scores = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._scores.append((outputs, batch["index"]))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Before the module makes figures of them."""
        logits, indices = (torch.cat(parts).cpu() for parts in zip(*self._scores, strict=True))
        bad = indices[~torch.isfinite(logits)].numpy()
        if not trainer.strategy.reduce_boolean_decision(len(bad) > 0, all=False):
            return
        require_finite_weights(pl_module)
        message, where = next(report for report in _gathered(_val_report(trainer, bad)) if report is not None)
        raise NonFiniteLoss(message, where=where)

    def _report(self, trainer: pl.Trainer, pl_module: Any) -> tuple[str, dict[str, Any]]:
        """The line for the user and what status.json keeps; writes the batch."""
        log.info("the loss is %s at step %d: looking for the stamps", self._loss.item(), trainer.global_step)
        with trainer.precision_plugin.forward_context():
            suspects = examine(pl_module, self._batch)
        data: InjectionData = trainer.datamodule  # type: ignore[attr-defined]
        indices = self._batch["index"].cpu().numpy()
        recipes = data.recipes(indices, purpose=Purpose.TRAIN, epoch=trainer.current_epoch)
        rank = f"_rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        path = self._folder / f"step_{trainer.global_step:08d}{rank}.npz"
        save_batch(path, self._batch, suspects=suspects, recipes=recipes)
        where = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "indices": indices[suspects.guilty].tolist(),
            "target_ids": recipes["target_id"][suspects.guilty].tolist(),
            "batch": str(path),
        }
        named = named_stamps(suspects.guilty, recipes=recipes, indices=indices)
        message = (
            f"train/loss = {self._loss.item()} at step {trainer.global_step} (epoch {trainer.current_epoch + 1}): "
            f"{suspects.reason}{named}; the batch is in {path}"
        )
        return message, where


def _val_report(trainer: pl.Trainer, bad: np.ndarray) -> tuple[str, dict[str, Any]] | None:
    """As StopAtNonFinite._report, of ``bad`` samples of the validation set."""
    if len(bad) == 0:
        return None
    data: InjectionData = trainer.datamodule  # type: ignore[attr-defined]
    recipes = data.recipes(bad, purpose=Purpose.VAL, epoch=0)
    message = (
        f"validation after step {trainer.global_step}: the score is not finite for "
        f"{named_stamps(np.ones(len(bad), bool), recipes=recipes, indices=bad)}"
    )
    ids = recipes["target_id"].tolist()
    return message, {"step": trainer.global_step, "indices": bad.tolist(), "target_ids": ids}


def examine(finder: Any, batch: Batch) -> Suspects:
    """Find the stamps of ``batch`` whose own loss is not finite; a batch norm takes each stamp's own statistics.

    (Those of the batch would let one stamp spoil all, and the running ones have met the NaN already.)
    """
    if not all(bool(torch.isfinite(weight).all()) for weight in finder.parameters()):
        n = len(batch["label"])
        return Suspects(
            np.full(n, np.nan, np.float32),
            np.zeros(n, bool),
            "the weights are not finite, the gradient of the step before was not: lower optim.lr or "
            "optim.gradient_clip; no stamp is to blame",
        )
    losses = _losses_alone(finder, batch)
    inputs = _finite_inputs(batch)
    guilty = ~np.isfinite(losses) | ~inputs
    if not guilty.any():
        return Suspects(losses, guilty, "no stamp alone gives it: together they overflow; lower optim.lr")
    reason = "not finite before the network: " if not inputs.all() else "finite before the network, not after it: "
    return Suspects(losses, guilty, reason)


def named_stamps(guilty: np.ndarray, *, recipes: dict[str, np.ndarray], indices: np.ndarray) -> str:
    """``sample 12 (target_id 7, theta_E 1.20 arcsec, source 3), sample 40 (target_id 9, no arc) and 2 more``."""
    rows = np.flatnonzero(guilty)
    texts = []
    for row in rows[:NAMED_AT_MOST]:
        arc = "no arc"
        if recipes["injected"][row]:
            arc = f"theta_E {recipes['theta_e_arcsec'][row]:.2f} arcsec, source {recipes['source_index'][row]}"
        texts.append(f"sample {indices[row]} (target_id {recipes['target_id'][row]}, {arc})")
    more = f" and {len(rows) - NAMED_AT_MOST} more" if len(rows) > NAMED_AT_MOST else ""
    return ", ".join(texts) + more


def save_batch(path: Path, batch: Batch, *, suspects: Suspects, recipes: dict[str, np.ndarray]) -> None:
    """The batch as the network saw it, the loss of each stamp alone, who is guilty, and all recipes."""
    arrays = {name: value.detach().float().cpu().numpy() for name, value in batch.items() if name != "index"}
    arrays |= {"index": batch["index"].cpu().numpy(), "loss": suspects.losses, "guilty": suspects.guilty}
    arrays |= {f"recipe_{name}": plain_array(column) for name, column in recipes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)


def plain_array(column: np.ndarray) -> np.ndarray:
    """Strings as fixed-length unicode: an object array would be pickled."""
    return column.astype(str) if column.dtype == object else column


@torch.no_grad()
def _losses_alone(finder: Any, batch: Batch) -> np.ndarray:
    norms = [layer for layer in finder.modules() if isinstance(layer, _BatchNorm)]
    running = [(layer.running_mean, layer.running_var) for layer in norms]
    was_training = finder.training
    finder.eval()
    for layer in norms:
        layer.running_mean = layer.running_var = None
    losses = []
    for i in range(len(batch["label"])):
        twice = [batch[name][[i, i]] for name in ("image", "metadata", "label")]  # one value has no statistics
        losses.append(loss_per_sample(finder(twice[0], twice[1]), twice[2], config=finder.config.loss)[0].item())
    for layer, (mean, var) in zip(norms, running, strict=True):
        layer.running_mean, layer.running_var = mean, var
    finder.train(was_training)
    return np.array(losses, dtype=np.float32)


def _finite_inputs(batch: Batch) -> np.ndarray:
    image, metadata = (torch.isfinite(batch[name]).flatten(1).all(dim=1) for name in ("image", "metadata"))
    return (image & metadata).cpu().numpy()


def _gathered(report: tuple[str, dict[str, Any]] | None) -> list[tuple[str, dict[str, Any]] | None]:
    """What every rank has found, in order."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        return [report]
    reports: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(reports, report)
    return reports
