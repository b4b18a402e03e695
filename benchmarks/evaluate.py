"""Evaluation: bootstrap of 10,000 over 100,000 scores, scoring against the network's own forward pass."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Rows, interleaved, rows_from
from dhs.config.cli import compose_job
from dhs.config.root import TrainConfig
from dhs.rng import Purpose, keyed_rng

N_SCORES, N_LENSES, RESAMPLES = 100_000, 10_000, 10_000
BATCH, N_STAMPS = 64, 256


def evaluate() -> Rows:
    """Seconds of the bootstrap; stamps a second of convnext_tiny alone and through `score_items`, stamps ready made."""
    return [*_bootstrap(), *_scoring()]


def _bootstrap() -> Rows:
    from dhs.evaluate.bootstrap import bootstrap

    rng = keyed_rng(1, Purpose.BENCHMARK, 0, 0)
    label = (np.arange(N_SCORES) < N_LENSES).astype(int)
    logit = rng.normal(2.3 * label)
    fprs = np.array([1e-2, 1e-3, 1e-4])
    started, cpu = time.perf_counter(), time.process_time()
    bootstrap(logit, label, galaxy_id=np.arange(N_SCORES), fprs=fprs, max_fpr=0.1, resamples=RESAMPLES, rng=rng)
    rates = {
        f"bootstrap of {RESAMPLES:,} over {N_SCORES:,} scores, wall clock": [time.perf_counter() - started],
        "the same, processor time": [time.process_time() - cpu],
    }
    return rows_from(rates, part="evaluation", unit="s")


def _scoring() -> Rows:
    from dhs.evaluate.held_out import HeldOutItems
    from dhs.evaluate.scored_set import score_items
    from dhs.inject.build import build_injector
    from dhs.train.finder import SingleFinder
    from dhs.train.module import LensFinder

    overrides = ["model=convnext_tiny", "max_galaxies=512", "inject.n_test_positives=256"]
    config = compose_job("train", overrides, schema=TrainConfig)
    injector = build_injector(config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    finder = SingleFinder(LensFinder(config), tta=False, device=device)
    items = _Ready(HeldOutItems(injector, Purpose.TEST))
    batch = finder.maker(items.cutouts)(items.stamps(np.arange(BATCH)))
    image, metadata = batch["image"].to(device), batch["metadata"].to(device)

    @torch.inference_mode()
    def forward() -> int:
        for _ in range(N_STAMPS // BATCH):
            finder.module(image, metadata).cpu()
        return N_STAMPS

    def scored() -> int:
        with tempfile.TemporaryDirectory() as folder:
            score_items(
                finder, items, path=Path(folder) / "s.parquet", batch_size=BATCH, num_workers=0, identity="", label="-"
            )
        return N_STAMPS

    names = {"convnext_tiny, forward pass alone": forward, "convnext_tiny, score_items of ready stamps": scored}
    alone = next(iter(names))
    return rows_from(interleaved(names, rounds=5), part="evaluation", unit="stamps/s", against=alone)


class _Ready:
    """Items whose stamps are there before they are asked for."""

    identity = "ready"

    def __init__(self, items) -> None:  # type: ignore[no-untyped-def]
        self._items, self.cutouts = items, items.cutouts
        self._stamps = items.stamps(np.arange(N_STAMPS))

    def __len__(self) -> int:
        return N_STAMPS

    def stamps(self, indices: np.ndarray):  # type: ignore[no-untyped-def]
        return self._stamps.take(indices)

    def columns(self, stamps, indices: np.ndarray):  # type: ignore[no-untyped-def]
        return self._items.columns(stamps, indices)
