"""From files to evidence: which pixels are read, several processes measure pieces, one table comes back."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from dhs.config.validate import ValidateTask
from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.files import StampFiles
from dhs.inject.validate.measure import Piece, PieceFacts, measure_piece, mixed, thinned
from dhs.inject.validate.read import stamp_size_px

ROWS_AT_ONCE = 65_536
"""Rows of a piece: 40 MB of columns."""
HASHED_AT_ONCE = 4 * 2**20
MAX_EXAMPLES = 40

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all)."""


def gather(files: StampFiles, *, task: ValidateTask, progress: Progress | None = None) -> Evidence:
    """Figures of every row of ``files``, and of the pixels of ``task.pixel_rows`` of them."""
    fs, _ = fsspec.core.url_to_fs(files.url)
    size_px = stamp_size_px(files, fs)
    read = chosen_groups(files, pixel_rows=task.pixel_rows, seed=task.seed)
    work = partial(
        measure_piece,
        url=files.url,
        size_px=size_px,
        keep_fraction=min(1.0, task.max_rows_kept / max(files.n_rows, 1)),
        seed=task.seed,
        verify=task.checksums != "none",
    )
    pieces = list(pieces_of(files, read))
    n_processes = min(task.num_processes or os.cpu_count() or 1, len(pieces))
    results: dict[int, PieceFacts] = {}
    done = 0
    for number, facts in _each(work, pieces, n_processes=n_processes):
        results[number] = facts
        done += sum(pieces[number].part.group_rows[group] for group in pieces[number].groups)
        if progress is not None:
            progress(done, files.n_rows)
    ordered = [results[number] for number in range(len(pieces))]
    return Evidence.of(
        files,
        task=task,
        size_px=size_px,
        keys=_joined([facts.keys for facts in ordered]),
        rows=_joined([facts.rows for facts in ordered]),
        reasons=sum((facts.reasons for facts in ordered), Counter()),
        examples=[*files.unreadable, *(fault for facts in ordered for fault in facts.examples)][:MAX_EXAMPLES],
        shown=thinned([stamp for facts in ordered for stamp in facts.shown]),
        checksums=_checksums(fs, files, read=read, which=task.checksums),
    )


def chosen_groups(files: StampFiles, *, pixel_rows: int | None, seed: int) -> set[tuple[int, int]]:
    """(part, row group) whose pixels are read: all, or by a hash as many whole groups as hold ``pixel_rows`` rows.

    Each split named by a folder gets its share of rows, so that a small one is looked at too.
    """
    groups = [(number, group) for number, part in enumerate(files.parts) for group in range(len(part.group_rows))]
    if pixel_rows is None or files.n_rows <= pixel_rows:
        return set(groups)
    order = mixed(np.array([(number << 32) + group for number, group in groups]), seed=seed)
    splits = sorted({part.split or "" for part in files.parts})
    left = dict.fromkeys(splits, pixel_rows // len(splits))
    chosen = set()
    for index in np.argsort(order):
        number, group = groups[index]
        split = files.parts[number].split or ""
        if left[split] > 0:
            chosen.add((number, group))
            left[split] -= files.parts[number].group_rows[group]
    return chosen


def pieces_of(files: StampFiles, read: set[tuple[int, int]]) -> Iterator[Piece]:
    """Every row group once, in pieces of at most ROWS_AT_ONCE rows (or one group)."""
    for number, part in enumerate(files.parts):
        groups: list[int] = []
        n = 0
        for group, n_rows in enumerate(part.group_rows):
            if groups and n + n_rows > ROWS_AT_ONCE:
                yield Piece(part, number, tuple(groups), tuple((number, g) in read for g in groups))
                groups, n = [], 0
            groups.append(group)
            n += n_rows
        if groups:
            yield Piece(part, number, tuple(groups), tuple((number, g) in read for g in groups))


def _each(
    work: Callable[[Piece], PieceFacts], pieces: list[Piece], *, n_processes: int
) -> Iterator[tuple[int, PieceFacts]]:
    """(number of the piece, its facts) as they come."""
    if n_processes <= 1:
        yield from ((number, work(piece)) for number, piece in enumerate(pieces))
        return
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(work, piece): number for number, piece in enumerate(pieces)}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One table; columns that some parts lack are null there."""
    some = [table for table in tables if table.num_columns]
    return pa.concat_tables(some, promote_options="permissive").unify_dictionaries() if some else pa.table({})


def _checksums(fs: Any, files: StampFiles, *, read: set[tuple[int, int]], which: str) -> dict[str, str]:
    """SHA-256 of the parts that the ledger has one for: of all, of those whose pixels were read, or of none."""
    wanted = {number for number, _ in read} if which == "read" else set(range(len(files.parts)))
    if which == "none":
        return {}
    parts = [files.parts[number] for number in sorted(wanted)]
    return {part.name: _sha256(fs, part.path) for part in parts if "sha256" in files.ledger.get(part.name, {})}


def _sha256(fs: Any, path: str) -> str:
    digest = hashlib.sha256()
    with fs.open(path, "rb") as file:
        while data := file.read(HASHED_AT_ONCE):
            digest.update(data)
    return digest.hexdigest()
