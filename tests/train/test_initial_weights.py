"""What a network starts from: timm files, ImageNet, an earlier run; whatever does not fit is one line."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dhs.config.load import ConfigError
from dhs.train.checkpoint import FORMAT, HEADER
from dhs.train.initial_weights import load_initial_weights
from dhs.train.module import LensFinder

THREE = "preprocess.channels=[g,r,z]"
FIVE = "preprocess.channels=[g,r,z,residual_g,residual_r]"
BACKBONE = "test_resnet"
PLAIN = ("model=convnext_tiny", f"model.backbone={BACKBONE}", "model.stem=original", "model.drop_path=0")
"""timm's own network, without the arguments of the small one."""


def timm_network(name: str, *, n_classes: int) -> torch.nn.Module:
    import timm  # importable beside any torch once dhs.train is imported

    torch.manual_seed(7)
    return timm.create_model(name, in_chans=3, num_classes=n_classes)


@pytest.fixture(scope="module")
def donor() -> torch.nn.Module:
    return timm_network(BACKBONE, n_classes=1000)


@pytest.fixture
def finder(small_config):
    def make(*overrides: str) -> LensFinder:
        return LensFinder(small_config(*PLAIN, *overrides))

    return make


def started(finder: LensFinder) -> LensFinder:
    load_initial_weights(finder.network, config=finder.config)
    return finder.eval()


@pytest.mark.parametrize("kind", ["safetensors", "pth", "training checkpoint"])
def test_a_local_timm_file_fills_the_backbone(finder, donor, tmp_path, kind):
    weights = donor.state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file({name: value.contiguous() for name, value in weights.items()}, str(path))
    else:
        torch.save(weights if kind == "pth" else {"epoch": 3, "state_dict": weights}, path)
    ours = started(finder(THREE, f"model.pretrained={path}"))
    own = ours.network.backbone.state_dict()
    assert all(torch.equal(own[name], weights[name]) for name in own)
    image = torch.randn(2, 3, 64, 64)
    features = donor.eval().forward_head(donor.forward_features(image), pre_logits=True)
    torch.testing.assert_close(ours.network.backbone(image), features, rtol=1e-4, atol=1e-5)


def test_the_first_convolution_repeats_the_colours_and_keeps_a_grey_response(finder, donor, tmp_path):
    torch.save(donor.state_dict(), tmp_path / "w.pth")
    network = started(finder(FIVE, f"model.pretrained={tmp_path / 'w.pth'}")).network
    name = "conv1.0.weight"
    rgb, five = donor.state_dict()[name], network.backbone.state_dict()[name]
    torch.testing.assert_close(five, rgb[:, [0, 1, 2, 0, 1]] * 3 / 5)
    one = started(finder("preprocess.channels=[g]", f"model.pretrained={tmp_path / 'w.pth'}")).network
    torch.testing.assert_close(one.backbone.state_dict()[name], rgb.sum(dim=1, keepdim=True))


def test_a_file_of_another_network_or_of_no_weights_is_one_line(finder, donor, tmp_path):
    other = timm_network("test_efficientnet", n_classes=10).state_dict()
    torch.save(other, tmp_path / "other.pth")
    torch.save({k: v for k, v in donor.state_dict().items() if "layer2" not in k}, tmp_path / "part.pth")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, says in (
        ("other.pth", f"does not fit model.backbone = {BACKBONE}"),
        ("part.pth", f"does not fit model.backbone = {BACKBONE} .*layer2"),
        ("text.pth", "cannot be read safely"),
        ("text.safetensors", "cannot be read safely"),
        ("list.pth", "holds no named tensors"),
    ):
        with pytest.raises(ConfigError, match=f"model.pretrained = .*{name}: {says}") as caught:
            started(finder(THREE, f"model.pretrained={tmp_path / name}"))
        assert len(str(caught.value).splitlines()) == 1


def test_a_timm_file_that_would_run_code_is_refused(finder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ConfigError, match="cannot be read safely"):
        started(finder(THREE, f"model.pretrained={tmp_path / 'evil.pth'}"))
    assert not (tmp_path / "ran").exists()


def test_imagenet_weights_without_a_network_are_one_line(finder, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("We couldn't connect to the hub\nand here is why, at length")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(
        ConfigError, match=r"model\.pretrained = imagenet: no weights for test_resnet .*local file"
    ) as caught:
        started(finder(THREE, "model.pretrained=imagenet"))
    assert len(str(caught.value).splitlines()) == 1


def test_imagenet_weights_that_arrive_are_loaded(finder, donor, monkeypatch):
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *args, **kwargs: donor.state_dict())
    own = started(finder(THREE, "model.pretrained=imagenet")).network.backbone.state_dict()
    assert all(torch.equal(own[name], donor.state_dict()[name]) for name in own)


def checkpoint(finder: LensFinder, path: Path) -> Path:
    """As train.py writes it, with weights of its own."""
    with torch.no_grad():
        for parameter in finder.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    config = finder.config.model_dump(mode="json")
    content = {"state_dict": finder.state_dict(), "hyper_parameters": {"config": config}, HEADER: {"format": FORMAT}}
    torch.save(content, path)
    return path


def test_a_warm_start_copies_the_network_whole(finder, tmp_path):
    earlier = finder(FIVE)
    path = checkpoint(earlier, tmp_path / "a.ckpt")
    ours = started(finder(FIVE, "seed=5", f"model.init_from={path}"))
    for name, value in earlier.network.state_dict().items():
        assert torch.equal(value, ours.network.state_dict()[name])
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    path.rename(tmp_path / "run" / "checkpoints" / "best.ckpt")
    again = started(finder(FIVE, "seed=5", f"model.init_from={tmp_path / 'run'}"))
    assert torch.equal(again.network.head.weight, earlier.network.head.weight)


def test_a_new_channel_starts_at_zero_and_a_lost_one_is_dropped(finder, tmp_path):
    earlier = finder(THREE).eval()
    path = checkpoint(earlier, tmp_path / "a.ckpt")
    image, metadata = torch.randn(6, 3, 64, 64), torch.randn(6, 2)
    more = started(finder("preprocess.channels=[z,residual_g,g,r]", f"model.init_from={path}"))
    shuffled = torch.stack([image[:, 2], torch.randn(6, 64, 64), image[:, 0], image[:, 1]], dim=1)
    with torch.inference_mode():
        torch.testing.assert_close(more(shuffled, metadata), earlier(image, metadata), rtol=1e-4, atol=1e-5)
    fewer = started(finder("preprocess.channels=[r]", f"model.init_from={path}"))
    name = "backbone.conv1.0.weight"
    assert torch.equal(fewer.network.state_dict()[name], earlier.network.state_dict()[name][:, [1]])
    with pytest.raises(ConfigError, match=r"its channels are g, r, z, none of preprocess\.channels = g-z"):
        started(finder("preprocess.channels=[g-z]", f"model.init_from={path}"))


@pytest.mark.parametrize("now", ["[]", "[psfsize_g]", "[psfdepth_r,psfsize_r]"])
def test_other_metadata_keep_the_image_s_part_of_the_score(finder, tmp_path, now):
    earlier = finder(THREE).eval()
    path = checkpoint(earlier, tmp_path / "a.ckpt")
    ours = started(finder(THREE, f"model.metadata={now}", f"model.init_from={path}"))
    image = torch.randn(4, 3, 64, 64)
    n = len(ours.config.model.metadata)
    with torch.inference_mode():
        features = earlier.network.backbone(image)
        head = earlier.network.head
        expected = features @ head.weight[0, : features.shape[1]] + head.bias
        for metadata in (torch.zeros(4, n), torch.randn(4, n)):
            torch.testing.assert_close(ours(image, metadata), expected, rtol=1e-4, atol=1e-5)


def test_a_warm_start_from_another_network_is_one_line(finder, small_config, tmp_path):
    path = checkpoint(finder(THREE), tmp_path / "a.ckpt")
    for overrides, says in (
        (["model.backbone=convnext_atto"], "is a test_resnet, and model.backbone = convnext_atto"),
        (["+model.backbone_kwargs.stem_width=8"], "backbone.* is .* there and .* here; give the model"),
    ):
        with pytest.raises(ConfigError, match=f"model.init_from = .*a.ckpt: {says}") as caught:
            started(finder(THREE, *overrides, f"model.init_from={path}"))
        assert len(str(caught.value).splitlines()) == 1


def test_an_ensemble_is_no_beginning(finder, tmp_path):
    torch.save({"dhs_ensemble": 1}, tmp_path / "many.ckpt")
    with pytest.raises(ConfigError, match=r"many\.ckpt: is an ensemble; give the checkpoint of one"):
        started(finder(THREE, f"model.init_from={tmp_path / 'many.ckpt'}"))


def test_paths_are_checked_before_anything_is_drawn(small_config, tmp_path):
    for key in ("pretrained", "init_from"):
        with pytest.raises(ConfigError, match=rf"model\.{key} = nowhere\.pth: no such file"):
            small_config(f"model.{key}=nowhere.pth")
    (tmp_path / "w.pth").touch()
    with pytest.raises(ConfigError, match=r"starts from one of them"):
        small_config(f"model.pretrained={tmp_path}/w.pth", f"model.init_from={tmp_path}/w.pth")
