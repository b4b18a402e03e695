"""Losses on float32 logits: focal (Lin+2017, arXiv:1708.02002, equation 5) and weighted binary cross-entropy."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from dhs.config.network import FocalLoss, LossConfig
from dhs.constants import CLASSES


def batch_loss(logits: torch.Tensor, labels: torch.Tensor, *, kind: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """Mean loss of (B,) stamps; with class weights the weighted mean, ``sum w l / sum w`` (as torch's cross_entropy).

    ``kind`` (B,) is the galaxy's index in constants.CLASSES. 0 for a batch in which nothing has a weight.
    """
    losses = loss_per_sample(logits, labels, config=config)
    if all(weight == 1 for weight in config.class_weights.values()):
        return losses.mean()
    weights = stamp_weights(labels, kind=kind, config=config)
    return (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def stamp_weights(labels: torch.Tensor, *, kind: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """(B,) weights: a negative has that of its class, a stamp with an arc 1 (alpha or positive_weight weighs those)."""
    table = torch.tensor([config.class_weights.get(name, 1.0) for name in CLASSES], device=labels.device)
    return torch.where(labels > 0.5, 1.0, table[kind])


def loss_per_sample(logits: torch.Tensor, labels: torch.Tensor, *, config: LossConfig) -> torch.Tensor:
    """(B,) losses of (B,) float32 ``logits`` and ``labels`` in {0, 1}."""
    targets = labels * (1 - 2 * config.label_smoothing) + config.label_smoothing
    if isinstance(config, FocalLoss):
        positive = -config.alpha * targets * torch.sigmoid(-logits) ** config.gamma * logsigmoid(logits)
        negative = -(1 - config.alpha) * (1 - targets) * torch.sigmoid(logits) ** config.gamma * logsigmoid(-logits)
        return positive + negative
    weight = torch.as_tensor(config.positive_weight, device=logits.device)
    return binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none")
