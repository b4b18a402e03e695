"""AdamW with warm-up and cosine, one learning rate a layer where asked, and a backbone that may sleep at first."""

import math
from typing import Any

import torch
from timm.optim import param_groups_layer_decay

from dhs.config.training import OptimConfig
from dhs.train.network import FinderNetwork


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


def build_optimizer(network: FinderNetwork, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over all of the network's parameters, each in one group with its own learning rate and decay."""
    if config.layer_decay == 1:
        return torch.optim.AdamW(parameter_groups(network, config.weight_decay), lr=config.lr)
    return torch.optim.AdamW(layer_groups(network, config), lr=config.lr)


def parameter_groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels decay; biases and normalisation scales (one-dimensional) do not."""
    decay = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def layer_groups(network: FinderNetwork, config: OptimConfig) -> list[dict[str, Any]]:
    """Groups of timm's layers, ``lr * layer_decay**depth`` counted down from the backbone's last; the head has ``lr``.

    Layer-wise decay as in ELECTRA and BEiT (Clark+2020, arXiv:2003.10555; Bao+2021, arXiv:2106.08254).
    """
    backbone = param_groups_layer_decay(
        network.backbone, weight_decay=config.weight_decay, layer_decay=config.layer_decay
    )
    groups = [
        {"params": group["params"], "weight_decay": group["weight_decay"], "lr": config.lr * group["lr_scale"]}
        for group in backbone
    ]
    fresh = torch.nn.ModuleList(network.fresh_layers())
    return groups + [group | {"lr": config.lr} for group in parameter_groups(fresh, config.weight_decay)]


def drop_frozen_gradients(network: FinderNetwork, *, epoch: int, config: OptimConfig) -> None:
    """In the first ``frozen_epochs`` no gradient reaches the optimiser from the backbone, so AdamW leaves it alone.

    The backward pass still goes through it: ranks that exchange gradients (DDP) never disagree on who takes part, and
    nothing has to be undone when the backbone wakes.
    """
    if epoch < config.frozen_epochs:
        for parameter in network.backbone.parameters():
            parameter.grad = None


def keep_asleep(network: FinderNetwork, *, epoch: int, config: OptimConfig) -> None:
    """In the first ``frozen_epochs`` the backbone is in evaluation mode: no statistics run, no path is dropped."""
    if config.frozen_epochs:
        network.backbone.train(epoch >= config.frozen_epochs)
