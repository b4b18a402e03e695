"""`renderer.device=accelerator`: what a worker's plan costs, and on a CUDA device whether the step has to wait.

convnext_tiny, bf16, channels last, clumpy sources, mock sky resident. "Bare loop" is the same backbone and head on
random tensors with nothing else; "ready tensors" the finder's own step on batches that lie on the device already.
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Rows, interleaved, rows_from
from benchmarks.parts import quickstart
from dhs.config.root import TrainConfig
from dhs.inject.batch_plan import Planner
from dhs.inject.build import build_injector
from dhs.inject.device_build import build_device_painter
from dhs.inject.injector import Injector
from dhs.rng import Purpose

ROUNDS = 5
STEPS = 20
BATCHES = (256, 512, 1024)
SETTING = ("renderer=accelerator", "model=convnext_tiny", "loss=focal", "trainer=gpu", "max_galaxies=2048")
EPOCH = ("inject.samples_per_epoch=1024000",)


def accelerator() -> Rows:
    """The plan on any machine; the rest where there is a GPU."""
    torch.set_num_threads(1)
    config = quickstart(*SETTING, *EPOCH)
    injector = build_injector(config)
    rows = _plans(injector, config)
    if not torch.cuda.is_available():
        print("  no CUDA device here: only the plan is measured; on an H200 run make bench ARGS=accelerator")
        return rows
    device = torch.device("cuda", 0)
    rows += injection(injector, config, device=device)
    for batch_size in BATCHES:
        rows += training(injector, quickstart(*SETTING, *EPOCH, f"trainer.batch_size={batch_size}"), device=device)
    return rows


def _plans(injector: Injector, config: TrainConfig) -> Rows:
    planner, number = Planner(injector, psf=config.psf, send_pixels=False), itertools.count()

    def plan() -> int:
        first = 256 * next(number)
        planner.plan(np.arange(first, first + 256), purpose=Purpose.TRAIN)
        return 256

    rates = interleaved({"a worker's plan (20 tries an arc, half carry one)": plan}, rounds=ROUNDS)
    times = {name: [1e6 / rate for rate in values] for name, values in rates.items()}
    return rows_from(times, part="accelerator, worker", unit="us/stamp")


def injection(injector: Injector, config: TrainConfig, *, device: torch.device) -> Rows:
    """Plans in memory -> stamps on the device, without normalisation and network."""
    planner = Planner(injector, psf=config.psf, send_pixels=False)
    painter = build_device_painter(injector, config=config, device=device)
    candidates = {}
    for size in BATCHES:
        plans = [planner.plan(np.arange(i * size, (i + 1) * size), purpose=Purpose.TRAIN) for i in range(8)]

        def work(plans: Any = plans, size: int = size) -> int:
            for plan in plans:
                painter.paint(plan)
            _finish(device)
            return size * len(plans)

        candidates[f"injection alone, batches of {size}"] = work
    return rows_from(interleaved(candidates, rounds=ROUNDS), part="accelerator, injection", unit="stamps/s")


def training(injector: Injector, config: TrainConfig, *, device: torch.device) -> Rows:
    from dhs.train.data import InjectionData
    from dhs.train.losses import loss_per_sample
    from dhs.train.module import LensFinder

    size = config.trainer.batch_size
    data = InjectionData(injector, config=config)
    flow = _endless(data)
    stored = list(itertools.islice(flow, STEPS))
    finder = LensFinder(config).train().to(device)
    optimizer: Any = finder.configure_optimizers()["optimizer"]  # type: ignore[index, call-overload]
    bare = LensFinder(config).train().to(device).network
    bare_optimizer = torch.optim.AdamW(bare.parameters(), fused=device.type == "cuda")
    noise, label = torch.randn_like(stored[0]["image"]), stored[0]["label"]
    nothing = stored[0]["metadata"]
    waits: list[float] = []

    def steps(batches: Iterator[dict[str, torch.Tensor]]) -> int:
        waited, started = 0.0, time.perf_counter()
        for _ in range(STEPS):
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16):
                logits = finder(batch["image"], batch["metadata"])
            loss_per_sample(logits, batch["label"], config=config.loss).mean().backward()
            optimizer.step()
        _finish(device)
        waits.append(100 * waited / (time.perf_counter() - started))
        return STEPS * size

    def bare_loop() -> int:
        for _ in range(STEPS):
            bare_optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16):
                logits = bare(noise, nothing)
            torch.nn.functional.binary_cross_entropy_with_logits(logits, label).backward()
            bare_optimizer.step()
        _finish(device)
        return STEPS * size

    def streamed() -> int:
        done = steps(flow)
        streamed_waits.append(waits[-1])
        return done

    streamed_waits: list[float] = []
    works = {
        f"batch {size}: ready tensors": lambda: steps(iter(stored)),
        f"batch {size}: injected on the fly": streamed,
        f"batch {size}: bare loop, random tensors": bare_loop,
    }
    rates, names = interleaved(works, rounds=ROUNDS), list(works)
    part = "accelerator, training"
    rows = rows_from({name: rates[name] for name in names[:2]}, part=part, unit="stamps/s", against=names[0])
    against_bare = rows_from(
        {names[1]: rates[names[1]], names[2]: rates[names[2]]}, part=part, unit="stamps/s", against=names[2]
    )
    wait = {f"batch {size}: data wait": streamed_waits[-ROUNDS:]}
    return rows + against_bare + rows_from(wait, part=part, unit="%")


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _endless(data: Any) -> Iterator[dict[str, torch.Tensor]]:
    return itertools.chain.from_iterable(iter(data.loader(Purpose.TRAIN, epoch=epoch)) for epoch in itertools.count())
