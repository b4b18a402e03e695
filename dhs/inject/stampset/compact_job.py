"""`task=compact`: a stamp set rewritten as few files, shuffled within each split, verified row for row.

    <out>/job.json                 what decides the bytes; a rerun must be the same job
    <out>/split=.../, _index/, _ledger/    see dhs.inject.stampset.compact_files
    <out>/index.parquet            of all rows: task_id -> file, row, offset in the tar, checksum
    <out>/_SUCCESS.json            written last: totals
    <out>/_scratch/                sorted runs of the shuffle, removed at the end

Killed at any point, the same command goes on: complete runs and files stay, and the bytes are those of a job that was
never stopped.
"""

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.config.compact import MIB, CompactTask
from dhs.constants import SPLITS
from dhs.inject.stampset.claim import StillOurs, claimed
from dhs.inject.stampset.compact_files import INDEX_SCHEMA, Target, finished_entry, index_name, write_file
from dhs.inject.stampset.compact_plan import OutputFile, Plan, make_plan, rows_per_file
from dhs.inject.stampset.compact_runs import Rows, RunJob, RunStore, input_rows, make_runs, run_jobs
from dhs.inject.stampset.faults import faults_as_lines
from dhs.inject.stampset.pixels import PIXEL_COLUMNS, pixel_bytes
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.read import JOB, METADATA_KEY, SUCCESS, StampSet, open_stamp_set
from dhs.inject.stampset.tar_layout import StampLayout
from dhs.processes import follow_parent, n_cores

log = logging.getLogger("dhs")

COMPACT_VERSION = 1
CLAIM_EXPIRES_S = 120.0
"""Of the claim on an output in a bucket (`dhs.inject.stampset.claim`)."""
DISK_MARGIN = 1.02
"""Of the bytes that a job is known to need."""

Progress = Callable[[str, int, int], None]
"""What is done ("reading", "writing"), rows done, rows in all."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Summary:
    """What became of the rows."""

    n_files: int
    rows: dict[str, tuple[int, int]]
    """Rows and stamps of each split."""
    failed: Counter[str]
    n_dropped: int
    n_bytes: int

    def __str__(self) -> str:
        n_rows = sum(rows for rows, _ in self.rows.values())
        splits = ", ".join(f"{split} {rows}" for split, (rows, _) in self.rows.items())
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.failed.most_common()) or "none"
        fate = "dropped" if self.n_dropped else "kept"
        return (
            f"{n_rows} rows in {self.n_files} files, {self.n_bytes / MIB:.0f} MiB ({splits}); "
            f"rows without a stamp, {fate}: {reasons}"
        )


class _Job(NamedTuple):
    """All that a worker process needs."""

    stamps: StampSet
    plan: Plan
    store: RunStore
    target: Target
    jobs: list[RunJob]


def compact(task: CompactTask, *, seed: int, cache_dir: Path, progress: Progress) -> Summary:
    """Make, or finish, the set ``task.output``. ValueError, one line, where it cannot be done."""
    stamps = open_stamp_set(task.input, key="task.input")
    place = Place(task.output)
    with (
        faults_as_lines(f"task.output = {task.output}"),
        claimed(place, key="task.output", expires_s=CLAIM_EXPIRES_S) as still_ours,
    ):
        _require_same_job(place, stamps, task, seed=seed)
        plan = make_plan(stamps, task, seed=seed)
        entries = _finished(place, plan, verify=task.verify)
        pending = [file for file in plan.files if file.number not in entries]
        if not pending and place.exists(SUCCESS):
            log.info("%s is finished already: %d files", task.output, len(plan.files))
        else:
            place.remove(SUCCESS)
            scratch = _scratch(place, task, stamps, cache_dir=cache_dir)
            entries |= _make(
                task,
                stamps,
                plan,
                pending,
                place=place,
                scratch=scratch,
                progress=_while_ours(progress, still_ours),
                seed=seed,
            )
            _finish(place, plan, entries, stamps, task, scratch=scratch)
    return _summary(plan, entries)


def _while_ours(progress: Progress, still_ours: StillOurs) -> Progress:
    """``progress`` that stops the job when another has taken its output over."""

    def told(what: str, done: int, total: int) -> None:
        still_ours()
        progress(what, done, total)

    return told


def _make(
    task: CompactTask,
    stamps: StampSet,
    plan: Plan,
    pending: list[OutputFile],
    *,
    place: Place,
    scratch: Path,
    progress: Progress,
    seed: int,
) -> dict[int, dict[str, Any]]:
    """Write the files ``pending``; their ledger entries."""
    scratch.mkdir(parents=True, exist_ok=True)
    _require_disk(task, stamps, plan, pending, place=place, scratch=scratch)
    schema = _output_schema(stamps, task, seed=seed)
    edges = np.array([file.first for file in plan.files] + [plan.n_kept])
    columns = pa.schema([field for field in schema if field.name not in PIXEL_COLUMNS])
    store = RunStore(scratch, edges, stamps.size_px, columns)
    jobs = run_jobs(plan, run_rows=store.run_rows)
    job = _Job(stamps, plan, store, Target(place, task, schema.serialize().to_pybytes(), stamps.size_px), jobs)
    n_processes = task.num_processes or n_cores()
    if task.shuffle:
        done = 0
        progress("reading", 0, len(plan.position))  # its clock starts here
        for n_rows in _each(_make_runs, range(len(jobs)), job, n_processes=n_processes):
            done += n_rows
            progress("reading", done, len(plan.position))
    entries, done, total = {}, 0, sum(file.n_rows for file in pending)
    progress("writing", 0, total)
    for number, entry in _each(_write_file, [file.number for file in pending], job, n_processes=n_processes):
        entries[number] = entry
        done += entry["n_rows"]
        progress("writing", done, total)
    return entries


_worker: _Job | None = None
"""The job of this worker process."""


def _begin(job: _Job | None) -> None:
    global _worker
    _worker = job


def _begin_process(job: _Job, parent: int) -> None:
    follow_parent(parent)
    _begin(job)
    pa.set_cpu_count(1)  # the processes share the cores


def _make_runs(number: int) -> int:
    assert _worker is not None
    return make_runs(_worker.stamps, _worker.plan, _worker.jobs[number], _worker.store)


def _write_file(number: int) -> tuple[int, dict[str, Any]]:
    assert _worker is not None
    file = _worker.plan.files[number]
    return number, write_file(_worker.target, file, _pieces(_worker, file), scratch=_worker.store.folder)


def _pieces(job: _Job, file: OutputFile) -> Iterator[Rows]:
    """The rows of ``file``: from the runs, or in the input's own order straight from the input."""
    plan, store = job.plan, job.store
    if job.target.task.shuffle:
        for run in store.runs(len(job.jobs)):
            piece = store.piece(run, file.number)
            if piece is not None:
                yield piece
        return
    rows = np.flatnonzero((plan.position >= file.first) & (plan.position < file.stop))
    first, last = np.searchsorted(plan.first_row, [rows[0], rows[-1]], side="right") - 1
    yield from input_rows(
        job.stamps, plan, range(int(first), int(last) + 1), scratch=store.folder,
        batch_rows=max(1, store.run_rows // 4), first=file.first, stop=file.stop,
    )  # fmt: skip


def _each(work: Callable[[int], Result], numbers: Sequence[int], job: _Job, *, n_processes: int) -> Iterator[Result]:
    """``work`` of every number, in worker processes where there are several."""
    if min(n_processes, len(numbers)) <= 1:
        _begin(job)
        try:
            yield from map(work, numbers)
        finally:
            _begin(None)
        return
    # spawn: a fork of a process with Arrow threads may hang.
    with ProcessPoolExecutor(
        min(n_processes, len(numbers)),
        mp_context=get_context("spawn"),
        initializer=_begin_process,
        initargs=(job, os.getpid()),
    ) as pool:
        waiting: set[Future[Result]] = set()
        try:
            for number in numbers:
                waiting.add(pool.submit(work, number))
                if len(waiting) >= 2 * n_processes:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ready)
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        except BrokenProcessPool:
            raise ValueError(
                "a worker process died (killed, or out of memory); finished files are kept: run the same command "
                "again, with a smaller task.num_processes or task.mib_per_file"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def decides(stamps: StampSet, task: CompactTask, *, seed: int) -> dict[str, Any]:
    """What decides every byte of the output."""
    keys = {"format", "shuffle", "failed_rows", "compression", "compression_level", "row_group_rows"}
    return {
        "kind": "compact",
        "version": COMPACT_VERSION,
        "source_checksum": stamps.checksum,
        "seed": seed if task.shuffle else None,
        "rows_per_file": rows_per_file(task, size_px=stamps.size_px),
        **task.model_dump(mode="json", include=keys),
    }


def _output_schema(stamps: StampSet, task: CompactTask, *, seed: int) -> pa.Schema:
    metadata = dict(stamps.schema.metadata or {})
    own = json.loads(metadata[METADATA_KEY]) | {"compact": decides(stamps, task, seed=seed)}
    return stamps.schema.with_metadata(metadata | {METADATA_KEY: json.dumps(own, sort_keys=True).encode()})


def _require_same_job(place: Place, stamps: StampSet, task: CompactTask, *, seed: int) -> None:
    wanted = decides(stamps, task, seed=seed)
    if place.exists(JOB):
        known = place.read_json(JOB)
        differs = sorted(key for key in {*known, *wanted} if known.get(key) != wanted.get(key))
        if differs:
            raise ValueError(
                f"task.output = {task.output}: holds the set of another job (other {', '.join(differs)}); choose "
                "another folder"
            )
    else:
        place.write_json(JOB, wanted)


def _finished(place: Place, plan: Plan, *, verify: bool) -> dict[int, dict[str, Any]]:
    entries = {}
    for file in plan.files:
        found = finished_entry(place, file, verify=verify)
        if isinstance(found, str):
            log.warning("%s is damaged (%s): making it again", place.show(file.stem), found)
        elif found is not None:
            entries[file.number] = found
    if entries:
        log.info("%d of %d files are finished", len(entries), len(plan.files))
    return entries


def _scratch(place: Place, task: CompactTask, stamps: StampSet, *, cache_dir: Path) -> Path:
    if task.scratch is not None:
        return task.scratch / f"compact-{stamps.checksum[:16]}"
    return cache_dir / f"compact-{stamps.checksum[:16]}" if place.local is None else place.local / "_scratch"


def _require_disk(
    task: CompactTask, stamps: StampSet, plan: Plan, pending: list[OutputFile], *, place: Place, scratch: Path
) -> None:
    """Say how much disk the job takes; ValueError where there is less."""
    n_pending = sum(file.n_rows for file in pending)
    a_row = pixel_bytes(stamps.size_px)
    if task.format == "webdataset":
        a_row = StampLayout(stamps.size_px).record_bytes
    output = int(n_pending * a_row * DISK_MARGIN)
    runs = int(plan.n_kept * pixel_bytes(stamps.size_px) * DISK_MARGIN) if task.shuffle else 0
    runs -= sum(path.stat().st_size for path in scratch.glob("run-*")) if task.shuffle else 0
    log.info(
        "%d rows to write: at most %.1f GiB in %s%s",
        n_pending,
        output / 2**30,
        task.output,
        f", and {max(runs, 0) / 2**30:.1f} GiB for the shuffle in {scratch} until it is done" if task.shuffle else "",
    )
    wanted: Counter[int] = Counter({scratch.stat().st_dev: max(runs, 0)})
    where = {scratch.stat().st_dev: scratch}
    if place.local is not None:
        wanted[place.local.stat().st_dev] += output
        where[place.local.stat().st_dev] = place.local
    for device, n_bytes in wanted.items():
        free = shutil.disk_usage(where[device]).free
        if free < n_bytes:
            raise ValueError(
                f"{where[device]}: {free / 2**30:.1f} GiB free, the job takes up to {n_bytes / 2**30:.1f}; free some, "
                "or give another task.output or task.scratch"
            )


def _finish(
    place: Place, plan: Plan, entries: dict[int, dict[str, Any]], stamps: StampSet, task: CompactTask, *, scratch: Path
) -> None:
    """The index of all rows, the totals, and the scratch folder away."""
    with place.writing("index.parquet") as raw, pq.ParquetWriter(raw, INDEX_SCHEMA, compression="zstd") as writer:
        for file in plan.files:
            with place.opened(index_name(file)) as part:
                writer.write_table(pq.read_table(part, schema=INDEX_SCHEMA))
    summary = _summary(plan, entries)
    place.write_json(
        SUCCESS,
        {
            "schema_version": COMPACT_VERSION,
            "n_parts": summary.n_files,
            "n_rows": sum(rows for rows, _ in summary.rows.values()),
            "n_ok": sum(ok for _, ok in summary.rows.values()),
            "failures": dict(sorted(summary.failed.items())),
            "n_dropped": summary.n_dropped,
            "n_bytes": summary.n_bytes,
            "splits": {
                split: {
                    "n_parts": sum(file.split == split for file in plan.files),
                    "n_rows": rows,
                    "n_ok": ok,
                }
                for split, (rows, ok) in summary.rows.items()
            },
            "source_checksum": stamps.checksum,
            "verified": task.verify,
        },
    )
    shutil.rmtree(scratch, ignore_errors=True)


def _summary(plan: Plan, entries: dict[int, dict[str, Any]]) -> Summary:
    rows = {}
    for split in SPLITS:
        own = [entry for entry in entries.values() if entry["split"] == split]
        if own:
            rows[split] = (sum(entry["n_rows"] for entry in own), sum(entry["n_ok"] for entry in own))
    n_bytes = sum(entry["n_bytes"] + (entry.get("tar") or {}).get("n_bytes", 0) for entry in entries.values())
    return Summary(len(entries), rows, plan.failed, len(plan.position) - plan.n_kept, n_bytes)
