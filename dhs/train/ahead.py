"""`PaintedAhead`: a loader whose batches are painted on the device while the step before is at work.

Lightning's hook for work on the device, `on_after_batch_transfer`, runs just before the step, too late to overlap with
it. So one thread beside the training loop takes plans from the workers and paints them, `DEPTH` batches ahead, on a GPU
in a stream of its own: waiting for a decision of acceptance there neither stops the step nor empties its queue. What
the loop waits for a batch counts as waiting for data (`perf/data_wait`), and how far an epoch has come is counted by
the batches that the loop has finished, as ever: those painted ahead are painted again after a restart.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils.data import DataLoader

from dhs.train.batch import Batch, PlannedBatch

DEPTH = 2
"""Batches painted or in work beside the one that trains."""


class PaintedAhead:
    """Batches on ``device``; its length is that of ``planned``."""

    def __init__(
        self, planned: DataLoader[Any], *, paint: Callable[[PlannedBatch], Batch], device: torch.device
    ) -> None:
        self._planned, self._paint, self._device = planned, paint, device

    def __len__(self) -> int:
        return len(self._planned)

    def __iter__(self) -> Iterator[Batch]:
        plans = iter(self._planned)  # here, not in the thread: this forks the workers
        stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        n_threads = torch.get_num_threads()  # a new thread would start with torch's own number
        ahead: deque[Future[Batch | None]] = deque()
        with ThreadPoolExecutor(1, "dhs-paint", initializer=torch.set_num_threads, initargs=(n_threads,)) as thread:
            for _ in range(DEPTH):
                ahead.append(thread.submit(self._next, plans, stream))
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(thread.submit(self._next, plans, stream))
                yield self._handed_over(batch)

    def _next(self, plans: Iterator[PlannedBatch], stream: torch.cuda.Stream | None) -> Batch | None:
        planned = next(plans, None)
        if planned is None:
            return None
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            batch = self._paint(planned)
        if stream is not None:
            stream.synchronize()  # painted when it is handed over, so that waiting for it can be measured
        return batch

    def _handed_over(self, batch: Batch) -> Batch:
        """Known to the stream that trains, or its memory would be used again while a step still reads it."""
        if self._device.type == "cuda":
            for value in batch.values():
                value.record_stream(torch.cuda.current_stream(self._device))
        return batch
