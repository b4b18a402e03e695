"""Network, losses, schedule, metadata."""

import pytest
import torch

from dhs.config.training import BceLoss, FocalLoss, ModelConfig
from dhs.inject.build import build_injector
from dhs.train.batch import metadata_table
from dhs.train.losses import loss_per_sample
from dhs.train.module import LensFinder, WarmupCosine, parameter_groups, total_steps
from dhs.train.network import FinderNetwork


@pytest.mark.parametrize("backbone", ["test_resnet", "convnext_atto", "mobilenetv3_small_050", "resnet10t"])
@pytest.mark.parametrize("stem", ["halved", "original"])
def test_any_timm_backbone_gives_float32_logits(backbone, stem):
    config = ModelConfig(backbone=backbone, stem=stem, metadata=("psfsize_r", "psfdepth_r"))
    net = FinderNetwork(config, in_channels=5).eval()
    logits = net(torch.randn(2, 5, 64, 64), torch.randn(2, 2))
    assert logits.shape == (2,)
    assert logits.dtype == torch.float32


def test_a_halved_stem_doubles_the_resolution_and_keeps_the_weights():
    shapes = {}
    for stem in ("halved", "original"):
        net = FinderNetwork(ModelConfig(backbone="convnext_atto", stem=stem), in_channels=3)
        shapes[stem] = net.backbone.forward_features(torch.randn(1, 3, 64, 64)).shape[-1]
        first = next(p for p in net.parameters() if p.ndim == 4)
        shapes[f"{stem} weights"] = first.shape
    assert shapes["halved"] == 2 * shapes["original"]
    assert shapes["halved weights"] == shapes["original weights"]


def test_logits_stay_float32_under_bf16_autocast():
    net = FinderNetwork(ModelConfig(backbone="test_resnet", stem="original"), in_channels=3).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(torch.randn(64, 3, 64, 64), torch.zeros(64, 0))
    assert logits.dtype == torch.float32
    assert len(set(logits.tolist())) == 64, "bf16 logits would tie"


def test_an_unknown_backbone_names_close_ones():
    with pytest.raises(ValueError, match=r"model\.backbone = resnt18: timm has no such network; close: .*resnet18"):
        FinderNetwork(ModelConfig(backbone="resnt18"), in_channels=3)


def test_a_wrong_backbone_argument_is_one_line():
    with pytest.raises(ValueError, match=r"model\.backbone_kwargs = .*nonsense"):
        FinderNetwork(ModelConfig(backbone="test_resnet", backbone_kwargs={"nonsense": 1}), in_channels=3)


def test_metadata_changes_the_score():
    config = ModelConfig(backbone="test_resnet", stem="original", metadata=("psfsize_r",))
    net = FinderNetwork(config, in_channels=3).eval()
    image = torch.randn(1, 3, 64, 64)
    assert net(image, torch.tensor([[0.0]])) != net(image, torch.tensor([[3.0]]))


def test_focal_loss_is_equation_5_of_lin_et_al():
    logits, labels = torch.linspace(-6, 6, 13), torch.tensor([0.0, 1.0] * 6 + [1.0])
    p = torch.sigmoid(logits.double())
    p_t = torch.where(labels == 1, p, 1 - p)
    alpha_t = torch.where(labels == 1, 0.25, 0.75)
    expected = -alpha_t * (1 - p_t) ** 2 * torch.log(p_t)
    ours = loss_per_sample(logits, labels, config=FocalLoss(name="focal"))
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-8)


def test_focal_without_focus_is_half_the_cross_entropy():
    logits, labels = torch.randn(50), torch.randint(0, 2, (50,)).float()
    focal = loss_per_sample(logits, labels, config=FocalLoss(name="focal", alpha=0.5, gamma=0))
    torch.testing.assert_close(2 * focal, loss_per_sample(logits, labels, config=BceLoss(name="bce")))


def test_smoothing_and_positive_weight_do_what_they_say():
    confident = torch.tensor([20.0])
    one = torch.ones(1)
    plain = loss_per_sample(confident, one, config=BceLoss(name="bce"))
    smooth = loss_per_sample(confident, one, config=BceLoss(name="bce", label_smoothing=0.1))
    assert plain < 1e-6 < smooth
    weighted = loss_per_sample(torch.zeros(1), one, config=BceLoss(name="bce", positive_weight=3.0))
    assert weighted.item() == pytest.approx(3 * 0.693147, rel=1e-5)


def test_the_schedule_warms_up_and_ends_low():
    factor = WarmupCosine(total_steps=1000, warmup_fraction=0.1, final_fraction=0.01)
    assert factor(0) == pytest.approx(0.01)
    assert factor(99) == pytest.approx(1.0)
    assert factor(550) == pytest.approx(0.505, abs=0.01)
    assert factor(1000) == factor(5000) == pytest.approx(0.01)


def test_the_number_of_steps_comes_from_the_configuration(small_config):
    assert total_steps(small_config()) == 2 * (96 // 16)


def test_biases_and_norms_do_not_decay():
    net = FinderNetwork(ModelConfig(backbone="test_resnet"), in_channels=3)
    decay, rest = parameter_groups(net, 0.05)
    assert decay["weight_decay"] == 0.05
    assert rest["weight_decay"] == 0.0
    assert all(p.ndim > 1 for p in decay["params"])
    assert len(decay["params"]) + len(rest["params"]) == len(list(net.parameters()))


def test_weights_are_a_function_of_the_seed(small_config):
    def weights(*overrides: str) -> torch.Tensor:
        return torch.cat([p.flatten() for p in LensFinder(small_config(*overrides)).network.parameters()])

    torch.manual_seed(99)
    first = weights()
    torch.manual_seed(5)
    assert torch.equal(first, weights())
    assert not torch.equal(first, weights("seed=2"))


def test_metadata_is_of_order_one_and_an_unknown_column_is_refused(small_config):
    cutouts = build_injector(small_config()).cutouts
    table = metadata_table(cutouts, columns=("psfsize_r", "psfdepth_z"))
    assert abs(table).max() < 10
    broken = cutouts.take(slice(0, 30))
    broken.psf_depth_mag.setflags(write=True)
    broken.psf_depth_mag[3] = float("nan")
    with pytest.raises(ValueError, match="psfdepth_z is not known for every galaxy"):
        metadata_table(broken, columns=("psfsize_r", "psfdepth_z"))


def test_torchvision_can_be_imported_beside_this_torch():
    import torchvision

    import dhs.train  # noqa: F401  (declares the schemas where they are missing)

    assert torchvision.__version__
