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
        rates = [_rates(_Sample(items, starts[place::ROUNDS], finish=finish)) for place in range(ROUNDS)]
        wall, processor = ([rate[i] for rate in rates] for i in (0, 1))
        measured = {
            f"injections {what}, 2 workers": wall,
            f"injections {what}, a second of one core (processor time)": processor,
        }
        rows += rows_from(measured, part="selection", unit="stamps/s")
        seconds = {f"{WHOLE:,} injections {what}, 2 workers, extrapolated": [WHOLE / rate for rate in wall]}
        rows += rows_from(seconds, part="selection", unit="s")
    return rows


class _Sample(Dataset[tuple[int, float]]):
    """Batches that start at ``starts``; what they hold stays in the worker."""

    def __init__(self, items: SelectionItems, starts: np.ndarray, *, finish: Any) -> None:
        self._items, self._starts, self._finish = items, starts, finish

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: int) -> tuple[int, float]:
        torch.set_num_threads(1)
        started = time.process_time()
        index = np.arange(self._starts[place], self._starts[place] + BATCH)
        stamps = self._items.stamps(index)
        columns = self._items.columns(stamps, index)
        if self._finish is not None:
            self._finish(stamps)
        return len(columns["cell"]), time.process_time() - started


def _rates(sample: _Sample) -> tuple[float, float]:
    """Injections a second by the wall clock, from the first batch on (workers take their time to start once, however
    long the run), and of a core by its workers' processor time."""
    loader = DataLoader(sample, batch_size=None, num_workers=2, multiprocessing_context="fork", prefetch_factor=2)
    batches = iter(loader)
    next(batches)
    started, done, processor_s = time.perf_counter(), 0, 0.0
    for n, seconds in batches:
        done, processor_s = done + n, processor_s + seconds
    return done / (time.perf_counter() - started), done / processor_s
