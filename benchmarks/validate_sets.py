"""Rows a second of one core that `task=validate` looks at: columns alone, and pixels of every form they lie in.

The set is that of the tests (real arcs on mock galaxies), repeated with fresh noise: it compresses as noise does.
Rates are of processor time in one process (files in the page cache), so that other programs do not count.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Rows, rows_from
from dhs.config.cli import compose_job
from dhs.config.compact import CompactTask
from dhs.config.root import InjectRoot, TrainConfig
from dhs.config.validate import ValidateTask
from dhs.inject.stampset.compact_job import compact
from dhs.inject.validate.run import validate_set
from tests.inject.validate.sets import StampRows, make_rows, write_gen5, write_stamps

N_ROWS = 8192
ROUNDS = 3
SIGMA_NMGY = np.array([0.002, 0.004, 0.01], np.float32).reshape(3, 1, 1)


def validate() -> Rows:
    """Parts with zstd and without compression, tar shards, Gen5 blobs; pixels of all rows, and of none."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _many(make_rows(compose_job("train", ["debug=fast", "max_galaxies=256"], schema=TrainConfig)))
        sets = {
            "Parquet, zstd": write_stamps(rows, folder / "zstd", rows_per_part=1024),
            "Parquet, not compressed": write_stamps(rows, folder / "plain", rows_per_part=1024, compression="none"),
            "tar shards": _shards(folder / "zstd", folder / "shards", scratch=folder),
            "Gen5, gzip": write_gen5(rows.take(np.arange(N_ROWS // 4)), folder / "gen5"),
        }
        rates: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for form, path in sets.items():
                for what, overrides in (
                    ("pixels of all rows", ("task.pixel_rows=null", "task.checksums=none")),
                    ("pixels of all rows, checksums", ("task.pixel_rows=null", "task.checksums=all")),
                    ("columns of all rows, pixels of none", ("task.pixel_rows=1", "task.checksums=none")),
                ):
                    rates.setdefault(f"{form}: {what}", []).append(_rate(path, *overrides))
    return rows_from(rates, part="validate, one core", unit="rows/s")


def _many(rows: StampRows) -> StampRows:
    """N_ROWS rows: galaxies again and again, each time with noise, an id and a place of its own."""
    index = np.arange(N_ROWS)
    many = rows.take(index % len(rows))
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(many.images.shape, np.float32) * SIGMA_NMGY
    return many.with_images(many.images + noise).with_columns(
        task_id=np.array([f"bench/{i}" for i in index]),
        target_id=index,
        ra_deg=rng.uniform(0, 360, N_ROWS),
        dec_deg=rng.uniform(-60, 30, N_ROWS),
    )


def _shards(parts: Path, target: Path, *, scratch: Path) -> Path:
    given = ["task=compact", f"task.input={parts}", f"task.output={target}", "task.format=webdataset"]
    task = compose_job("inject", [*given, "task.num_processes=1"], schema=InjectRoot).task
    assert isinstance(task, CompactTask)
    compact(task, seed=1, cache_dir=scratch, progress=lambda what, done, total: None)
    return target


def _rate(path: Path, *overrides: str) -> float:
    given = ["task=validate", f"task.input={path}", "task.num_processes=1", *overrides]
    task = compose_job("inject", given, schema=InjectRoot).task
    assert isinstance(task, ValidateTask)
    started = time.process_time()
    evidence, _ = validate_set(task)
    return evidence.n_rows / (time.process_time() - started)
