"""`InjectionStream`: an IterableDataset of finished batches, stateless and exact.

Batch b of an epoch holds the samples [b * size, (b + 1) * size), each a pure function of (seed, purpose, epoch, index).
Worker w of W yields the batches first+w, first+w+W, ...; rank r of R takes the r-th slice of every batch. So the
order does not depend on the number of workers or ranks, and a run resumes at any batch with another number of them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose

Transform = Callable[[StampBatch], dict[str, Any]]
Make = Callable[[np.ndarray], Any]
"""Numbers of samples (B,) to a finished batch of them."""


class InjectionStream(IterableDataset[dict[str, Any]]):
    """Batches of ``purpose``; ``len()`` is that of the whole epoch, wherever it starts.

    ``measure`` adds the costlier `ArcMeasures`: for tables and evaluation, not for training. ``make`` makes the batches
    in the place of the supply's stamps and ``transform`` (`renderer.device=accelerator`: plans of stamps)."""

    def __init__(
        self,
        supply: StampSupply,
        *,
        purpose: Purpose,
        epoch: int,
        batch_size: int,
        transform: Transform | None = None,
        make: Make | None = None,
        first_batch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        measure: bool = False,
    ) -> None:
        if batch_size % world_size:
            raise ValueError(f"batch_size = {batch_size}: must be a multiple of the number of ranks, {world_size}")
        self._supply, self._purpose, self._epoch = supply, purpose, epoch
        assert (transform is None) != (make is None)
        self._batch_size, self._transform, self._make, self._first = batch_size, transform, make, first_batch
        self._rank, self._world_size, self._measure = rank, world_size, measure
        self._n_samples = supply.n_stamps(purpose)
        self._drop_tail = purpose == Purpose.TRAIN
        if self._n_samples < world_size:
            raise ValueError(f"{self._n_samples} {purpose.name} samples: must be at least one a rank, {world_size}")

    def __len__(self) -> int:
        """Batches of the epoch; a training epoch drops an incomplete last batch, so that ranks never differ.

        A fixed set has every sample once: what is left over is a batch of its own, or joins the one before where there
        are fewer samples left than ranks (a rank without a sample has no loss).
        """
        full, rest = divmod(self._n_samples, self._batch_size)
        alone = rest >= self._world_size or (rest > 0 and full == 0)
        return full + 1 if alone and not self._drop_tail else full

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            torch.set_num_threads(1)
        for batch in range(self._first + offset, len(self), stride):
            yield self._batch(self._indices(batch))

    def _batch(self, indices: np.ndarray) -> Any:
        if self._make is not None:
            return self._make(indices)
        assert self._transform is not None
        stamps = self._supply.stamps(indices, purpose=self._purpose, epoch=self._epoch, measure=self._measure)
        return self._transform(stamps)

    def _indices(self, batch: int) -> np.ndarray:
        start = batch * self._batch_size
        takes_the_rest = batch == len(self) - 1 and not self._drop_tail
        indices = np.arange(start, self._n_samples if takes_the_rest else start + self._batch_size)
        return np.array_split(indices, self._world_size)[self._rank]
