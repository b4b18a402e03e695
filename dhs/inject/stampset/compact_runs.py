"""First pass of a shuffle: the input, read once in order, as sorted runs on a local disk.

A run holds a few thousand rows that follow one another in the input, sorted by their place in the output, so what an
output file takes from a run is one piece of it. Reading a file's pieces from all runs (`dhs.inject.stampset.
compact_files`) is the second pass: a true shuffle of any size in the memory of one run or one file.

    run-000012-0.pixels   image and mask of each row, raw
    run-000012-0.columns  the other columns: an Arrow message for each output file
    run-000012-0.npz      where each file's piece begins, in rows and bytes; places and checksums of the rows
    job-000012.json       written last: the runs made of this group of parts are complete

With every row go its input's checksums, taken before anything is moved.
"""

import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dhs.inject.stampset.checksum import column_checksums, pixel_checksums
from dhs.inject.stampset.compact_plan import DROPPED, Plan
from dhs.inject.stampset.pixels import PIXEL_COLUMNS, StampPixels, n_bad_bytes, n_values, pixel_bytes, pixels_of
from dhs.inject.stampset.read import StampSet
from dhs.sky.store_index import write_json

RUN_BYTES = 200 * 2**20
"""Pixels of a run at most (4,137 stamps of 64 px): they are three times in memory while they are sorted."""
BATCHES_A_RUN = 4


class Rows(NamedTuple):
    """Some rows on their way from the input to the output."""

    position: np.ndarray
    """(n,) int64 place in the output."""
    columns: pa.Table
    """All but the pixels."""
    pixels: StampPixels
    pixel_crc: np.ndarray
    """(n,) int64 of the input's pixels, -1 without."""
    column_crc: np.ndarray
    """(n,) int64 of the input's columns."""

    def take(self, rows: np.ndarray) -> "Rows":
        return Rows(
            self.position[rows],
            self.columns.take(pa.array(rows)),
            self.pixels.take(rows),
            self.pixel_crc[rows],
            self.column_crc[rows],
        )


@dataclass(frozen=True)
class RunStore:
    """The runs of one job in the folder ``folder``."""

    folder: Path
    edges: np.ndarray
    """(n_files + 1,) place at which each output file begins."""
    size_px: int
    schema: pa.Schema
    """Of the columns, pixels left out."""

    @property
    def run_rows(self) -> int:
        """Rows of a run at most."""
        return max(BATCHES_A_RUN, RUN_BYTES // pixel_bytes(self.size_px))

    def path(self, run: str, suffix: str) -> Path:
        return self.folder / f"run-{run}.{suffix}"

    def job_path(self, job: int) -> Path:
        return self.folder / f"job-{job:06d}.json"

    def runs(self, n_jobs: int) -> list[str]:
        """The runs of all jobs, which are complete."""
        counts = [json.loads(self.job_path(job).read_text())["n_runs"] for job in range(n_jobs)]
        return [f"{job:06d}-{run}" for job, n_runs in enumerate(counts) for run in range(n_runs)]

    @property
    def _pixel_dtype(self) -> np.dtype[Any]:
        return np.dtype(
            [("image", "<f4", (n_values(self.size_px),)), ("bad", "u1", (n_bad_bytes(self.size_px),)), ("ok", "?")]
        )

    def write(self, run: str, rows: Rows) -> None:
        """Sort ``rows`` and write them as run ``run``."""
        order = np.argsort(rows.position, kind="stable")
        rows = rows.take(order)
        bounds = np.searchsorted(rows.position, self.edges)
        with self.path(run, "pixels").open("wb") as file:
            for first in range(0, len(order), 512):  # a copy of the whole run would double its memory
                piece = slice(first, first + 512)
                records = np.empty(len(order[piece]), self._pixel_dtype)
                records["image"], records["bad"], records["ok"] = (plane[piece] for plane in rows.pixels)
                records.tofile(file)
            _sync(file)
        (batch,) = rows.columns.combine_chunks().to_batches()
        offsets = [0]
        with self.path(run, "columns").open("wb") as file:
            for first, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                if stop > first:
                    file.write(batch.slice(first, stop - first).serialize())
                offsets.append(file.tell())
            _sync(file)
        with self.path(run, "npz").open("wb") as file:
            np.savez(
                file,
                bounds=bounds,
                offsets=np.array(offsets),
                position=rows.position,
                pixel_crc=rows.pixel_crc,
                column_crc=rows.column_crc,
            )
            _sync(file)

    def piece(self, run: str, file_number: int) -> Rows | None:
        """What output file ``file_number`` takes from ``run``; None where that is nothing."""
        index = _index(self.path(run, "npz"))
        first, stop = index["bounds"][file_number : file_number + 2].tolist()
        if stop == first:
            return None
        dtype = self._pixel_dtype
        records = np.fromfile(self.path(run, "pixels"), dtype, stop - first, offset=first * dtype.itemsize)
        begin, end = index["offsets"][file_number : file_number + 2].tolist()
        message = np.fromfile(self.path(run, "columns"), np.uint8, end - begin, offset=begin)
        batch = pa.ipc.read_record_batch(pa.py_buffer(message), self.schema)
        return Rows(
            index["position"][first:stop],
            pa.Table.from_batches([batch]),
            StampPixels(records["image"], records["bad"], records["ok"]),
            index["pixel_crc"][first:stop],
            index["column_crc"][first:stop],
        )


class RunJob(NamedTuple):
    """The parts [first, stop) of the input, of which runs are made together."""

    number: int
    first: int
    stop: int


def run_jobs(plan: Plan, *, run_rows: int) -> list[RunJob]:
    """Parts grouped until they make a run; of a part with more rows than that several are made."""
    jobs: list[RunJob] = []
    begin = n_rows = 0
    for number, part in enumerate(plan.parts):
        n_rows += part.n_rows
        if n_rows >= run_rows or number + 1 == len(plan.parts):
            jobs.append(RunJob(len(jobs), begin, number + 1))
            begin, n_rows = number + 1, 0
    return jobs


def make_runs(stamps: StampSet, plan: Plan, job: RunJob, store: RunStore) -> int:
    """Write the runs of ``job``, unless they are complete; how many rows of the input that were."""
    if not store.job_path(job.number).is_file():
        n_runs = 0
        batch_rows = store.run_rows // BATCHES_A_RUN
        batches = input_rows(stamps, plan, range(job.first, job.stop), scratch=store.folder, batch_rows=batch_rows)
        for pieces in _grouped(batches, size=store.run_rows - batch_rows + 1):
            store.write(f"{job.number:06d}-{n_runs}", joined(pieces))
            n_runs += 1
        write_json(store.job_path(job.number), {"n_runs": n_runs})
    return int(plan.first_row[job.stop] - plan.first_row[job.first])


def input_rows(
    stamps: StampSet,
    plan: Plan,
    parts: range,
    *,
    scratch: Path,
    batch_rows: int,
    first: int = 0,
    stop: int | None = None,
) -> Iterator[Rows]:
    """The kept rows of ``parts`` with a place in [first, stop), in the input's order, each part's SHA-256 compared."""
    for number in parts:
        row = int(plan.first_row[number])
        where = stamps.place.show(plan.parts[number].path)
        for batch in stamps.batches(plan.parts[number], batch_rows=batch_rows, scratch=scratch, verify=True):
            position = plan.position[row : row + len(batch)]
            row += len(batch)
            wanted = np.flatnonzero((position != DROPPED) & (position >= first) & (position < (stop or plan.n_kept)))
            if len(wanted) == 0:
                continue
            pixels = pixels_of(batch, size_px=stamps.size_px, where=where)
            columns = pa.Table.from_batches([batch.drop_columns(list(PIXEL_COLUMNS))])
            crc = pixel_checksums(pixels), column_checksums(columns)
            rows = Rows(np.asarray(position), columns, pixels, *crc)
            yield rows if len(wanted) == len(position) else rows.take(wanted)


def joined(pieces: list[Rows]) -> Rows:
    """One after the other."""
    if len(pieces) == 1:
        return pieces[0]
    return Rows(
        np.concatenate([piece.position for piece in pieces]),
        pa.concat_tables([piece.columns for piece in pieces]),
        StampPixels(
            *(np.concatenate([getattr(piece.pixels, name) for piece in pieces]) for name in StampPixels._fields)
        ),
        np.concatenate([piece.pixel_crc for piece in pieces]),
        np.concatenate([piece.column_crc for piece in pieces]),
    )


def _grouped(batches: Iterator[Rows], *, size: int) -> Iterator[list[Rows]]:
    """Batches together until they have ``size`` rows."""
    group: list[Rows] = []
    for rows in batches:
        group.append(rows)
        if sum(len(each.position) for each in group) >= size:
            yield group
            group = []
    if group:
        yield group


@functools.lru_cache(maxsize=4096)
def _index(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
