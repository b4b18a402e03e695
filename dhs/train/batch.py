"""Stamps -> the batch a network trains on. Runs in the loader's workers."""

from typing import Any

import numpy as np
import torch

from dhs.config.training import AugmentConfig, MetadataColumn, PreprocessConfig
from dhs.constants import BANDS
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies
from dhs.train.augment import augment
from dhs.train.preprocess import preprocess

METADATA_SCALE: dict[str, tuple[float, float]] = {"psfsize": (1.2, 0.2), "psfdepth": (24.5, 0.7)}
"""Centre and width that bring each column to order one: arcsec, AB magnitude (DR10's own spread)."""


class BatchMaker:
    """Callable for `InjectionStream`: preprocess, augment (training only), attach metadata and label."""

    def __init__(
        self,
        cutouts: Galaxies,
        *,
        preprocess_config: PreprocessConfig,
        augment_config: AugmentConfig | None,
        metadata: tuple[MetadataColumn, ...],
    ) -> None:
        self._preprocess, self._augment = preprocess_config, augment_config
        self._metadata = metadata_table(cutouts, columns=metadata)

    def __call__(self, stamps: StampBatch) -> dict[str, Any]:
        images = preprocess(stamps.images, good=stamps.good, config=self._preprocess)
        if self._augment is not None:
            images = augment(images, keys=stamps.recipes.key, config=self._augment)
        return {
            "image": images,
            "metadata": torch.from_numpy(self._metadata[stamps.recipes.row]),
            "label": torch.from_numpy(stamps.recipes.injected.astype(np.float32)),
            "index": torch.from_numpy(stamps.recipes.key[:, 3]),
        }


def metadata_table(cutouts: Galaxies, *, columns: tuple[MetadataColumn, ...]) -> np.ndarray:
    """(N, len(columns)) float32, scaled to order one."""
    table = np.zeros((len(cutouts), len(columns)), dtype=np.float32)
    for j, column in enumerate(columns):
        quantity, band = column.split("_")
        values = cutouts.psf_fwhm_arcsec if quantity == "psfsize" else cutouts.psf_depth_mag
        centre, width = METADATA_SCALE[quantity]
        table[:, j] = (values[:, BANDS.index(band)] - centre) / width
    if not np.isfinite(table).all():
        missing = [column for j, column in enumerate(columns) if not np.isfinite(table[:, j]).all()]
        raise ValueError(
            f"model.metadata: {', '.join(missing)} is not known for every galaxy of this sky; leave it out"
        )
    return table
