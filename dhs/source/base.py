"""The contract of every source: an index gives a unit-flux template, the same on every machine and in every worker."""

from typing import NamedTuple, Protocol

import numpy as np
import torch


class Templates(NamedTuple):
    """B source templates; S x S pixels, row index = +y, centre at (S-1)/2."""

    images: torch.Tensor
    """(B, S, S) float32, unit total flux (1e-5), zero at the box edge."""
    support_radius_arcsec: torch.Tensor
    """(B,) float32: every non-zero pixel centre lies within this radius of the centre."""


class Source(Protocol):
    """Read-only after construction, picklable, shared by workers without copies."""

    name: str
    n_sources: int
    stamp_size_px: int
    pixel_scale_arcsec: float

    def templates(self, indices: np.ndarray) -> Templates:
        """Templates of (B,) int64 ``indices`` in [0, n_sources); IndexError outside."""
        ...

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        """(B,) float32 circularised half-light radius of the unlensed source."""
        ...
