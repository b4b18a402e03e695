"""Weighted mixtures: real galaxies, smooth and clumpy profiles in one run (hybrid training, domain randomisation).

A template is asked for by one global index: those of the first component come first, then those of the second, and so
on. `choose` takes a component by its weight and then a source as that component chooses. Which component a global
index means depends on the mixture alone: `MixtureSourceBank.origin` tells it, for the tables.
"""

from collections.abc import Mapping

import numpy as np
import torch

from dhs.source.base import Source, Templates
from dhs.source.parametric import checked_indices
from dhs.source.resident import stack_of


class MixtureSourceBank:
    """`dhs.source.base.StackedSource` of several sources on one grid.

    Where any component has an image per band, those with one image serve it in every band.
    """

    name = "mixture"

    def __init__(self, components: Mapping[str, tuple[float, Source]]) -> None:
        """``components``: label -> (weight, source); the weights are positive and need not sum to 1.

        Raises:
            ValueError: two components have different stamps.
        """
        self.labels = tuple(components)
        self.sources = tuple(source for _, source in components.values())
        weights = np.array([weight for weight, _ in components.values()], np.float64)
        self.weights = weights / weights.sum()
        """Of the components, normalised."""
        self._upper = np.cumsum(self.weights)
        self._upper[-1] = 1.0
        self.offsets = np.concatenate([[0], np.cumsum([source.n_sources for source in self.sources])])
        """Global index of each component's first source; one more entry, the number of sources."""
        self.n_sources = int(self.offsets[-1])
        self.n_channels = max(source.n_channels for source in self.sources)
        self.stamp_size_px, self.pixel_scale_arcsec = self._common_grid()

    def choose(self, u: np.ndarray) -> np.ndarray:
        """See `dhs.source.base.Source.choose`; one uniform gives both the component and the source in it."""
        u = np.asarray(u, np.float64)
        component = np.minimum(np.searchsorted(self._upper, u, side="right"), len(self.sources) - 1)
        within = (u - (self._upper - self.weights)[component]) / self.weights[component]
        within = np.clip(within, 0.0, np.nextafter(1.0, 0.0))
        chosen = np.empty(u.shape, np.int64)
        for number, source in enumerate(self.sources):
            mine = component == number
            chosen[mine] = self.offsets[number] + source.choose(within[mine])
        return chosen

    def templates(self, indices: np.ndarray) -> Templates:
        """See `dhs.source.base.Source.templates`; always contiguous, as renderers read it in place.

        One component's own stack, not copied; a stack of these B templates where several are meant, or where a grey
        component serves the bands of another.
        """
        component, own = self.split(indices)
        present = np.unique(component)
        if len(present) == 1 and self.sources[present[0]].n_channels == self.n_channels:
            return self.sources[present[0]].templates(own)
        images = torch.empty(len(own), self.n_channels, self.stamp_size_px, self.stamp_size_px)
        support = torch.empty(len(own))
        for number in present:
            mine = np.flatnonzero(component == number)
            part = self.sources[number].templates(own[mine])
            images[torch.from_numpy(mine)] = part.each().expand(-1, self.n_channels, -1, -1)
            support[torch.from_numpy(mine)] = part.support_radius_arcsec
        return Templates(images, torch.arange(len(own)), support)

    def stack(self) -> Templates:
        """See `dhs.source.base.StackedSource.stack`: a copy, made anew by each call."""
        parts = [stack_of(source) for source in self.sources]
        return Templates(
            torch.cat([part.images.expand(-1, self.n_channels, -1, -1) for part in parts]),
            torch.arange(self.n_sources),
            torch.cat([part.support_radius_arcsec for part in parts]),
        )

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        """(B,) float32, as the component tells it."""
        component, own = self.split(indices)
        radius = np.empty(len(own), np.float32)
        for number in np.unique(component):
            mine = component == number
            radius[mine] = self.sources[number].half_light_radius_arcsec(own[mine])
        return radius

    def split(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B,) number of the component and (B,) index within it of global ``indices``; IndexError outside."""
        checked = checked_indices(indices, n_sources=self.n_sources, name=self.name)
        component = np.searchsorted(self.offsets, checked, side="right") - 1
        return component, checked - self.offsets[component]

    def origin(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B,) label of the component (its kind, unless the configuration calls it otherwise) and index within it."""
        component, own = self.split(indices)
        return np.array(self.labels)[component], own

    def _common_grid(self) -> tuple[int, float]:
        first = self.sources[0]
        for label, source in zip(self.labels, self.sources, strict=True):
            same = source.stamp_size_px == first.stamp_size_px and np.isclose(
                source.pixel_scale_arcsec, first.pixel_scale_arcsec, rtol=1e-6
            )
            if not same:
                raise ValueError(
                    f"source.components: {self.labels[0]} has {grid(first)}, {label} has {grid(source)}; "
                    "one grid is needed: change stamp_size_px and pixel_scale_arcsec, or rebuild a bank"
                )
        return first.stamp_size_px, first.pixel_scale_arcsec


def grid(source: Source) -> str:
    """Stamp of ``source`` in words."""
    return f'{source.stamp_size_px} px of {source.pixel_scale_arcsec:g}"'
