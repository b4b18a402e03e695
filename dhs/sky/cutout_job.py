"""The job `task=cutouts`: every target of a list into a store, resumable, in constant memory.

Targets are put in order (bricks: by brick and id; service: by id) and cut into shards, bricks whole, so which shard a
target is in depends on the list alone. A shard is finished when its index is written; an interrupted job (kill -9
included) loses the shards at work and nothing else, and its rerun writes the same bytes as one that never stopped.
Targets that cannot be had are counted by reason in the index and the ledger; they stop the job only where they are more
than `max_failed_fraction`.
"""

import csv
import hashlib
import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.config.cutouts import CutoutsTask
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.sky.brick_grid import brick_of_position
from dhs.sky.coadd_bricks import BrickReader, brick_exists, brick_file
from dhs.sky.cutout_service import ServiceClient
from dhs.sky.cutout_shard import Fetch, finished_reasons, make_shard, shard_record
from dhs.sky.fetched import NOT_OBTAINED
from dhs.sky.file_lock import file_lock
from dhs.sky.shards import SampleLayout
from dhs.sky.store_index import SCHEMA_VERSION, shard_path, write_json
from dhs.sky.target_list import has_position, read_target_list

_LOG = logging.getLogger(__name__)

MIN_TARGETS_TO_JUDGE = 100
"""Before so many targets are done the share of failures says nothing (unless the job is at its end)."""

N_BRICKS_PROBED = 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """What became of the targets."""

    n_targets: int
    reasons: Counter[str]

    @property
    def n_cutouts(self) -> int:
        return self.reasons[""]

    @property
    def n_failed(self) -> int:
        """Targets whose pixels could not be had."""
        return sum(n for reason, n in self.reasons.items() if reason in NOT_OBTAINED)

    def __str__(self) -> str:
        left_out = ", ".join(f"{n} {reason}" for reason, n in self.reasons.most_common() if reason)
        return f"{self.n_cutouts} of {self.n_targets} targets have a cutout; left out: {left_out or 'none'}"


def make_store(task: CutoutsTask, *, cache_dir: Path, progress: Progress) -> Summary:
    """Make, or finish, the store ``task.output``. ValueError, one line, where it cannot be done."""
    task.output.mkdir(parents=True, exist_ok=True)
    lock = file_lock(task.output / ".lock", held_elsewhere=f"task.output = {task.output}: another job is at work there")
    with lock:
        targets = read_target_list(task.targets, kind=task.kind, split=task.split)
        targets = targets.take(_order(targets, by_brick=task.source == "bricks")).combine_chunks()
        shards = plan_shards(targets, task)
        _require_same_job(task, targets)
        for leftover in task.output.glob(".*.tmp"):
            leftover.unlink()
        finished = _finished(task, len(shards))
        if task.source == "bricks" and not finished:
            _probe_bricks(task, targets)
        (task.output / "store.json").unlink(missing_ok=True)
        reasons: Counter[str] = sum(finished.values(), Counter())
        for counts in _make(task, targets, shards, set(finished), cache_dir=cache_dir, progress=progress):
            reasons += counts
            _require_few_failures(Summary(reasons.total(), reasons), task, last=reasons.total() == targets.num_rows)
        _require_few_failures(Summary(targets.num_rows, reasons), task, last=True)
        summary = Summary(targets.num_rows, reasons)
        _finish(task, summary, len(shards))
    return summary


def plan_shards(targets: pa.Table, task: CutoutsTask) -> list[slice]:
    """Rows of each shard: whole bricks until there are ``targets_per_shard``; of the service simply so many each."""
    n, cap = targets.num_rows, task.targets_per_shard
    if task.source == "service":
        return [slice(first, min(first + cap, n)) for first in range(0, n, cap)]
    bricks = _bricknames(targets)
    starts = [0, *(np.flatnonzero(bricks[1:] != bricks[:-1]) + 1).tolist()]
    edges = [0]
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        if start - edges[-1] >= cap or (start > edges[-1] and end - edges[-1] > 2 * cap):
            edges.append(start)
        while end - edges[-1] > 2 * cap:
            edges.append(edges[-1] + cap)
    return [slice(first, last) for first, last in zip(edges, [*edges[1:], n], strict=True) if last > first]


def rows_of(targets: pa.Table, rows: slice) -> pa.Table:
    """A shard's targets, copied: a slice of an Arrow table would take the whole table along into a worker."""
    return targets.take(np.arange(rows.start, rows.stop))


def _order(targets: pa.Table, *, by_brick: bool) -> np.ndarray:
    ids = targets["target_id"].to_numpy()
    if not by_brick:
        return np.argsort(ids, kind="stable")
    bricks = _bricknames(targets)
    return np.lexsort((ids, bricks, bricks == ""))  # those without a position last


def _make(
    task: CutoutsTask,
    targets: pa.Table,
    shards: list[slice],
    finished: set[int],
    *,
    cache_dir: Path,
    progress: Progress,
) -> Iterator[Counter[str]]:
    """Make every shard that is not finished; the reasons of each as it is done."""
    pending = [number for number in range(len(shards)) if number not in finished]
    total = sum(shards[number].stop - shards[number].start for number in pending)
    done = 0
    jobs = ((number, rows_of(targets, shards[number])) for number in pending)
    if task.source == "service":
        counter = _Counter(total, progress)
        client = ServiceClient(task.service, size_px=task.stamp_size_px, cache_dir=cache_dir / "cutout-service")
        for number, rows in jobs:
            yield make_shard(task, number, targets=rows, fetch=_service_fetch(client, counter))
        return
    n_processes = min(task.bricks.num_processes or len(os.sched_getaffinity(0)), len(pending))
    arguments = ((task, *job) for job in jobs)
    for counts in _in_pool(arguments, n_processes) if n_processes > 1 else map(_brick_shard, arguments):
        done += counts.total()
        progress(done, total)
        yield counts


def _in_pool(jobs: Iterator[tuple[CutoutsTask, int, pa.Table]], n_processes: int) -> Iterator[Counter[str]]:
    """Shards in worker processes, two waiting for each: constant memory however many there are."""
    # spawn: a fork of a process with OpenMP or Arrow threads may hang.
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        waiting: set[Future[Counter[str]]] = set()
        try:
            for job in jobs:
                waiting.add(pool.submit(_brick_shard, job))
                if len(waiting) >= 2 * n_processes:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ready)
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        except BrokenProcessPool:
            raise ValueError(
                "a worker process died (killed, or out of memory); finished shards are kept: run the same command "
                "again, with a smaller task.bricks.num_processes or task.targets_per_shard"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _brick_shard(job: tuple[CutoutsTask, int, pa.Table]) -> Counter[str]:
    task, number, targets = job
    assert task.bricks.root is not None
    reader = BrickReader(task.bricks.root, size_px=task.stamp_size_px)

    def fetch(rows: pa.Table) -> Any:
        return reader.fetch(*_positions(rows), brick=_bricknames(rows))

    return make_shard(task, number, targets=targets, fetch=fetch)


def _service_fetch(client: ServiceClient, counter: "_Counter") -> Fetch:
    def fetch(rows: pa.Table) -> Any:
        ra, dec = _positions(rows)
        return client.fetch(ra, dec, placed=has_position(ra, dec), done=counter)

    return fetch


class _Counter:
    """Counts targets, one a call, from the threads of all hosts."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._done += 1
            self._progress(self._done, self._total)


def _positions(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return rows["ra_deg"].to_numpy(), rows["dec_deg"].to_numpy()


def _bricknames(rows: pa.Table) -> np.ndarray:
    return np.asarray(rows["brickname"].to_pylist(), dtype=str)


def _finished(task: CutoutsTask, n_shards: int) -> dict[int, Counter[str]]:
    """Reasons of each shard that need not be made again."""
    finished = {}
    for number in range(n_shards):
        found = finished_reasons(task.output, number, verify=task.verify)
        if isinstance(found, str):
            _LOG.warning("%s is damaged (%s): making it again", shard_path(task.output, number, "tar"), found)
        elif found is not None and not (task.retry_failed and any(reason in NOT_OBTAINED for reason in found)):
            finished[number] = found
    if finished:
        _LOG.info("%d of %d shards are finished", len(finished), n_shards)
    return finished


def _require_same_job(task: CutoutsTask, targets: pa.Table) -> None:
    """The store belongs to one list and one configuration: ValueError names what differs."""
    digest = hashlib.sha256()
    for name in sorted(targets.column_names):
        digest.update(name.encode())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([(name, targets[name].type)])) as stream:
            stream.write_table(pa.table({name: targets[name]}))
        digest.update(sink.getvalue())
    decides: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "targets_sha256": digest.hexdigest(),
        **task.model_dump(mode="json", include={"source", "quality", "stamp_size_px", "targets_per_shard"}),
    }
    if task.source == "bricks":
        decides["bricks"] = {"root": task.bricks.root}
    else:
        decides["service"] = task.service.model_dump(mode="json", include={"layer", "invvar", "psf_fwhm_arcsec"})
    path = task.output / "job.json"
    if path.is_file():
        known = json.loads(path.read_text())
        differs = sorted(key for key in {*known, *decides} if known.get(key) != decides.get(key))
        if differs:
            raise ValueError(
                f"task.output = {task.output}: holds the store of another job (other {', '.join(differs)}); "
                "choose another folder"
            )
    write_json(path, decides)


def _probe_bricks(task: CutoutsTask, targets: pa.Table) -> None:
    """ValueError where not one of a few bricks exists: a wrong root, or RA in hours."""
    root = str(task.bricks.root)
    ra, dec = _positions(targets)
    names = _bricknames(targets)
    rows = np.flatnonzero(names != "")
    rows = rows[np.linspace(0, len(rows) - 1, min(N_BRICKS_PROBED, len(rows))).astype(int)] if len(rows) else rows
    if len(rows) == 0 or any(brick_exists(root, str(name)) for name in names[rows]):
        return
    if np.nanmax(ra) <= 24.0:
        by_hours = brick_of_position(15.0 * ra[rows], dec[rows])
        if any(brick_exists(root, str(name)) for name in by_hours):
            raise ValueError(
                f"{task.targets}: ra_deg up to {np.nanmax(ra):.4f} is in hours (15 times it lies in bricks of the "
                "root); allowed: degrees"
            )
    raise ValueError(
        f"task.bricks.root = {root}: none of {len(rows)} bricks looked for exists, for example "
        f"{brick_file(root, str(names[rows[0]]), 'image-r')}; give the folder above the three-digit ones"
    )


def _require_few_failures(summary: Summary, task: CutoutsTask, *, last: bool) -> None:
    done = summary.reasons.total()
    if (last or done >= MIN_TARGETS_TO_JUDGE) and summary.n_failed > task.max_failed_fraction * done:
        common = ", ".join(f"{n} {reason}" for reason, n in summary.reasons.most_common() if reason in NOT_OBTAINED)
        raise ValueError(
            f"{summary.n_failed} of {done} targets could not be had ({common}), more than task.max_failed_fraction = "
            f"{task.max_failed_fraction:g}; finished shards are kept, {task.output}/shard-*.parquet say why for each; "
            "mend it and run again with task.retry_failed=true, or raise the limit"
        )


def _finish(task: CutoutsTask, summary: Summary, n_shards: int) -> None:
    """One index of all shards, the ledger, and the card that says the store is complete."""
    first = pq.read_schema(shard_path(task.output, 0, "parquet")).remove_metadata()
    temporary = task.output / f".index.parquet.{os.getpid()}.tmp"
    ledger = task.output / f".ledger.csv.{os.getpid()}.tmp"
    columns = ["target_id", "ra_deg", "dec_deg", "brickname", "reason", "detail"]
    with pq.ParquetWriter(temporary, first) as writer, ledger.open("w", newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(columns)
        for number in range(n_shards):
            table = pq.read_table(shard_path(task.output, number, "parquet")).replace_schema_metadata(None)
            writer.write_table(table)
            left_out = table.filter(pa.compute.invert(table["cutout_ok"])).select(columns)
            rows.writerows(row.values() for row in left_out.to_pylist())
    temporary.replace(task.output / "index.parquet")
    ledger.replace(task.output / "ledger.csv")
    records = [shard_record(task.output, number) for number in range(n_shards)]
    write_json(
        task.output / "store.json",
        {
            "schema_version": SCHEMA_VERSION,
            "stamp_size_px": task.stamp_size_px,
            "record_bytes": SampleLayout(task.stamp_size_px).record_bytes,
            "bands": "".join(BANDS),
            "unit": "nanomaggy",
            "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
            "n_targets": summary.n_targets,
            "n_cutouts": summary.n_cutouts,
            "left_out": {reason: n for reason, n in sorted(summary.reasons.items()) if reason},
            "shards": records,
        },
    )
