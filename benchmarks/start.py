"""From `python train.py` to the end of the first step, with a bank of 20,000 sources resident: as a user starts it.

The run's own figure (`first_step_s` of status.json) is taken: it counts from the birth of the process, imports
included. The mock sky is drawn before, the quickstart network on one thread, one worker; a step of it takes 0.1 s.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bank_load import N_SOURCES, _drop_pages, large_bank
from benchmarks.measure import Rows, rows_from
from benchmarks.parts import quickstart
from dhs.config.source import CosmosSource
from dhs.ranks import PROGRAM
from dhs.source.bank import open_bank
from dhs.source.cosmos import build_cosmos_bank

ROUNDS = 3


def start() -> Rows:
    """Nothing where the example catalogue is absent."""
    try:
        source = quickstart("experiment=real_example").source
    except ValueError as error:
        print(f"  skipped: {error}")
        return []
    assert isinstance(source, CosmosSource)
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        example = source.model_copy(update={"bank": Path(folder) / "example.h5"})
        build_cosmos_bank(example)
        bank = Path(folder) / "large.h5"
        large_bank(open_bank(example), path=bank, n_sources=N_SOURCES)
        shared = [f"paths.cache_dir={folder}/cache", "evaluate.enabled=false", "trainer.max_epochs=1"]
        shared += ["inject.samples_per_epoch=64", "inject.n_val_positives=1"]
        with_bank = ["source=cosmos", f"source.bank={bank}", "source.storage=resident"]
        first_step_s([*shared, f"run_dir={folder}/sky"])
        for number in range(ROUNDS):
            for name, overrides in {
                f"{N_SOURCES} sources resident": with_bank,
                "no bank (clumpy sources)": [],
            }.items():
                _drop_pages(bank)
                taken = first_step_s([*shared, *overrides, f"run_dir={folder}/{number}-{len(overrides)}"])
                seconds.setdefault(name, []).append(taken)
    return rows_from(seconds, part="start", unit="s to the first step done")


def first_step_s(overrides: list[str]) -> float:
    """Start a run of one step and read its own account."""
    subprocess.run([sys.executable, str(PROGRAM), *overrides], check=True, capture_output=True)
    (run_dir,) = [override.removeprefix("run_dir=") for override in overrides if override.startswith("run_dir=")]
    return float(json.loads((Path(run_dir) / "status.json").read_text())["first_step_s"])
