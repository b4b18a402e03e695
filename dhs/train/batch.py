"""Stamps -> the batch a network trains on: augment (training only), preprocess, attach metadata, class and label.

With `renderer.device=cpu` all of it happens in the loader's workers. With `renderer.device=accelerator` a worker
decides (`BatchMaker.plan`) and the device paints (`PlanPainter`), by the same functions: the same batch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dhs.config.network import MetadataColumn
from dhs.config.network_input import AugmentConfig, PreprocessConfig
from dhs.inject.batch_plan import BatchPlan, mapped
from dhs.inject.device_painter import DevicePainter
from dhs.inject.mix import POSITIVE_ORIGINS
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies
from dhs.train.augment import AugmentDraws, draw, move
from dhs.train.metadata import metadata_table, perturbed_metadata
from dhs.train.perturb import perturb
from dhs.train.preprocess import preprocess

Batch = dict[str, Any]


@dataclass(frozen=True)
class PlannedBatch:
    """A batch to be: what its stamps are made of, what is done to them, and what goes along with the pixels."""

    plan: BatchPlan
    draws: AugmentDraws | None
    beside: dict[str, torch.Tensor]

    def pin_memory(self) -> "PlannedBatch":
        """The same in page-locked memory; torch's loader calls it."""
        return mapped(self, lambda tensor: tensor.pin_memory())


class BatchMaker:
    """Callable for `InjectionStream`: stamps -> batch."""

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

    def __call__(self, stamps: StampBatch) -> Batch:
        recipes = stamps.recipes
        draws = self._draws(recipes.key)
        image = self.network_input(stamps.images, stamps.good, draws=draws)
        return {"image": image, **self._beside(recipes.row, stamps.origin, key=recipes.key, draws=draws)}

    def plan(self, plan: BatchPlan) -> PlannedBatch:
        """Everything of a batch but its pixels."""
        draws = self._draws(plan.key)
        return PlannedBatch(plan, draws, self._beside(plan.row, plan.origin, key=plan.key, draws=draws))

    def network_input(self, images: torch.Tensor, good: torch.Tensor, *, draws: AugmentDraws | None) -> torch.Tensor:
        """(B, channels, N, N) of (B, bands, N, N) nMgy and their mask, on the device where they are."""
        if draws is None or self._augment is None:
            return preprocess(images, good=good, config=self._preprocess)
        if self._augment.changes_pixels:
            images, good = perturb(
                images,
                good=good,
                draws=draws,
                config=self._augment,
                annulus_inner_fraction=self._preprocess.annulus_inner_fraction,
            )
        return move(preprocess(images, good=good, config=self._preprocess), draws=draws)

    def _draws(self, key: np.ndarray) -> AugmentDraws | None:
        return None if self._augment is None else draw(key, config=self._augment)

    def _beside(
        self, row: np.ndarray, origin: np.ndarray, *, key: np.ndarray, draws: AugmentDraws | None
    ) -> dict[str, torch.Tensor]:
        metadata = self._metadata[row]
        if self._augment is not None and self._augment.changes_pixels and draws is not None:
            metadata = perturbed_metadata(self._cutouts, row, draws=draws, columns=self._columns)
        return {
            "metadata": torch.from_numpy(metadata),
            "label": torch.from_numpy(np.isin(origin, POSITIVE_ORIGINS).astype(np.float32)),
            "origin": torch.from_numpy(origin.astype(np.int64)),
            "kind": torch.from_numpy(self._cutouts.kind[row].astype(np.int64)),
            "index": torch.from_numpy(key[:, 3].copy()),
        }


class PlanPainter:
    """Planned batches -> batches, on the device of its `DevicePainter`."""

    def __init__(self, painter: DevicePainter, *, maker: BatchMaker, device: torch.device) -> None:
        self._painter, self._maker, self._device = painter, maker, device

    @torch.no_grad()
    def __call__(self, planned: PlannedBatch) -> Batch:
        draws, beside = (self._there(part) for part in (planned.draws, planned.beside))
        pixels = self._painter.paint(planned.plan).pixels
        return {"image": self._maker.network_input(pixels.images, pixels.good, draws=draws), **beside}

    def _there(self, tree: Any) -> Any:
        return mapped(tree, lambda tensor: tensor.to(self._device, non_blocking=True))
