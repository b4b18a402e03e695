"""The contract of every source: an index gives a unit-flux template, the same on every machine and in every worker."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch


class Templates(NamedTuple):
    """Templates of B sources: rows of a stack that is not copied. S x S pixels, row index = +y, centre at (S-1)/2."""

    images: torch.Tensor
    """(K, C, S, S) float32, unit total flux per channel (1e-5), zero at the box edge. C = 1: one image for every
    band; C = bands: an image a band (g, r, z). May be the whole resident bank: take ``images[row]``."""
    row: torch.Tensor
    """(B,) int64 into ``images``."""
    support_radius_arcsec: torch.Tensor
    """(B,) float32: every non-zero pixel centre, of any channel, lies within this radius of the centre."""

    def each(self) -> torch.Tensor:
        """(B, C, S, S) copy of the B templates."""
        return self.images[self.row]


class Source(Protocol):
    """Read-only after construction, picklable, shared by workers without copies."""

    name: str
    n_sources: int
    n_channels: int
    """1, or the number of bands."""
    stamp_size_px: int
    pixel_scale_arcsec: float

    def choose(self, u: np.ndarray) -> np.ndarray:
        """(B,) int64 indices for (B,) uniforms in [0, 1): every source alike, or by a mixture's weights."""
        ...

    def templates(self, indices: np.ndarray) -> Templates:
        """Templates of (B,) int64 ``indices`` in [0, n_sources); IndexError outside."""
        ...

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        """(B,) float32 circularised half-light radius of the unlensed source."""
        ...


@runtime_checkable
class StackedSource(Source, Protocol):
    """A source that holds all its templates; `dhs.source.resident.stack_of` gives those of any source."""

    def stack(self) -> Templates:
        """All templates in the order of their indices, (n_sources, C, S, S), to be moved to a GPU once, say."""
        ...


def choose_uniformly(u: np.ndarray, *, n_sources: int) -> np.ndarray:
    """`Source.choose` where every source is as likely as another."""
    return np.minimum((np.asarray(u) * n_sources).astype(np.int64), n_sources - 1)
