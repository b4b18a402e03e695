"""`InjectionData`: the DataModule. It alone knows how far an epoch has come, so a resumed run misses nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from dhs.config.root import TrainConfig
from dhs.inject.batch_plan import Planner
from dhs.inject.device_build import build_device_painter
from dhs.inject.device_painter import DevicePainter
from dhs.inject.injector import Injector
from dhs.inject.mix import ORIGINS
from dhs.inject.stream import InjectionStream
from dhs.inject.supply import StampSupply
from dhs.preemption import stop_with_parent_only
from dhs.rng import Purpose
from dhs.train.ahead import PaintedAhead
from dhs.train.batch import BatchMaker, PlanPainter
from dhs.train.metadata import require_metadata_keeps_the_secret

Loader = DataLoader[Any] | PaintedAhead


class InjectionData(pl.LightningDataModule):
    """Streams of one configuration; needs ``Trainer(reload_dataloaders_every_n_epochs=1)``."""

    def __init__(self, supply: StampSupply, *, config: TrainConfig) -> None:
        super().__init__()
        self.supply, self._config = supply, config
        self._resume_epoch, self._resume_batches = -1, 0
        self._painter: DevicePainter | None = None
        require_metadata_keeps_the_secret(supply, columns=config.model.metadata, max_auc=config.model.metadata_max_auc)

    def train_dataloader(self) -> Loader:
        epoch = self.trainer.current_epoch if self.trainer else 0
        # Kept, not cleared: Lightning may ask twice for the loader of a resumed epoch.
        first = self._resume_batches if epoch == self._resume_epoch else 0
        return self.loader(Purpose.TRAIN, epoch=epoch, first_batch=first)

    def val_dataloader(self) -> Loader:
        return self.loader(Purpose.VAL)

    def loader(self, purpose: Purpose, *, epoch: int = 0, first_batch: int = 0) -> Loader:
        """Loader of finished batches; augmented only for TRAIN."""
        config, supply = self._config, self.supply
        maker = BatchMaker(
            supply.cutouts,
            preprocess_config=config.preprocess,
            augment_config=config.augment if purpose == Purpose.TRAIN else None,
            metadata=config.model.metadata,
        )
        if config.renderer.device != "accelerator" or not isinstance(supply, Injector):  # a finished set needs no arcs
            return self._in_workers(purpose, epoch=epoch, first_batch=first_batch, transform=maker)
        device = self.device()
        if self._painter is None:
            self._painter = build_device_painter(supply, config=config, device=device)
        planner = Planner(supply, psf=config.psf, send_pixels=not config.renderer.resident_sky)
        plans = self._in_workers(
            purpose,
            epoch=epoch,
            first_batch=first_batch,
            make=lambda indices: maker.plan(planner.plan(indices, purpose=purpose, epoch=epoch)),
        )
        return PaintedAhead(plans, paint=PlanPainter(self._painter, maker=maker, device=device), device=device)

    def device(self) -> torch.device:
        """That trains; without a trainer, the one that it would choose."""
        if self.trainer is not None:
            return self.trainer.strategy.root_device
        on_gpu = self._config.trainer.accelerator != "cpu" and torch.cuda.is_available()
        return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")

    def _in_workers(
        self,
        purpose: Purpose,
        *,
        epoch: int,
        first_batch: int,
        transform: BatchMaker | None = None,
        make: Callable[[np.ndarray], Any] | None = None,
    ) -> DataLoader[Any]:
        config, trainer = self._config, self.trainer
        stream = InjectionStream(
            self.supply,
            purpose=purpose,
            epoch=epoch,
            batch_size=config.trainer.batch_size,
            first_batch=first_batch,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            transform=transform,
            make=make,
        )
        workers = config.trainer.num_workers
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=stop_with_parent_only,
            pin_memory=config.trainer.accelerator != "cpu",
        )

    def recipes(self, indices: np.ndarray, *, purpose: Purpose, epoch: int) -> dict[str, np.ndarray]:
        """What the samples ``indices`` were made of: one column for each quantity of their recipes."""
        stamps = self.supply.stamps(indices, purpose=purpose, epoch=epoch)
        return stamps.recipes.columns() | {"drawn_as": np.array(ORIGINS)[stamps.origin]}

    def state_dict(self) -> dict[str, int]:
        """Epoch and batches that the loop has finished, not those the loader has prefetched."""
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return {"epoch": self.trainer.current_epoch, "batches": progress.processed}  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._resume_epoch, self._resume_batches = state_dict["epoch"], state_dict["batches"]
