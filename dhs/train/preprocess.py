"""Stamps in nanomaggies -> network input: annulus normalisation, channels, clip, stretch. Pure tensor functions.

Every band is normalised by its own outer ring, ``(x - median) / (1.4826 MAD)``, so that the network sees sigmas of
the sky. Masked pixels become 0 (the sky) after normalisation, and never enter the ring's statistics. A stamp's result
does not depend on the others of its batch; all of it runs on any device.
"""

import torch

from dhs.config.network_input import PreprocessConfig
from dhs.constants import BANDS
from dhs.train.channels import difference, residual
from dhs.train.masked import ring_level


def preprocess(images: torch.Tensor, *, good: torch.Tensor, config: PreprocessConfig) -> torch.Tensor:
    """(B, channels, N, N) float32 from (B, bands, N, N) ``images`` in nMgy and the bool mask ``good``."""
    bands = normalise(images, good=good, inner_fraction=config.annulus_inner_fraction)
    planes = [_channel(name, images=images, good=good, bands=bands, config=config) for name in config.channels]
    values = clip(torch.stack(planes, dim=1), kind=config.clip, sigma=config.clip_sigma)
    return stretch(values, kind=config.stretch, scale=config.stretch_scale_sigma)


def normalise(images: torch.Tensor, *, good: torch.Tensor, inner_fraction: float) -> torch.Tensor:
    """Each (N, N) plane in sigmas of its outer ring, masked pixels 0. The ring starts at ``inner_fraction`` of N/2.

    A plane without a scale (too few good pixels in the ring, or all of them equal) is 0 throughout.
    """
    level = ring_level(images, good=good, inner_fraction=inner_fraction)
    scaled = (images - level.centre[..., None, None]) / level.sigma[..., None, None]
    return torch.where(good, torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0), 0.0)


def clip(values: torch.Tensor, *, kind: str, sigma: float) -> torch.Tensor:
    """``none``; ``hard``: cut at +-sigma; ``soft``: beyond it sign(x) sigma (1 + ln(|x| / sigma)), smooth there."""
    if kind == "hard":
        return values.clamp(-sigma, sigma)
    if kind == "soft":
        beyond = (values.abs() / sigma).clamp(min=1.0)  # 1, and its logarithm 0, wherever nothing is to be done
        return values.clamp(-sigma, sigma) + torch.copysign(sigma * torch.log(beyond), values)
    return values


def stretch(values: torch.Tensor, *, kind: str, scale: float) -> torch.Tensor:
    """``none``; ``asinh``: asinh(x/s); ``sqrt``: sign(x) (sqrt(1 + |x|/s) - 1). Both linear for |x| << s."""
    if kind == "asinh":
        size = values.abs() / scale  # torch.asinh itself is four times slower on a CPU
        return torch.copysign(torch.log1p(size + size * size / (1 + torch.sqrt(1 + size * size))), values)
    if kind == "sqrt":
        return torch.sign(values) * (torch.sqrt(1 + values.abs() / scale) - 1)
    return values


def _channel(
    name: str, *, images: torch.Tensor, good: torch.Tensor, bands: torch.Tensor, config: PreprocessConfig
) -> torch.Tensor:
    if name in BANDS:
        return bands[:, BANDS.index(name)]
    if name.startswith("residual_"):
        band = BANDS.index(name.removeprefix("residual_"))
        return residual(bands[:, band], good=good[:, band], config=config)
    blue, red = name.split("-")
    both = good[:, BANDS.index(blue)] & good[:, BANDS.index(red)]
    planes = difference(images, good=good, blue=blue, red=red, config=config)
    return normalise(planes, good=both, inner_fraction=config.annulus_inner_fraction)
