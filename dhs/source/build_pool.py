"""Tries galaxies of a catalogue on all cores until enough are accepted; the result never depends on how many cores.

The keyed order is tried in waves, each as long as the acceptance so far says; a wave's rows are sorted by picture file
and split into parts of PART_ROWS, which the processes finish in any order and keep in the journal. The waves' lengths,
and so the parts, follow from the verdicts alone: a build that was killed asks for the same parts again and finds those
it has. Afterwards only the keyed order counts: what was tried beyond the last galaxy needed is left out.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from dhs.config.source import CosmosSource
from dhs.processes import follow_parent, n_cores
from dhs.source.candidates import ACCEPTED, Candidates, Part
from dhs.source.catalog import RealCatalog
from dhs.source.clean import REASONS
from dhs.source.journal import Journal

PART_ROWS = 128
"""About half a second of work: what a kill costs each process."""
FIRST_WAVE_ROWS = 1024
"""Tells the acceptance to a few percent."""
WAVE_MARGIN = 1.03
"""More rows than the acceptance asks for, so that few waves are needed: each one opens every picture file."""
WAVE_SPARE_ROWS = 32
CATALOG = "catalog.npz"
"""The tables, for the worker processes, in the journal's folder."""
MIN_ACCEPTANCE = 0.01
UNTRIED = len(REASONS)


@dataclass(frozen=True)
class BuildState:
    """Where a build stands, for a progress display."""

    n_tried: int
    n_accepted: int
    n_wanted: int
    n_resumed: int
    """Tried in an earlier run."""
    rejected: Counter[str]

    @property
    def expected_tries(self) -> int:
        """Rows to be tried in all, if the acceptance stays what it was."""
        return round(self.n_wanted * self.n_tried / max(self.n_accepted, 1))


Progress = Callable[[BuildState], None]


@dataclass(frozen=True)
class Tried:
    """What became of the keyed order up to the last galaxy wanted."""

    rows: np.ndarray
    """(N,) int64 accepted catalogue rows, in the keyed order."""
    columns: dict[str, np.ndarray]
    """(N,) measured on the templates, see `dhs.source.candidates.Part`."""
    parts: list[np.ndarray]
    """Rows of each part, to read the images from the journal with."""
    n_tried: int
    rejected: dict[str, int]


def try_galaxies(
    catalog: RealCatalog,
    *,
    config: CosmosSource,
    order: np.ndarray,
    n_wanted: int,
    journal: Journal,
    progress: Progress | None = None,
) -> Tried:
    """Try rows in ``order`` until ``n_wanted`` are accepted or none is left; the journal then holds the images.

    Raises:
        dhs.source.candidates.BadCatalog: a picture cannot be read.
        ValueError: a worker process died.
    """
    verdict = np.full(len(order), UNTRIED, np.int8)
    position_of = np.full(len(catalog.ident), -1, np.int64)
    position_of[order] = np.arange(len(order))
    columns: dict[str, np.ndarray] = {}
    parts: list[np.ndarray] = []
    n_done = n_resumed = 0
    while n_done < len(order) and (verdict[:n_done] == ACCEPTED).sum() < n_wanted:
        wave = order[n_done : n_done + wave_length(verdict[:n_done], n_wanted=n_wanted)]
        wave_parts = split_by_file(catalog, wave)
        parts += wave_parts
        for part, resumed in _finished(catalog, config=config, parts=wave_parts, journal=journal):
            positions = position_of[part.rows]
            verdict[positions] = part.verdict
            for name, column in part.columns.items():
                columns.setdefault(name, np.full(len(order), np.nan, np.float32))
                columns[name][positions[part.verdict == ACCEPTED]] = column
            n_resumed += len(part.rows) if resumed else 0
            if progress is not None:
                progress(_state(verdict, n_wanted=n_wanted, n_resumed=n_resumed))
        n_done += len(wave)
    accepted = np.flatnonzero(verdict[:n_done] == ACCEPTED)[:n_wanted]
    n_tried = int(accepted[-1]) + 1 if len(accepted) == n_wanted else n_done
    return Tried(
        rows=order[accepted].astype(np.int64),
        columns={name: column[accepted] for name, column in columns.items()},
        parts=parts,
        n_tried=n_tried,
        rejected={reason: int((verdict[:n_tried] == code).sum()) for code, reason in enumerate(REASONS)},
    )


def images_of(tried: Tried, *, rows: np.ndarray, journal: Journal, dtype: str, stamp_size_px: int) -> np.ndarray:
    """(len(rows), S, S) templates of accepted ``rows``, from the journal; ValueError where a part was damaged since."""
    place = {int(row): index for index, row in enumerate(rows)}
    images = np.empty((len(rows), stamp_size_px, stamp_size_px), dtype)
    for part_rows in tried.parts:
        part = journal.read(part_rows)
        if part is None:
            raise ValueError(f"{journal.folder}: a finished part was lost while building; run the same command again")
        for row, image in zip(part.rows[part.verdict == ACCEPTED], part.images, strict=True):
            if int(row) in place:
                images[place[int(row)]] = image
    return images


def wave_length(verdict: np.ndarray, *, n_wanted: int) -> int:
    """Rows to try next, from the (n,) verdicts so far."""
    if len(verdict) == 0:
        return min(n_wanted, FIRST_WAVE_ROWS) + WAVE_SPARE_ROWS
    accepted = int((verdict == ACCEPTED).sum())
    acceptance = max(accepted / len(verdict), MIN_ACCEPTANCE)
    return int((n_wanted - accepted) / acceptance * WAVE_MARGIN) + WAVE_SPARE_ROWS


def split_by_file(catalog: RealCatalog, rows: np.ndarray) -> list[np.ndarray]:
    """``rows`` sorted by picture file and HDU, in parts of PART_ROWS."""
    order = np.lexsort((rows, catalog.gal_hdu[rows], catalog.gal_file[rows]))
    return [rows[order[start : start + PART_ROWS]] for start in range(0, len(rows), PART_ROWS)]


def _state(verdict: np.ndarray, *, n_wanted: int, n_resumed: int) -> BuildState:
    counts = {reason: int((verdict == code).sum()) for code, reason in enumerate(REASONS)}
    accepted, n_tried = int((verdict == ACCEPTED).sum()), int((verdict != UNTRIED).sum())
    return BuildState(n_tried, accepted, n_wanted, n_resumed, Counter({k: n for k, n in counts.items() if n}))


def _finished(
    catalog: RealCatalog, *, config: CosmosSource, parts: list[np.ndarray], journal: Journal
) -> Iterator[tuple[Part, bool]]:
    """Each part once it is in the journal, and whether an earlier run had put it there."""
    missing = []
    for rows in parts:
        part = journal.read(rows)
        if part is None:
            missing.append(rows)
        else:
            yield part, True
    for part in _do(catalog, config=config, parts=missing, journal=journal):
        yield part, False


def _do(catalog: RealCatalog, *, config: CosmosSource, parts: list[np.ndarray], journal: Journal) -> Iterator[Part]:
    """Try ``parts`` on all processes and put them into the journal; the parts given back have no images."""
    n_processes = min(config.build.num_processes or n_cores(), len(parts))
    if n_processes <= 1:
        with closing(_Worker(catalog, config, journal)) as worker:
            for rows in parts:
                yield worker.do(rows)
        return
    # The catalogue goes by file: a worker that dies while megabytes are sent to it would leave the others waiting.
    catalog.save(journal.folder / CATALOG)
    start = (config, journal.without_lock(), os.getpid())
    # spawn: a fork of a process with torch or OpenMP threads may hang.
    with ProcessPoolExecutor(
        n_processes, mp_context=get_context("spawn"), initializer=_start_worker, initargs=start
    ) as pool:
        try:
            futures = [pool.submit(_work, rows) for rows in parts]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise ValueError(
                "source.build: a worker process died (out of memory?); finished parts are kept: run the same command "
                "again, with a smaller source.build.num_processes"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """Tries parts in one process."""

    def __init__(self, catalog: RealCatalog, config: CosmosSource, journal: Journal) -> None:
        self._candidates, self._journal = Candidates(catalog, config=config), journal

    def do(self, rows: np.ndarray) -> Part:
        part = self._candidates.part(rows)
        self._journal.write(part)
        return Part(part.rows, part.verdict, part.images[:0], part.columns)

    def close(self) -> None:
        self._candidates.close()


_worker: _Worker
"""Of this process, where it is one of the pool's."""


def _start_worker(config: CosmosSource, journal: Journal, parent: int) -> None:
    global _worker
    follow_parent(parent)
    _worker = _Worker(RealCatalog.load(journal.folder / CATALOG), config, journal)


def _work(rows: np.ndarray) -> Part:
    return _worker.do(rows)
