"""Stamps -> the batch a network trains on. Runs in the loader's workers."""

from typing import Any

import numpy as np
import torch

from dhs.config.network import MetadataColumn
from dhs.config.network_input import AugmentConfig, PreprocessConfig
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies
from dhs.train.augment import draw, move
from dhs.train.metadata import metadata_table, perturbed_metadata
from dhs.train.perturb import perturb
from dhs.train.preprocess import preprocess


class BatchMaker:
    """Callable for `InjectionStream`: augment (training only), preprocess, attach metadata, class and label."""

    def __init__(
        self,
        cutouts: Galaxies,
        *,
        preprocess_config: PreprocessConfig,
        augment_config: AugmentConfig | None,
        metadata: tuple[MetadataColumn, ...],
    ) -> None:
        self._cutouts, self._columns = cutouts, metadata
        self._preprocess, self._augment = preprocess_config, augment_config
        self._metadata = metadata_table(cutouts, columns=metadata)

    def __call__(self, stamps: StampBatch) -> dict[str, Any]:
        rows = stamps.recipes.row
        images, metadata = self._network_input(stamps)
        return {
            "image": images,
            "metadata": torch.from_numpy(metadata),
            "label": torch.from_numpy(stamps.label.astype(np.float32)),
            "origin": torch.from_numpy(stamps.origin.astype(np.int64)),
            "kind": torch.from_numpy(self._cutouts.kind[rows].astype(np.int64)),
            "index": torch.from_numpy(stamps.recipes.key[:, 3]),
        }

    def _network_input(self, stamps: StampBatch) -> tuple[torch.Tensor, np.ndarray]:
        images, good, metadata = stamps.images, stamps.good, self._metadata[stamps.recipes.row]
        if self._augment is None:
            return preprocess(images, good=good, config=self._preprocess), metadata
        draws = draw(stamps.recipes.key, config=self._augment)
        if self._augment.changes_pixels:
            images, good = perturb(
                images,
                good=good,
                draws=draws,
                config=self._augment,
                annulus_inner_fraction=self._preprocess.annulus_inner_fraction,
            )
            metadata = perturbed_metadata(self._cutouts, stamps.recipes.row, draws=draws, columns=self._columns)
        return move(preprocess(images, good=good, config=self._preprocess), draws=draws), metadata
