"""Loading a bank of 20,000 sources for training, each time in a fresh process, and what 8 workers hold of it.

The bank is the COSMOS example's galaxies, turned and mirrored and repeated: real templates, as compressible as a real
bank's. Before a cold load the bank's pages are dropped from the page cache.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Rows, rows_from
from benchmarks.shared_pages import mapping_at, place_of, workers_on
from dhs.config.source import CosmosSource
from dhs.source.bank import BankSource, open_bank, write_bank

N_SOURCES = 20_000
N_WORKERS = 8
ROUNDS = 3


def large_bank(example: BankSource, *, path: Path, n_sources: int) -> None:
    """Write ``n_sources`` templates made of those of ``example``, their columns with them."""
    images = example.stack().images[:, 0].numpy()
    turned = np.concatenate([np.rot90(view, k, (1, 2)) for view in (images, images[:, :, ::-1]) for k in range(4)])
    rows = np.arange(n_sources) % len(turned)
    meta = {key: column[rows % len(images)] for key, column in example.meta.items()}
    attributes = {"src_pixscale_arcsec": example.pixel_scale_arcsec, "stamp_size": example.stamp_size_px}
    write_bank(path, images=turned[rows], meta=meta, attributes=attributes)


def measured_loads(config: CosmosSource, *, cache_dir: Path) -> dict[str, list[float]]:
    """Seconds from the call to the checked source, a fresh process each."""
    names = ("resident", "mapped, first time", "mapped, later")
    clocks = ("wall clock", "all cores' processor time")
    seconds: dict[str, list[float]] = {f"{name}, {clock}": [] for name in names for clock in clocks}
    for number in range(ROUNDS):
        cache = cache_dir / str(number)
        for name, storage in zip(names, ("resident", "mapped", "mapped"), strict=True):
            _drop_pages(config.bank)
            asked = config.model_copy(update={"storage": storage})
            job = json.dumps({"config": asked.model_dump(mode="json"), "cache": str(cache)})
            command = [sys.executable, "-m", "benchmarks.bank_load", job]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            for clock, value in zip(clocks, answer, strict=True):
                seconds[f"{name}, {clock}"].append(float(value))
    return seconds


def copies(config: CosmosSource, *, cache_dir: Path) -> dict[str, float]:
    """Memory of the pixels in this process and N_WORKERS workers that read them all, over one copy's size."""
    found = {}
    for method, storage in (("fork", "resident"), ("fork", "mapped"), ("spawn", "resident")):
        bank = open_bank(config.model_copy(update={"storage": storage}), cache_dir=cache_dir)
        with workers_on(bank, n_workers=N_WORKERS, method=method) as workers:
            shares = [mapping_at(pid, address)[1]["Pss"] for pid, _, address in [place_of(bank), *workers]]
        found[f"{storage}, {N_WORKERS} workers by {method}"] = sum(shares) / bank.stack().images.nbytes
    return found


def bank_load() -> Rows:
    """Nothing where the example catalogue is absent."""
    from benchmarks.parts import quickstart
    from dhs.source.cosmos import build_cosmos_bank

    try:
        source = quickstart("experiment=real_example").source
    except ValueError as error:
        print(f"  skipped: {error}")
        return []
    assert isinstance(source, CosmosSource)
    with tempfile.TemporaryDirectory() as folder:
        example = source.model_copy(update={"bank": Path(folder) / "example.h5"})
        build_cosmos_bank(example)
        config = source.model_copy(update={"bank": Path(folder) / "large.h5"})
        large_bank(open_bank(example), path=config.bank, n_sources=N_SOURCES)
        seconds = measured_loads(config, cache_dir=Path(folder) / "cache")
        memory = copies(config, cache_dir=Path(folder) / "cache")
    rows = rows_from(seconds, part="bank_load", unit=f"s for {N_SOURCES} sources")
    return rows + rows_from({k: [v] for k, v in memory.items()}, part="bank_load", unit="copies in memory")


def _drop_pages(path: Path) -> None:
    """Have the page cache forget a file, where the system can."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _load_once(job: str) -> tuple[float, float]:
    """Wall-clock and processor seconds of one load."""
    described = json.loads(job)
    config = CosmosSource.model_validate(described["config"])
    started, worked = time.perf_counter(), time.process_time()
    open_bank(config, cache_dir=Path(described["cache"]))
    return time.perf_counter() - started, time.process_time() - worked


if __name__ == "__main__":
    print(*_load_once(sys.argv[1]))
