"""`InjectionData`: the DataModule. It alone knows how far an epoch has come, so a resumed run misses nothing."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from dhs.config.root import TrainConfig
from dhs.inject.mix import ORIGINS
from dhs.inject.stream import InjectionStream
from dhs.inject.supply import StampSupply
from dhs.preemption import stop_with_parent_only
from dhs.rng import Purpose
from dhs.train.batch import BatchMaker
from dhs.train.metadata import require_metadata_keeps_the_secret

Loader = DataLoader[dict[str, Any]]


class InjectionData(pl.LightningDataModule):
    """Streams of one configuration; needs ``Trainer(reload_dataloaders_every_n_epochs=1)``."""

    def __init__(self, supply: StampSupply, *, config: TrainConfig) -> None:
        super().__init__()
        self.supply, self._config = supply, config
        self._resume_epoch, self._resume_batches = -1, 0
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
        config, trainer = self._config, self.trainer
        training = purpose == Purpose.TRAIN
        stream = InjectionStream(
            self.supply,
            purpose=purpose,
            epoch=epoch,
            batch_size=config.trainer.batch_size,
            first_batch=first_batch,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            transform=BatchMaker(
                self.supply.cutouts,
                preprocess_config=config.preprocess,
                augment_config=config.augment if training else None,
                metadata=config.model.metadata,
            ),
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
