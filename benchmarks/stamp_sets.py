"""Rewriting a set of finished stamps, and training from one: rows and stamps a second of one core.

Rates are of processor time (one process, one thread), files are in the page cache; disks are not measured.
"""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Rows, rows_from
from benchmarks.parts import quickstart
from benchmarks.sky_store import per_cpu_second
from dhs.config.compact import CompactTask
from dhs.config.sky import StampsSky
from dhs.inject.build import build_injector
from dhs.inject.stampset.compact_job import compact as rewrite
from dhs.inject.stampset.fixed import load_fixed_stamps
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose
from dhs.train.batch import BatchMaker
from tests.inject.stampset.sets import stamps_table, write_tables

N_STAMPS = 2048
BATCH = 256
SMALL = ("max_galaxies=2048", "inject.n_val_positives=100", "inject.n_test_positives=100")


def _painted(folder: Path) -> tuple[StampSupply, Path]:
    """The quickstart's injector, and some of its stamps as a set of small parts."""
    injector = build_injector(quickstart(*SMALL))
    tables = []
    for split, purpose in (("train", Purpose.TRAIN), ("val", Purpose.VAL), ("test", Purpose.TEST)):
        n = N_STAMPS if split == "train" else injector.n_stamps(purpose)
        for first in range(0, n, BATCH):
            stamps = injector.stamps(np.arange(first, min(first + BATCH, n)), purpose=purpose, measure=True)
            tables.append((split, stamps_table(stamps, split=split, cutouts=injector.cutouts, first=first)))
    return injector, write_tables(folder / "parts", tables)


def compact() -> Rows:
    """Shuffled, from small parts to large files, read back and compared, by processor time of one process."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, source = _painted(folder)
        outputs = (folder / f"out{number}" for number in itertools.count())

        def work(**settings: Any) -> int:
            values = {"name": "compact", "input": str(source), "output": str(next(outputs)), "num_processes": 1}
            task = CompactTask.model_validate(values | settings)
            summary = rewrite(task, seed=1, cache_dir=folder, progress=lambda what, done, total: None)
            return sum(rows for rows, _ in summary.rows.values())

        rates = per_cpu_second(
            {
                "to Parquet, verified": lambda: work(),
                "to shards, verified": lambda: work(format="webdataset"),
                "to shards, not verified": lambda: work(format="webdataset", verify=False),
                "to shards, in order, verified": lambda: work(format="webdataset", shuffle=False),
            }
        )
    return rows_from(rates, part="compact, one core", unit="rows/s")


def stamps_stream() -> Rows:
    """Random training batches of 256: of mapped shards, and injected on the fly; raw, and finished for the network."""
    torch.set_num_threads(1)
    config = quickstart(*SMALL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        injector, source = _painted(folder)
        skies = [StampsSky(name="stamps", path=str(source), verify=verify) for verify in (True, False)]
        checked, unchecked = (
            load_fixed_stamps(sky, seed=1, samples_per_epoch=N_STAMPS, cache_dir=folder) for sky in skies
        )
        makers = {
            id(supply): BatchMaker(
                supply.cutouts, preprocess_config=config.preprocess, augment_config=config.augment, metadata=()
            )
            for supply in (injector, checked, unchecked)
        }
        counter = itertools.count()

        def batches(supply: StampSupply, *, finish: bool) -> int:
            for _ in range(2):
                epoch, batch = divmod(next(counter), N_STAMPS // BATCH)
                indices = np.arange(batch * BATCH, (batch + 1) * BATCH)
                stamps = supply.stamps(indices, purpose=Purpose.TRAIN, epoch=epoch)
                if finish:
                    makers[id(supply)](stamps)
            return 2 * BATCH

        rates = per_cpu_second(
            {
                "sky=stamps, checksums compared": lambda: batches(checked, finish=False),
                "sky=stamps, verify=false": lambda: batches(unchecked, finish=False),
                "injected on the fly": lambda: batches(injector, finish=False),
                "sky=stamps, finished batches": lambda: batches(checked, finish=True),
                "injected on the fly, finished batches": lambda: batches(injector, finish=True),
            }
        )
    return rows_from(
        rates, part="stamps_stream, one core", unit="stamps/s", against="injected on the fly, finished batches"
    )
