"""Occlusion maps: how much of the score goes when a patch of the stamp is replaced by a smooth galaxy under sky noise.

The oldest way to ask a network where it looks (Zeiler & Fergus 2014, ECCV, section 2.3), and the only one that needs
nothing of it but its score: any network, ensembles, test-time averaging. The filling is the galaxy's own azimuthal
median in each band plus noise of the sky's scatter, so that a patch without structure stays what it was: black squares
would be seen for themselves. ``map(pixel) = mean over the patches that cover it of logit(stamp) - logit(patched)``,
positive where the pixels speak for a lens. It cannot show evidence that is spread wider than a patch (the whole ring
of a faint arc), nor evidence that another place holds too.
"""

from dataclasses import replace

import numpy as np
import torch

from dhs.constants import BANDS, MAD_TO_SIGMA
from dhs.evaluate.scored_set import StampItems
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies
from dhs.rng import Purpose, keyed_rng
from dhs.train.channels import azimuthal_median

SKY_FRACTION = 0.75
"""The sky is measured outside this share of the half-size."""


def corners(size_px: int, *, patch_px: int, stride_px: int) -> np.ndarray:
    """(P, 2) first row and column of every patch; the last ones end at the edge, so that every pixel is covered."""
    if patch_px > size_px:
        raise ValueError(f"evaluate.explain.patch_px = {patch_px}: must not be above the stamp's {size_px} px")
    starts = np.unique([*range(0, size_px - patch_px + 1, stride_px), size_px - patch_px])
    return np.stack(np.meshgrid(starts, starts, indexing="ij"), axis=-1).reshape(-1, 2)


def filling(images: torch.Tensor, *, good: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """(B, bands, N, N) azimuthal medians of ``images`` plus ``noise`` (of unit variance) of each band's sky scatter."""
    size = images.shape[-1]
    axis = torch.arange(size) - (size - 1) / 2
    ring = torch.hypot(axis, axis[:, None]) > SKY_FRACTION * size / 2
    planes = []
    for band in range(len(BANDS)):
        plane, mask = images[:, band], good[:, band]
        values = torch.where(mask & ring, plane, torch.nan).flatten(1)
        level = values.nanmedian(dim=1).values
        sigma = torch.nan_to_num(MAD_TO_SIGMA * (values - level[:, None]).abs().nanmedian(dim=1).values)
        level = torch.nan_to_num(level)
        # the model's own zero is the sky's: a ring without good pixels takes it
        smooth = azimuthal_median(plane - level[:, None, None], good=mask) + level[:, None, None]
        planes.append(smooth + sigma[:, None, None] * noise[:, band])
    return torch.stack(planes, dim=1)


class OcclusionItems:
    """Each of the stamps ``chosen`` of ``items``, whole and with each patch filled: `scored_set.StampItems`.

    Item s (P + 1) is stamp s as it is, item s (P + 1) + 1 + p with patch p filled.
    """

    def __init__(
        self, items: StampItems, *, chosen: np.ndarray, size_px: int, patch_px: int, stride_px: int, seed: int
    ) -> None:
        self._items, self._chosen, self._seed, self._patch_px = items, np.asarray(chosen, np.int64), seed, patch_px
        self.corners = corners(size_px, patch_px=patch_px, stride_px=stride_px)
        self.identity = f"occlusion {items.identity} {self._chosen.tolist()} {size_px} {patch_px} {stride_px} {seed}"

    @property
    def cutouts(self) -> Galaxies:
        return self._items.cutouts

    def __len__(self) -> int:
        return len(self._chosen) * (len(self.corners) + 1)

    def stamps(self, indices: np.ndarray) -> StampBatch:
        """The (B,) ``indices``; every stamp behind them is made once."""
        each = len(self.corners) + 1
        stamp, variant = np.divmod(np.asarray(indices, np.int64), each)
        which, place = np.unique(stamp, return_inverse=True)
        whole = self._items.stamps(self._chosen[which])
        size = whole.images.shape[-1]
        noise = np.stack(
            [
                keyed_rng(self._seed, Purpose.EXPLAIN, 0, int(self._chosen[s])).standard_normal(
                    (len(BANDS), size, size)
                )
                for s in which
            ]
        )
        filled = filling(whole.images, good=whole.good, noise=torch.from_numpy(noise).float())
        out = whole.take(place)
        images = out.images.clone()
        for row, number in enumerate(variant.tolist()):
            if number:
                y, x = self.corners[number - 1]
                where = (slice(None), slice(y, y + self._patch_px), slice(x, x + self._patch_px))
                images[row][where] = filled[place[row]][where]
        return replace(out, images=images)

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {}


def occlusion_maps(logit: np.ndarray, *, corners_px: np.ndarray, size_px: int, patch_px: int) -> np.ndarray:
    """(S, N, N) maps of the logits of `OcclusionItems` (S (P + 1),): mean drop of the patches over each pixel."""
    scores = logit.astype(np.float64).reshape(-1, len(corners_px) + 1)
    drop = scores[:, :1] - scores[:, 1:]
    total, cover = np.zeros((len(scores), size_px, size_px)), np.zeros((size_px, size_px))
    for number, (y, x) in enumerate(corners_px.tolist()):
        where = (slice(y, y + patch_px), slice(x, x + patch_px))
        total[:, *where] += drop[:, number, None, None]
        cover[where] += 1
    return total / cover


def share_inside(maps: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """(S,) share of the positive evidence of (S, N, N) maps that lies in the bool ``footprint``; NaN without any.

    The energy-based pointing game of Wang+2020 (Score-CAM, arXiv:1910.01279, section 4.3).
    """
    positive = np.maximum(maps, 0.0)
    total = positive.sum(axis=(1, 2))
    inside = (positive * footprint).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)
