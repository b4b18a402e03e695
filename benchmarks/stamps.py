"""`task=stamps`: stamps a second of one core from manifest to compressed Parquet on disk, and where the time goes.

    make bench ARGS="stamps stamps_memory"
    python -m benchmarks.stamps 10000 100000 1000000 [--size 64] [--folder DIR]

The second form is the memory figure at any size: peak resident memory of the largest process against rows. A million
stamps of 64 px take 42 GB in DIR while it runs, of 32 px (--size 32) 11 GB; sets are removed when they are measured.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.measure import Rows, rows_from
from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.manifest.run import make_manifest
from dhs.inject.stampset.context import RenderContext, StampJob
from dhs.inject.stampset.local import make_part
from dhs.inject.stampset.manifest_file import ManifestFile, recipes_of
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.plan import plan_parts
from dhs.inject.stampset.render import render_groups, render_part
from dhs.inject.stampset.write import write_part
from dhs.sky.cutout_quality import faults

N_GALAXIES = 1024
PART_ROWS = 1024
ROUNDS = 5
BATCH = 128
CACHE = Path("cache")


def stamps() -> Rows:
    """One process, one thread: whole parts by processor and by wall time, then each stage by processor time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_manifest(Path(folder), n_rows=4 * PART_ROWS)
            return _whole_and_stages(manifest, Path(folder))
    finally:
        torch.set_num_threads(threads)


def write_manifest(folder: Path, *, n_rows: int, size_px: int = 64) -> Path:
    """At least ``n_rows`` rows of design prior: about half of them controls, as in a training set."""
    path = folder / f"manifest-{n_rows}.parquet"
    replicates = 1
    while True:
        config = compose_job(
            "inject",
            [
                *_sky(size_px),
                "task=manifest",
                "task/design=prior",
                f"task.design.replicates={replicates}",
                f"task.controls.rows_per_galaxy={replicates}",
                f"task.output={path}",
                "task.overwrite=true",
            ],
            schema=InjectRoot,
        )
        summary = make_manifest(config, config.task, sky_progress=_silent, progress=_silent)  # type: ignore[arg-type]
        if summary["rows"] >= n_rows:
            return path
        replicates = -(-n_rows * replicates // summary["rows"])  # one replicate told how many rows it has


def _sky(size_px: int) -> list[str]:
    return [f"max_galaxies={N_GALAXIES}", f"sky.stamp_size_px={size_px}", f"paths.cache_dir={CACHE}"]


def _silent(done: int, total: int) -> None:
    """No progress."""


def _whole_and_stages(manifest: Path, folder: Path) -> Rows:
    overrides = [*_sky(64), "task=stamps", f"task.manifest={manifest}", f"task.output={folder / 'set'}"]
    config = compose_job("inject", [*overrides, f"task.rows_per_part={PART_ROWS}"], schema=InjectRoot)
    context = RenderContext(StampJob(config, config.task, ManifestFile(str(manifest)).sha256()))  # type: ignore[arg-type]
    # A part of all kinds of rows: the manifest has its injections first and its controls last.
    rows = context.manifest.rows(0, context.manifest.n_rows)
    mixed = np.random.default_rng(1).permutation(rows.num_rows)[:PART_ROWS]
    context.manifest = _InMemory(rows.take(pa.array(np.sort(mixed))))  # type: ignore[assignment]
    part = plan_parts(ManifestFile(str(manifest)), rows_per_part=PART_ROWS)[0]
    wall: dict[str, list[float]] = {"stamps a second of one core (wall time)": []}
    cpu: dict[str, list[float]] = {"stamps a second of one core (processor time)": []}
    make_part(part, context)
    for _ in range(ROUNDS):
        started, cpu_started = time.perf_counter(), time.process_time()
        make_part(part, context)
        cpu["stamps a second of one core (processor time)"].append(PART_ROWS / (time.process_time() - cpu_started))
        wall["stamps a second of one core (wall time)"].append(PART_ROWS / (time.perf_counter() - started))
    out = rows_from(cpu | wall, part="stamps", unit="stamps/s")
    return out + rows_from(_stages(context, part), part="stamps", unit="us/stamp")


class _InMemory:
    """Manifest rows at hand."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()

    def rows(self, first: int, n: int) -> pa.Table:
        return self._table.slice(first, n)


def _stages(context: RenderContext, part: Any) -> dict[str, list[float]]:
    """Processor microseconds a stamp of each stage; each later one of the render rows holds those before it."""
    painter, cutouts = context.painter, context.painter.cutouts
    recipes = recipes_of(context.manifest.rows(0, PART_ROWS), context.targets)
    batches = [recipes.take(slice(first, first + BATCH)) for first in range(0, PART_ROWS, BATCH)]

    def judge() -> None:
        for batch in batches:
            pixels = (np.asarray(a[batch.row]) for a in (cutouts.images, cutouts.invvar, cutouts.maskbits))
            faults(*pixels, quality=context.task.quality)

    def paint(*, measure: bool) -> None:
        for batch in batches:
            painter.stamps(batch, measure=measure)

    table = render_part(part, context)
    groups = [table.slice(first, 512) for first in range(0, PART_ROWS, 512)]
    work: dict[str, Callable[[], Any]] = {
        "judge the cutouts": judge,
        "render, without measures": lambda: paint(measure=False),
        "render and measure": lambda: paint(measure=True),
        "render, measure, to Arrow": lambda: list(render_groups(part, context)),
        "encode, compress, hash, write": lambda: write_part(
            part, groups, place=Place(context.task.output), schema=context.schema, task=context.task
        ),
    }
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, function in work.items():
            started = time.process_time()
            function()
            found[name].append((time.process_time() - started) / PART_ROWS * 1e6)
    return found


def stamps_memory() -> Rows:
    """Peak resident memory of one process against rows, at a size that ends within a minute or two."""
    with tempfile.TemporaryDirectory() as folder:
        return memory_against_rows((2_000, 10_000), size_px=64, folder=Path(folder))


def memory_against_rows(n_rows: tuple[int, ...], *, size_px: int, folder: Path) -> Rows:
    """Runs the program itself, one worker process beside it, once for each number of rows."""
    rows: Rows = []
    for n in n_rows:
        manifest = write_manifest(folder, n_rows=n, size_px=size_px)
        output = folder / f"set-{n}"
        command = [sys.executable, "inject.py", *_sky(size_px), "task=stamps", f"task.manifest={manifest}"]
        started = time.perf_counter()
        peak_mb = _peak_mb([*command, f"task.output={output}", "engine.num_processes=2"])
        seconds = time.perf_counter() - started
        made = ManifestFile(str(manifest)).n_rows
        print(f"  {made} rows: {peak_mb:.0f} MB in the largest process, {seconds:.0f} s", flush=True)
        what = f"peak memory of the largest process, {made} rows of {size_px} px"
        rows += rows_from({what: [peak_mb]}, part="stamps_memory", unit="MB")
        subprocess.run(["rm", "-r", str(output)], check=True)
        manifest.unlink()
    return rows


def _peak_mb(command: list[str]) -> float:
    """Largest VmHWM, in MB, of the command and its children; RuntimeError where it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak_kb = 0
    while process.poll() is None:
        peak_kb = max([peak_kb, *(_high_water_kb(pid) for pid in _family(process.pid))])
        time.sleep(0.2)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with exit code {process.returncode}")
    return peak_kb * 1024 / 1e6


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return [pid]
    return [pid, *(other for child in children for other in _family(int(child)))]


def _high_water_kb(pid: int) -> int:
    """VmHWM of a Linux process; 0 where there is none any more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--size", type=int, default=64, help="stamp size in pixels")
    parser.add_argument("--folder", type=Path, default=None, help="where the sets are written")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        memory_against_rows(tuple(asked.rows), size_px=asked.size, folder=Path(scratch))
