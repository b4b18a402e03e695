"""The network: timm backbone, optional metadata MLP, linear head in float32."""

import difflib
from typing import Any

import timm
import torch
from torch import nn

from dhs.config.network import ModelConfig

HEAD_INIT_STD = 0.01


class FinderNetwork(nn.Module):
    """(B, channels, N, N) images and (B, M) metadata -> (B,) float32 logits.

    The head runs outside autocast: bf16 logits tie, and ties destroy the rates at small FPR.
    """

    def __init__(self, config: ModelConfig, *, in_channels: int, channels_last: bool = True) -> None:
        super().__init__()
        self.backbone = build_backbone(config, in_channels=in_channels)
        # Channels last: 15-25% faster on CPUs, and what tensor cores want.
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone.to(memory_format=self._layout)  # type: ignore[call-overload]
        self.metadata_mlp = None
        timm_network: Any = self.backbone
        # Networks with a layer before the classifier (MobileNet) give that layer's features.
        width: int = getattr(timm_network, "head_hidden_size", None) or timm_network.num_features
        if config.metadata:
            self.metadata_mlp = nn.Sequential(
                nn.Linear(len(config.metadata), config.metadata_hidden),
                nn.GELU(),
                nn.Linear(config.metadata_hidden, config.metadata_hidden),
            )
            width += config.metadata_hidden
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, 1)
        nn.init.normal_(self.head.weight, std=HEAD_INIT_STD)
        nn.init.zeros_(self.head.bias)

    def image_features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, F) what the backbone makes of (B, channels, N, N) images, pooled; metadata are not in it."""
        features: torch.Tensor = self.backbone(image.contiguous(memory_format=self._layout))
        return features

    def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        features = self.image_features(image)
        with torch.autocast(device_type=image.device.type, enabled=False):
            features = features.float()
            if self.metadata_mlp is not None:
                features = torch.cat([features, self.metadata_mlp(metadata.float())], dim=1)
            return self.head(self.dropout(features)).squeeze(1)

    def fresh_layers(self) -> list[nn.Module]:
        """What is trained from scratch whatever the backbone starts from."""
        return [self.head] if self.metadata_mlp is None else [self.metadata_mlp, self.head]


def build_backbone(config: ModelConfig, *, in_channels: int, timm_weights: dict[str, Any] | None = None) -> nn.Module:
    """timm's network without classifier; ValueError names what timm refuses.

    ``timm_weights`` are settings of timm's `pretrained_cfg` (``{}``: its own): then weights are loaded.
    """
    if not timm.is_model(config.backbone):
        close = difflib.get_close_matches(config.backbone, timm.list_models(), n=3)
        raise ValueError(f"model.backbone = {config.backbone}: timm has no such network; close: {', '.join(close)}")
    kwargs: dict[str, Any] = dict(config.backbone_kwargs)
    if config.drop_path:
        kwargs["drop_path_rate"] = config.drop_path
    if timm_weights:
        kwargs["pretrained_cfg_overlay"] = timm_weights
    try:
        net = timm.create_model(
            config.backbone, pretrained=timm_weights is not None, in_chans=in_channels, num_classes=0, **kwargs
        )
    except TypeError as error:
        raise ValueError(f"model.backbone_kwargs = {dict(config.backbone_kwargs)}: {error}") from None
    if config.stem == "halved":
        halve_stem_stride(net, name=config.backbone)
    return net


def halve_stem_stride(net: nn.Module, *, name: str) -> None:
    """Half the stride of the first convolution, in place: a 64-px stamp keeps twice the resolution.

    Weights keep their shape, so pretrained ones still load.
    """
    stem = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
    if stem is None or stem.stride[0] % 2 or stem.stride[0] != stem.stride[1] or hasattr(net, "pos_embed"):
        raise ValueError(f"model.stem = halved: {name} has no first convolution with an even stride; use original")
    stride = stem.stride[0] // 2
    stem.stride = (stride, stride)
    if stem.padding == (0, 0):  # patchify stems: keep the output at N / stride
        half = (stem.kernel_size[0] - stride) // 2
        stem.padding = (half, half)
