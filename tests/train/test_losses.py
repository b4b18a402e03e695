"""Losses against torchvision and torch: focal, weighted and smoothed cross-entropy, class weights."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from dhs.config.training import BceLoss, FocalLoss
from dhs.constants import CLASSES
from dhs.train.losses import batch_loss, loss_per_sample, stamp_weights

LOGITS = torch.linspace(-8, 8, 41)
LABELS = torch.tensor([0.0, 1.0] * 20 + [1.0])
KIND = torch.arange(41) % len(CLASSES)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.75, 1.0), (0.1, 3.5)])
def test_focal_loss_and_its_gradient_are_torchvision_s(alpha, gamma):
    from torchvision.ops import sigmoid_focal_loss  # importable beside any torch once dhs.train is imported

    gradients = []
    for function in (
        lambda x: loss_per_sample(x, LABELS, config=FocalLoss(name="focal", alpha=alpha, gamma=gamma)),
        lambda x: sigmoid_focal_loss(x, LABELS, alpha=alpha, gamma=gamma, reduction="none"),
    ):
        logits = LOGITS.clone().requires_grad_()
        loss = function(logits)
        loss.sum().backward()
        gradients.append((loss.detach(), logits.grad))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-4, atol=1e-6)


def test_focal_without_focus_is_half_the_cross_entropy():
    focal = loss_per_sample(LOGITS, LABELS, config=FocalLoss(name="focal", alpha=0.5, gamma=0))
    torch.testing.assert_close(2 * focal, loss_per_sample(LOGITS, LABELS, config=BceLoss(name="bce")))


def test_a_confident_mistake_has_a_finite_loss_and_gradient():
    for config in (FocalLoss(name="focal"), BceLoss(name="bce")):
        logits = torch.tensor([-200.0, 200.0], requires_grad=True)
        loss = loss_per_sample(logits, torch.tensor([1.0, 0.0]), config=config)
        loss.sum().backward()
        assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
        assert logits.grad.abs().min() > 0.1


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.2])
def test_smoothing_is_that_of_torch_s_cross_entropy_of_two_classes(smoothing):
    """torch spreads twice our number over both classes, half of it on the wrong one."""
    ours = loss_per_sample(LOGITS, LABELS, config=BceLoss(name="bce", label_smoothing=smoothing))
    two = torch.stack([torch.zeros_like(LOGITS), LOGITS], dim=1)
    expected = cross_entropy(two, LABELS.long(), label_smoothing=2 * smoothing, reduction="none")
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_smoothed_loss_is_least_at_the_smoothed_probability():
    logits = torch.linspace(-6, 6, 2001)
    for config in (
        BceLoss(name="bce", label_smoothing=0.1),
        FocalLoss(name="focal", gamma=0, alpha=0.5, label_smoothing=0.1),
    ):
        best = logits[loss_per_sample(logits, torch.ones(2001), config=config).argmin()]
        assert torch.sigmoid(best).item() == pytest.approx(0.9, abs=0.01)


def test_the_positive_weight_is_torch_s():
    ours = loss_per_sample(LOGITS, LABELS, config=BceLoss(name="bce", positive_weight=3.0))
    expected = binary_cross_entropy_with_logits(LOGITS, LABELS, pos_weight=torch.tensor(3.0), reduction="none")
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("config", [BceLoss(name="bce"), FocalLoss(name="focal")])
def test_class_weights_weigh_negatives_as_torch_s_cross_entropy_weighs_classes(config):
    weights = {"ring": 4.0, "spiral": 0.5, "edge_on": 0.0}
    weighted = config.model_copy(update={"class_weights": weights})
    losses = loss_per_sample(LOGITS, LABELS, config=config)
    expected = torch.tensor([1.0 if y else weights.get(CLASSES[k], 1.0) for y, k in zip(LABELS, KIND, strict=True)])
    assert torch.equal(stamp_weights(LABELS, kind=KIND, config=weighted), expected)
    mean = batch_loss(LOGITS, LABELS, kind=KIND, config=weighted)
    torch.testing.assert_close(mean, (expected * losses).sum() / expected.sum())
    assert mean != losses.mean()


def test_the_weighted_mean_is_torch_s():
    """With one class of negatives it is the two-class cross-entropy with weights (w, 1)."""
    config = BceLoss(name="bce", class_weights={"ring": 0.3})
    ring = torch.full((41,), CLASSES.index("ring"))
    two = torch.stack([torch.zeros_like(LOGITS), LOGITS], dim=1)
    expected = cross_entropy(two, LABELS.long(), weight=torch.tensor([0.3, 1.0]))
    torch.testing.assert_close(batch_loss(LOGITS, LABELS, kind=ring, config=config), expected)


def test_weights_of_one_change_no_bit():
    plain = batch_loss(LOGITS, LABELS, kind=KIND, config=BceLoss(name="bce"))
    ones = batch_loss(LOGITS, LABELS, kind=KIND, config=BceLoss(name="bce", class_weights=dict.fromkeys(CLASSES, 1.0)))
    assert torch.equal(plain, ones)
    assert torch.equal(plain, loss_per_sample(LOGITS, LABELS, config=BceLoss(name="bce")).mean())


def test_a_batch_in_which_nothing_has_a_weight_has_no_loss_and_no_nan():
    config = BceLoss(name="bce", class_weights={"ring": 0.0})
    logits = torch.zeros(3, requires_grad=True)
    loss = batch_loss(logits, torch.zeros(3), kind=torch.full((3,), CLASSES.index("ring")), config=config)
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_wrong_weights_are_one_line():
    with pytest.raises(ValidationError, match="class_weights = galaxy: no such class; there are lrg, "):
        BceLoss(name="bce", class_weights={"galaxy": 1.0})
    with pytest.raises(ValidationError, match="sum to nothing"):
        BceLoss(name="bce", class_weights=dict.fromkeys(CLASSES, 0.0))
    with pytest.raises(ValidationError):
        FocalLoss(name="focal", class_weights={"ring": -1.0})
