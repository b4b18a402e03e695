"""What a network starts from: timm's ImageNet weights, a local timm file, or the network of an earlier run.

Called once, before the first step of a new run; a resumed run or a loaded checkpoint has its own weights.

* `model.pretrained=imagenet` downloads; `model.pretrained=FILE` reads a .safetensors or (without running code) a .pth.
  timm adapts the first convolution to n input channels: it repeats the red, green and blue kernels in turn and scales
  them by 3/n, so that the response to a grey image stays (`timm.models.adapt_input_conv`). The classifier is dropped.
* `model.init_from=CHECKPOINT` copies a finder's network. The first convolution goes channel by channel, by name: one
  that the earlier run did not have starts at zero weight, so the network begins with the same scores. Where the
  metadata differ, the head keeps its weights for the image and the metadata MLP starts afresh with none.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.train.checkpoint import read_checkpoint
from dhs.train.network import FinderNetwork, build_backbone

log = logging.getLogger("dhs")


def load_initial_weights(network: FinderNetwork, *, config: TrainConfig) -> None:
    """Fill ``network`` from `model.pretrained` or `model.init_from`; ConfigError in one line where that cannot be."""
    model = config.model
    if model.pretrained == "imagenet":
        _copy(network.backbone, _downloaded(config), key="model.pretrained = imagenet")
    elif isinstance(model.pretrained, Path):
        _copy(network.backbone, _from_file(model.pretrained, config), key=f"model.pretrained = {model.pretrained}")
    elif model.init_from is not None:
        warm_start(network, checkpoint_path(model.init_from), config=config)


def _copy(backbone: nn.Module, donor: nn.Module, *, key: str) -> None:
    backbone.load_state_dict(donor.state_dict())
    log.info("%s: backbone loaded; its first convolution adapted by timm", key)


def _downloaded(config: TrainConfig) -> nn.Module:
    try:
        return build_backbone(config.model, in_channels=len(config.preprocess.channels), timm_weights={})
    except ConfigError:
        raise
    except Exception as error:  # whatever the hub, the proxy or timm say
        raise ConfigError(
            f"model.pretrained = imagenet: no weights for {config.model.backbone} ({_first_line(error)}); "
            "without a network give a local file, model.pretrained=<timm .safetensors or .pth>"
        ) from None


def _from_file(path: Path, config: TrainConfig) -> nn.Module:
    key = f"model.pretrained = {path}"
    weights = read_timm_file(path)
    try:
        donor = build_backbone(
            config.model, in_channels=len(config.preprocess.channels), timm_weights={"state_dict": weights}
        )
    except (RuntimeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{key}: does not fit model.backbone = {config.model.backbone} ({_first_line(error)})"
        ) from None
    # timm is lenient once it has dropped the classifier: a file of another network may load next to nothing.
    loaded = sum(name in weights for name in donor.state_dict())
    if loaded < len(donor.state_dict()):
        missing = next(name for name in donor.state_dict() if name not in weights)
        raise ConfigError(
            f"{key}: does not fit model.backbone = {config.model.backbone} (it lacks {missing}, "
            f"{len(donor.state_dict()) - loaded} tensors in all)"
        )
    return donor


def read_timm_file(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a timm weight file; pickled code is refused."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"model.pretrained = {path}: cannot be read safely ({_first_line(error)}); "
            "give a timm .safetensors or .pth file of tensors"
        ) from None
    for key in ("state_dict_ema", "state_dict", "model"):  # timm's own training checkpoints
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ConfigError(f"model.pretrained = {path}: holds no named tensors; give a timm weight file")
    return {name.removeprefix("module."): value for name, value in content.items()}


def checkpoint_path(path: Path) -> Path:
    """``path`` itself, or the best checkpoint of the run directory that it is."""
    return path / "checkpoints" / "best.ckpt" if path.is_dir() else path


def warm_start(network: FinderNetwork, path: Path, *, config: TrainConfig) -> None:
    """Copy the network of the checkpoint ``path`` as far as it fits; ConfigError where the backbone is another."""
    key = f"model.init_from = {path}"
    checkpoint = read_checkpoint(path)
    if "dhs_ensemble" in checkpoint:
        raise ConfigError(f"{key}: is an ensemble; give the checkpoint of one of its members")
    earlier = checkpoint["hyper_parameters"]["config"]
    if earlier["model"]["backbone"] != config.model.backbone:
        raise ConfigError(
            f"{key}: is a {earlier['model']['backbone']}, and model.backbone = {config.model.backbone}; "
            "give a checkpoint of the same backbone"
        )
    weights = {
        name.removeprefix("network."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("network.")
    }
    own = network.state_dict()
    before, now = tuple(earlier["preprocess"]["channels"]), config.preprocess.channels
    if before != now:
        first = _first_convolution(network)
        weights[first] = _by_channel(weights[first], own[first], before=before, now=now, key=key)
    notes = [f"channels {', '.join(before)} -> {', '.join(now)}"] if before != now else []
    if tuple(earlier["model"]["metadata"]) != config.model.metadata or _misfit(weights, own, prefix="metadata_mlp."):
        _keep_image_part_of_head(weights, own)
        notes.append("metadata MLP anew")
    misfit = _misfit(weights, own)
    if misfit:
        raise ConfigError(f"{key}: {misfit}; give the model.* settings of that run")
    network.load_state_dict(weights)
    log.info("%s: network copied%s", key, f" ({'; '.join(notes)})" if notes else "")


def _by_channel(
    kernel: torch.Tensor, own: torch.Tensor, *, before: tuple[str, ...], now: tuple[str, ...], key: str
) -> torch.Tensor:
    """The first convolution for the channels ``now``, those of ``before`` taken over by name, new ones zero."""
    shared = [name for name in now if name in before]
    if not shared:
        raise ConfigError(
            f"{key}: its channels are {', '.join(before)}, none of preprocess.channels = {', '.join(now)}; "
            "give a checkpoint that shares one"
        )
    if kernel.shape[1] != len(before) or own.shape[1] != len(now):
        raise ConfigError(f"{key}: its first convolution does not take one plane a channel; use the same channels")
    adapted = torch.zeros_like(own)
    for name in shared:
        adapted[:, now.index(name)] = kernel[:, before.index(name)]
    return adapted


def _keep_image_part_of_head(weights: dict[str, Any], own: dict[str, torch.Tensor]) -> None:
    """Metadata MLP as initialised, its columns of the head zero: the score begins as that of the image alone."""
    for name in [name for name in weights if name.startswith("metadata_mlp.")]:
        del weights[name]
    weights |= {name: value for name, value in own.items() if name.startswith("metadata_mlp.")}
    head = torch.zeros_like(own["head.weight"])
    image_width = head.shape[1] - (own["metadata_mlp.2.bias"].shape[0] if "metadata_mlp.2.bias" in own else 0)
    if weights["head.weight"].shape[1] >= image_width:
        head[:, :image_width] = weights["head.weight"][:, :image_width]
        weights["head.weight"] = head


def _misfit(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor], *, prefix: str = "") -> str:
    """The first difference of names or shapes, "" where there is none."""
    for name in sorted({*weights, *own}):
        if not name.startswith(prefix):
            continue
        shapes = [tuple(part[name].shape) if name in part else "missing" for part in (weights, own)]
        if shapes[0] != shapes[1]:
            return f"{name} is {shapes[0]} there and {shapes[1]} here"
    return ""


def _first_convolution(network: FinderNetwork) -> str:
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            return f"{name}.weight"
    raise ConfigError("model.init_from: this backbone has no convolution to adapt; use the same channels")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    says = lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]  # torch's first is a heading
    return f"{type(error).__name__}: {says.rstrip('.')}"
