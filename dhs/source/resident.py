"""A source whose templates are all drawn once and kept: small parametric sources need not be drawn again."""

import numpy as np
import torch

from dhs.source.base import Source, StackedSource, Templates
from dhs.source.parametric import checked_indices

RESIDENT_LIMIT_BYTES = 256 * 1024**2
"""Larger sources are drawn as they are needed."""

_BATCH = 64


class ResidentSource:
    """All templates of ``source`` in one tensor, which forked workers share.

    Pickled it is ``source`` itself: a spawned worker draws the templates it needs, bit for bit the same ones.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.n_sources, self.n_channels = source.name, source.n_sources, source.n_channels
        self.stamp_size_px, self.pixel_scale_arcsec = source.stamp_size_px, source.pixel_scale_arcsec
        self._stack = stack_of(source)

    def __reduce__(self) -> tuple[object, tuple[Source]]:
        return _same, (self._source,)

    def choose(self, u: np.ndarray) -> np.ndarray:
        return self._source.choose(u)

    def templates(self, indices: np.ndarray) -> Templates:
        index = torch.from_numpy(checked_indices(indices, n_sources=self.n_sources, name=self.name))
        return Templates(self._stack.images, index, self._stack.support_radius_arcsec[index])

    def stack(self) -> Templates:
        return self._stack

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        return self._source.half_light_radius_arcsec(indices)


def keep_if_small(source: Source) -> Source:
    """``source`` with its templates resident, where they fit in RESIDENT_LIMIT_BYTES."""
    size = source.n_sources * source.stamp_size_px**2 * 4
    return ResidentSource(source) if size <= RESIDENT_LIMIT_BYTES else source


def stack_of(source: Source) -> Templates:
    """All templates of ``source`` in the order of their indices; its own stack where it keeps one, not a copy."""
    if isinstance(source, StackedSource):
        return source.stack()
    parts = [
        source.templates(np.arange(start, min(start + _BATCH, source.n_sources)))
        for start in range(0, source.n_sources, _BATCH)
    ]
    return Templates(
        torch.cat([part.each() for part in parts]),
        torch.arange(source.n_sources),
        torch.cat([part.support_radius_arcsec for part in parts]),
    )


def _same(source: Source) -> Source:
    return source
