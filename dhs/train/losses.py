"""Losses on float32 logits: focal (Lin+2017, arXiv:1708.02002, equation 5) and weighted binary cross-entropy."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from dhs.config.training import FocalLoss, LossConfig


def loss_per_sample(logits: torch.Tensor, labels: torch.Tensor, *, config: LossConfig) -> torch.Tensor:
    """(B,) losses of (B,) float32 ``logits`` and ``labels`` in {0, 1}."""
    targets = labels * (1 - 2 * config.label_smoothing) + config.label_smoothing
    if isinstance(config, FocalLoss):
        positive = -config.alpha * targets * torch.sigmoid(-logits) ** config.gamma * logsigmoid(logits)
        negative = -(1 - config.alpha) * (1 - targets) * torch.sigmoid(logits) ** config.gamma * logsigmoid(-logits)
        return positive + negative
    weight = torch.as_tensor(config.positive_weight, device=logits.device)
    return binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none")
