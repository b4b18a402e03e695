"""What is measured: each function returns rows for benchmarks.run."""

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Rows, interleaved, rows_from
from dhs.config.cli import compose_job
from dhs.config.root import TrainConfig
from dhs.inject.build import build_injector
from dhs.rng import Purpose

ROUNDS = 7


def quickstart(*overrides: str) -> TrainConfig:
    """The configuration of `make train`."""
    return compose_job("train", list(overrides), schema=TrainConfig)


def stream() -> Rows:
    """Finished training batches of one worker thread: acceptance, injection, preprocessing, augmentation."""
    from dhs.train.batch import BatchMaker

    torch.set_num_threads(1)
    config = quickstart()
    injector = build_injector(config)
    maker = BatchMaker(
        injector.cutouts,
        preprocess_config=config.preprocess,
        augment_config=config.augment,
        metadata=config.model.metadata,
    )
    counter = itertools.count()

    def batch(*, finish: bool) -> int:
        start = next(counter) * 256
        stamps = injector.stamps(np.arange(start, start + 256), purpose=Purpose.TRAIN)
        if finish:
            maker(stamps)
        return 256

    rates = interleaved(
        {
            "injected stamps (half carry an arc)": lambda: batch(finish=False),
            "training batches (injected, normalised, augmented)": lambda: batch(finish=True),
        },
        rounds=ROUNDS,
    )
    return rows_from(rates, part="stream, one core", unit="stamps/s")


def training() -> Rows:
    """Optimiser steps on ready tensors and on the stream: one thread trains, one worker injects, on two cores."""
    from dhs.train.data import InjectionData
    from dhs.train.losses import loss_per_sample
    from dhs.train.module import LensFinder

    rows: Rows = []
    for name, overrides in (
        ("quickstart network", ()),
        ("resnet10t, full width", ("model.backbone_kwargs.channels=[64,128,256,512]",)),
    ):
        config = quickstart(*overrides)
        injector = build_injector(config)
        finder = LensFinder(config).train()
        data = InjectionData(injector, config=config)
        optimizer: Any = finder.configure_optimizers()
        stored = list(itertools.islice(iter(data.loader(Purpose.TRAIN)), 30))

        def steps(
            batches: Any,
            *,
            threads: int,
            finder: Any = finder,
            config: Any = config,
            optimizer: Any = optimizer["optimizer"],
        ) -> int:
            torch.set_num_threads(threads)
            done = 0
            for batch in batches:
                optimizer.zero_grad()
                logits = finder(batch["image"], batch["metadata"])
                loss_per_sample(logits, batch["label"], config=config.loss).mean().backward()
                optimizer.step()
                done += len(logits)
            return done

        flow = itertools.chain.from_iterable(iter(data.loader(Purpose.TRAIN, epoch=e)) for e in itertools.count())
        for _ in range(20):
            next(flow)

        def streamed(flow: Any = flow, steps: Any = steps) -> int:
            return steps(itertools.islice(flow, 30), threads=1)

        rates = interleaved(
            {
                f"{name}: ready tensors, 1 thread": lambda steps=steps, stored=stored: steps(stored, threads=1),
                f"{name}: ready tensors, 2 threads": lambda steps=steps, stored=stored: steps(stored, threads=2),
                f"{name}: injected on the fly, 1 thread + 1 worker": streamed,
            },
            rounds=5,
        )
        rows += rows_from(rates, part="training", unit="stamps/s", against=f"{name}: ready tensors, 1 thread")
    return rows


def mock_sky() -> Rows:
    """Mock galaxies drawn from nothing, all processes, writing included."""
    from dhs.sky.build import load_sky

    config = quickstart("max_galaxies=2048")
    values = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            started = time.perf_counter()
            load_sky(config.sky, cache_dir=Path(cache), max_galaxies=config.max_galaxies)
            values.append(2048 / (time.perf_counter() - started))
    return rows_from({"mock galaxies drawn (all cores)": values}, part="sky", unit="galaxies/s")


def bank() -> Rows:
    """Bank of the example catalogue repeated 30 times in 10 files, one process, by wall clock and CPU time.

    Nothing where the data are absent. "Writing included": reading, drawing, cleaning, journal and HDF5.
    """
    from benchmarks.tiled_catalog import tile_catalog
    from dhs.config.source import CosmosSource
    from dhs.source.cosmos import build_cosmos_bank

    try:
        config = quickstart("experiment=real_example")
    except ValueError as error:
        print(f"  skipped: {error}")
        return []
    assert isinstance(config.source, CosmosSource) and config.source.catalog_dir is not None
    rates: dict[str, list[float]] = {
        "accepted sources a second of one core": [],
        "accepted sources": [],
        "galaxies tried a second of one core": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        tile_catalog(config.source.catalog_dir, Path(folder), n_repeats=30, galaxies_per_file=300)
        for round_ in range(3):
            build = config.source.build.model_copy(update={"n_sources": 1000, "num_processes": 1, "seed": round_})
            source = config.source.model_copy(
                update={"bank": Path(folder) / "bank.h5", "catalog_dir": Path(folder), "build": build}
            )
            started, cpu_started = time.perf_counter(), time.process_time()
            summary = build_cosmos_bank(source)
            cpu = time.process_time() - cpu_started
            rates["accepted sources a second of one core"].append(summary.n_sources / cpu)
            rates["accepted sources"].append(summary.n_sources / (time.perf_counter() - started))
            rates["galaxies tried a second of one core"].append(summary.n_tried / cpu)
    return rows_from(rates, part="bank", unit="1/s")
