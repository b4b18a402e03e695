"""The network: any backbone, float32 logits, layout and compilation that change nothing."""

import pytest
import torch

from dhs.config.training import BceLoss, FocalLoss, ModelConfig
from dhs.train.losses import loss_per_sample
from dhs.train.module import LensFinder
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


@pytest.mark.parametrize("metadata", [(), ("psfsize_r", "psfdepth_r")])
def test_scores_under_bf16_autocast_are_float32_and_tie_no_more_than_float32_ones(metadata):
    torch.manual_seed(1)
    config = ModelConfig(backbone="test_resnet", stem="original", metadata=metadata)
    net = FinderNetwork(config, in_channels=3).eval()
    image, columns = torch.randn(400, 3, 64, 64), torch.randn(400, len(metadata))
    with torch.inference_mode():
        plain = net(image, columns)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(image, columns)
            features = net.backbone(image)
    assert features.dtype == torch.bfloat16, "the backbone is meant to run in half precision here"
    assert logits.dtype == torch.float32
    assert len(logits.unique()) >= len(plain.unique()) - 1
    assert len(logits.bfloat16().unique()) < 0.7 * len(logits.unique()), "bf16 scores tie"
    assert torch.corrcoef(torch.stack([logits, plain]))[0, 1] > 0.99


@pytest.mark.parametrize("loss", [FocalLoss(name="focal"), BceLoss(name="bce", positive_weight=2.0)])
def test_the_loss_is_float32_under_bf16_autocast(loss):
    logits, labels = torch.linspace(-9, 9, 33), torch.arange(33) % 2.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss_per_sample(logits, labels, config=loss)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss_per_sample(logits, labels, config=loss))


@pytest.mark.parametrize("backbone", ["test_resnet", "convnext_atto"])
def test_the_memory_layout_changes_no_logit(backbone):
    config = ModelConfig(backbone=backbone, metadata=("psfsize_r",))
    nets = [FinderNetwork(config, in_channels=4, channels_last=layout).eval() for layout in (True, False)]
    nets[1].load_state_dict(nets[0].state_dict())
    image, metadata = torch.randn(8, 4, 64, 64), torch.randn(8, 1)
    with torch.inference_mode():
        torch.testing.assert_close(nets[0](image, metadata), nets[1](image, metadata), rtol=1e-4, atol=1e-5)
    kernels = [next(p for p in net.parameters() if p.ndim == 4 and p.shape[2] > 1) for net in nets]
    assert kernels[0].is_contiguous(memory_format=torch.channels_last)
    assert kernels[1].is_contiguous()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch 2.13, of its own inductor
def test_compilation_changes_no_logit_and_no_name(small_config):
    finder = LensFinder(small_config("trainer.compile=true")).eval()
    image, metadata = torch.randn(4, 5, 64, 64), torch.randn(4, 2)
    names = list(finder.state_dict())
    with torch.inference_mode():
        plain = finder(image, metadata)
        finder.setup("fit")
        assert finder.network._compiled_call_impl is not None
        torch.testing.assert_close(finder(image, metadata), plain, rtol=1e-4, atol=1e-5)
    assert list(finder.state_dict()) == names


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


def test_weights_are_a_function_of_the_seed(small_config):
    def weights(*overrides: str) -> torch.Tensor:
        return torch.cat([p.flatten() for p in LensFinder(small_config(*overrides)).network.parameters()])

    torch.manual_seed(99)
    first = weights()
    torch.manual_seed(5)
    assert torch.equal(first, weights())
    assert not torch.equal(first, weights("seed=2"))


def test_torchvision_can_be_imported_beside_this_torch():
    import torchvision

    import dhs.train  # noqa: F401  (declares the schemas where they are missing)

    assert torchvision.__version__
