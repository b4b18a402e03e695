"""Label-preserving augmentation, fresh every epoch: dihedral group and small shifts, keyed like everything else."""

import numpy as np
import torch

from dhs.config.training import AugmentConfig
from dhs.rng import Purpose, keyed_rng


def augment(images: torch.Tensor, *, keys: np.ndarray, config: AugmentConfig) -> torch.Tensor:
    """(B, C, N, N) images, each turned, mirrored and shifted by its own draw.

    ``keys`` (B, 4) are the stamps' own (seed, purpose, epoch, index); shifts mirror the edge pixels.
    """
    if not config.dihedral and config.max_shift_px == 0:
        return images
    source = images.numpy()
    out = np.empty_like(source)
    for i, (seed, purpose, epoch, index) in enumerate(keys.tolist()):
        # The purpose is folded into the seed's place so that validation and training never share a draw.
        rng = keyed_rng(seed * 16 + purpose, Purpose.AUGMENT, epoch, index)
        turns, mirror, dy, dx = rng.random(4)
        image = source[i]
        if config.dihedral:
            image = np.rot90(image, int(turns * 4), axes=(-2, -1))
            image = image[..., ::-1] if mirror < 0.5 else image
        if config.max_shift_px:
            image = image[:, _shifted(image.shape[-2], dy, config.max_shift_px)]
            image = image[:, :, _shifted(image.shape[-1], dx, config.max_shift_px)]
        out[i] = image
    return torch.from_numpy(out)


def _shifted(size: int, uniform: float, max_shift_px: int) -> np.ndarray:
    shift = int(uniform * (2 * max_shift_px + 1)) - max_shift_px
    index = np.abs(np.arange(size) - shift)
    return np.minimum(index, 2 * (size - 1) - index)
