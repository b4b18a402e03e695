"""Where each row of a stamp set goes: a permutation within its split, cut into files of nearly equal size."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from dhs.config.compact import MAX_FILE_MIB, MIB, CompactTask
from dhs.constants import SPLITS
from dhs.inject.stampset.pixels import pixel_bytes
from dhs.inject.stampset.read import Part, StampSet
from dhs.rng import Purpose, keyed_rng, stable_hash

DROPPED = -1


@dataclass(frozen=True)
class OutputFile:
    """The rows [first, stop) of the new order; ``first_of_split`` is where its split begins."""

    number: int
    split: str
    first: int
    stop: int
    first_of_split: int

    @property
    def n_rows(self) -> int:
        return self.stop - self.first

    @property
    def stem(self) -> str:
        """Path within the set, without suffix."""
        return f"split={self.split}/part-{self.number:05d}"


@dataclass(frozen=True)
class Plan:
    """The parts of the input in order, and the place of each of their rows in the output."""

    parts: tuple[Part, ...]
    first_row: np.ndarray
    """(n_parts + 1,) row of the input at which each part begins."""
    position: np.ndarray
    """(n_rows,) int64 place of each input row among the output's; DROPPED for rows that are left out."""
    files: tuple[OutputFile, ...]
    failed: Counter[str]
    """Rows of the input without a stamp, by reason."""

    @property
    def n_kept(self) -> int:
        return self.files[-1].stop


def make_plan(stamps: StampSet, task: CompactTask, *, seed: int) -> Plan:
    """Read the ids of all rows and give each its place.

    ValueError: a task id twice, a count that is not the ledger's, or nothing left.
    """
    parts = tuple(sorted(stamps.parts, key=lambda part: (SPLITS.index(part.split), part.number)))
    ok, ids, failed = _survey(stamps, parts)
    kept = ok if task.failed_rows == "drop" else np.ones(len(ok), bool)
    if not kept.any():
        raise ValueError(f"task.input = {task.input}: none of its {len(ok)} rows is left; see the parts' `reason`")
    _require_unique(ids, stamps, parts)
    first_row = np.concatenate([[0], np.cumsum([part.n_rows for part in parts])])
    split_of_row = np.repeat([SPLITS.index(part.split) for part in parts], [part.n_rows for part in parts])
    position = np.full(len(ok), DROPPED, np.int64)
    files: list[OutputFile] = []
    cap, begin = rows_per_file(task, size_px=stamps.size_px), 0
    for code, split in enumerate(SPLITS):
        rows = np.flatnonzero(kept & (split_of_row == code))
        order = (
            keyed_rng(seed, Purpose.SHUFFLE, 0, code).permutation(len(rows)) if task.shuffle else np.arange(len(rows))
        )
        position[rows] = begin + order
        n_files = -(-len(rows) // cap)
        edges = begin + np.arange(n_files + 1) * len(rows) // max(n_files, 1)
        for first, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            files.append(OutputFile(len(files), split, first, stop, begin))
        begin += len(rows)
    return Plan(parts, first_row, position, tuple(files), failed)


def rows_per_file(task: CompactTask, *, size_px: int) -> int:
    """Rows of a file at most. ValueError where so many would not fit into memory."""
    most = int(MAX_FILE_MIB * MIB // pixel_bytes(size_px))
    if task.rows_per_file is not None and task.rows_per_file > most:
        raise ValueError(
            f"task.rows_per_file = {task.rows_per_file}: must be at most {most} ({MAX_FILE_MIB} MiB of pixels of "
            f"{size_px} px), so that a process stays below 2 GB"
        )
    return task.rows_per_file or max(1, int(task.mib_per_file * MIB // pixel_bytes(size_px)))


def _survey(stamps: StampSet, parts: tuple[Part, ...]) -> tuple[np.ndarray, np.ndarray, Counter[str]]:
    """(n_rows,) cutout_ok and hash of the task id of each row, and the reasons of those that failed."""
    ok: list[np.ndarray] = []
    ids: list[int] = []
    failed: Counter[str] = Counter()
    for part in parts:
        n = 0
        for batch in stamps.batches(part, columns=("task_id", "split", "cutout_ok", "reason"), batch_rows=65_536):
            good = batch.column("cutout_ok").to_numpy(zero_copy_only=False).astype(bool)
            ids += [stable_hash(name) for name in batch.column("task_id").to_pylist()]
            if wrong := set(batch.column("split").to_pylist()) - {part.split}:
                raise ValueError(f"{stamps.place.show(part.path)}: split {wrong.pop()!r} among those of {part.split}")
            failed.update(name for name, fine in zip(batch.column("reason").to_pylist(), good, strict=True) if not fine)
            ok.append(good)
            n += len(good)
        if n != part.n_rows:
            raise ValueError(f"{stamps.place.show(part.path)}: {n} rows, its ledger says {part.n_rows}")
    return np.concatenate(ok), np.array(ids, np.uint64), failed


def _require_unique(ids: np.ndarray, stamps: StampSet, parts: tuple[Part, ...]) -> None:
    """ValueError naming the first task id that is there twice. (64-bit hashes: two of 12 million meet at 4e-6.)"""
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(again) == 0:
        return
    first, row = 0, int(order[again + 1].min())
    for part in parts:
        if row < first + part.n_rows:
            table = next(stamps.batches(part, columns=("task_id",), batch_rows=part.n_rows))
            name = table.column("task_id")[row - first].as_py()
            raise ValueError(
                f"{stamps.place.show(part.path)}: task_id {name} is in the set twice (and {len(again) - 1} other "
                "repeats); make the set again"
            )
        first += part.n_rows
