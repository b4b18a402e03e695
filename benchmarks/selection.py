"""The selection function's injections: 192,500 of them (11 x 7 x 5 cells x 500) on two cores, network time apart.

Two workers of a loader draw, paint and measure the injections of a sample of batches spread over all cells that have a
galaxy, as `evaluate.py` has them do; the time of the whole is extrapolated from their rate, and the row says so.
"""

import time
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Rows, rows_from
from benchmarks.parts import quickstart
from dhs.config.cli import compose_job
from dhs.config.root import EvaluateRoot
from dhs.evaluate.selection.items import SelectionItems
from dhs.inject.build import build_painter
from dhs.train.batch import BatchMaker

BATCH = 256
BATCHES_A_ROUND = 40
ROUNDS = 3
WHOLE = 11 * 7 * 5 * 500


def selection() -> Rows:
    """Injections a second of two workers, painted and ready for the network; seconds of the whole."""
    torch.set_num_threads(1)
    config = quickstart()
    settings = compose_job(
        "evaluate", ["evaluate=full", "checkpoint=benchmarks", "task=all"], schema=EvaluateRoot
    ).evaluate.selection
    items = SelectionItems(
        build_painter(config),
        settings=settings,
        lens=config.lens,
        colour=config.colour,
        seed=config.seed,
        calibrating=np.zeros(0, np.int64),
    )
    maker = BatchMaker(
        items.cutouts,
        preprocess_config=config.preprocess,
        augment_config=None,
        metadata=config.model.metadata,
    )
    starts = np.linspace(0, len(items) - BATCH, ROUNDS * BATCHES_A_ROUND, dtype=np.int64)
    rows: Rows = []
    for what, finish in (("painted and measured", None), ("ready for the network", maker)):
        rates = [_rate(_Sample(items, starts[place::ROUNDS], finish=finish)) for place in range(ROUNDS)]
        rows += rows_from({f"injections {what}, 2 workers": rates}, part="selection", unit="stamps/s")
        seconds = {f"{WHOLE:,} injections {what}, 2 workers, extrapolated": [WHOLE / rate for rate in rates]}
        rows += rows_from(seconds, part="selection", unit="s")
    return rows


class _Sample(Dataset[int]):
    """Batches that start at ``starts``; what they hold stays in the worker."""

    def __init__(self, items: SelectionItems, starts: np.ndarray, *, finish: Any) -> None:
        self._items, self._starts, self._finish = items, starts, finish

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: int) -> int:
        torch.set_num_threads(1)
        index = np.arange(self._starts[place], self._starts[place] + BATCH)
        stamps = self._items.stamps(index)
        columns = self._items.columns(stamps, index)
        if self._finish is not None:
            self._finish(stamps)
        return len(columns["cell"])


def _rate(sample: _Sample) -> float:
    """Injections a second from the first batch's arrival on: what workers cost to start is not in a long run."""
    batches = iter(
        DataLoader(sample, batch_size=None, num_workers=2, multiprocessing_context="fork", prefetch_factor=2)
    )
    next(batches)
    started, done = time.perf_counter(), 0
    for n in batches:
        done += int(n)
    return done / (time.perf_counter() - started)
