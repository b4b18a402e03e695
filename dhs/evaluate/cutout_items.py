"""Stamps to score that are no draw of the training run's sky: cutouts as they are, or given recipes painted.

Both are `dhs.evaluate.scored_set.StampItems`.
"""

from collections.abc import Mapping

import numpy as np
import torch

from dhs.inject.painter import Painter
from dhs.inject.recipe import RecipeBatch, controls
from dhs.inject.stamp_batch import StampBatch, only_controls
from dhs.sky.cutouts import CutoutSet, good_pixels


class CutoutItems:
    """The cutouts ``rows`` (N,) of a set, with nothing put into them."""

    def __init__(
        self, cutouts: CutoutSet, *, rows: np.ndarray, columns: Mapping[str, np.ndarray], identity: str
    ) -> None:
        """``columns``: (N,) arrays stored beside the scores; ``identity``: what decides pixels and columns."""
        self.cutouts, self.identity = cutouts, identity
        self._rows, self._columns = np.asarray(rows, dtype=np.int64), columns

    def __len__(self) -> int:
        return len(self._rows)

    def stamps(self, indices: np.ndarray) -> StampBatch:
        """The stamps of (B,) ``indices``."""
        rows = self._rows[indices]
        keys = np.zeros((len(rows), 4), dtype=np.int64)
        keys[:, 3] = indices
        good = good_pixels(np.asarray(self.cutouts.invvar[rows]), np.asarray(self.cutouts.maskbits[rows]))
        images = torch.from_numpy(np.array(self.cutouts.images[rows], dtype=np.float32))
        return only_controls(images, torch.from_numpy(good), controls(self.cutouts, rows, keys=keys), measure=False)

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Those given."""
        return {name: values[indices] for name, values in self._columns.items()}


class RecipeItems:
    """(N,) ``recipes`` painted into the galaxies of the painter."""

    def __init__(
        self, painter: Painter, recipes: RecipeBatch, *, columns: Mapping[str, np.ndarray], identity: str
    ) -> None:
        self.cutouts: CutoutSet = painter.cutouts
        self.identity = identity
        self._painter, self._recipes, self._columns = painter, recipes, columns

    def __len__(self) -> int:
        return len(self._recipes)

    def stamps(self, indices: np.ndarray) -> StampBatch:
        """The stamps of (B,) ``indices``."""
        return self._painter.stamps(self._recipes.take(indices))

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Those given, and how visible each arc is."""
        given = {name: values[indices] for name, values in self._columns.items()}
        return given | {
            "magnification": stamps.magnification,
            "arc_snr_sum_g": stamps.arc_snr_sum[:, 0],
            "source_r_mag": stamps.recipes.source_mag[:, 1].astype(np.float32),
        }
