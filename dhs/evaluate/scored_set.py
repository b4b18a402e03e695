"""`score_items`: any set of stamps -> one Parquet file of scores, once, in parts that survive kill -9.

A set is anything that makes stamps by number (`StampItems`): the validation and test sets, a grid of injections, real
lenses, altered stamps. Parts of some thousand rows lie under `<file>.parts` until all are there. Every file says of
what finder and which stamps it is (its identity); another identity's file is never taken for this one, but made anew,
and the log says so.

    table = score_items(
        finder, items, path=folder / "test.parquet", batch_size=256, num_workers=1, identity=key, label="scoring test"
    )
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import DataLoader, Dataset

from dhs.display import write_atomically
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies
from dhs.progress import CountingProgress
from dhs.train.finder import Finder, Maker

log = logging.getLogger("dhs")

PART_ROWS = 4096
"""Rows of a part: what a killed run does again, some seconds of it."""

IDENTITY_KEY = b"dhs.identity"


class StampItems(Protocol):
    """N stamps by number: pure functions of their arguments."""

    @property
    def cutouts(self) -> Galaxies:
        """The galaxies behind the stamps; a stamp's `recipes.row` is a row of it."""

    @property
    def identity(self) -> str:
        """What decides the stamps beside the sky and the injections of the training run: the settings of a stage."""

    def __len__(self) -> int: ...

    def stamps(self, indices: np.ndarray) -> StampBatch:
        """The stamps of (B,) ``indices``; stamp i does not depend on the others."""

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        """(B,) columns that are stored beside ``index`` and ``logit``."""


def score_items(
    finder: Finder,
    items: StampItems,
    *,
    path: Path,
    batch_size: int,
    num_workers: int,
    identity: str,
    label: str,
    part_rows: int = PART_ROWS,
) -> pa.Table:
    """The scores of ``items``: ``index`` int64, ``logit`` float32 and the columns of the items, by index; in ``path``.

    Raises:
        ValueError: there is nothing to score, or a logit is not finite (one line names the stamp).
    """
    if (finished := read_finished(path, identity=identity)) is not None:
        return finished
    if len(items) == 0:
        raise ValueError(f"{label}: there are no stamps to score")
    parts = _Parts(path.with_suffix(".parts"), n_rows=len(items), part_rows=part_rows, identity=identity)
    _score_missing(finder, items, parts, batch_size=batch_size, num_workers=num_workers, label=label)
    table = pa.concat_tables([pq.read_table(parts.path(number)) for number in range(parts.count)])
    write_table(table, path=path, identity=identity)
    shutil.rmtree(parts.folder)
    return table


def read_finished(path: Path, *, identity: str | None) -> pa.Table | None:
    """The table in ``path`` if it is of ``identity`` (None: whichever it is of); None where there is none.

    ValueError where the file is no Parquet file.
    """
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}); remove it") from None
    if identity is not None and identity_of(table) != identity:
        log.info("%s is of another checkpoint or other settings: it is made anew", path)
        return None
    return table


def write_table(table: pa.Table, *, path: Path, identity: str) -> None:
    """Write ``table`` with its identity, atomically."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({IDENTITY_KEY: identity.encode()}), sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def identity_of(table: pa.Table) -> str:
    """What `write_table` was told; '' for a table of another origin."""
    return (table.schema.metadata or {}).get(IDENTITY_KEY, b"").decode()


class _Parts:
    """The rows [k * part_rows, (k + 1) * part_rows) in a file of their own each."""

    def __init__(self, folder: Path, *, n_rows: int, part_rows: int, identity: str) -> None:
        self.folder, self.n_rows, self._rows = folder, n_rows, part_rows
        self._identity = f"{identity}/{n_rows}/{part_rows}"
        self.count = -(-n_rows // part_rows)
        self.missing = [number for number in range(self.count) if not self._is_there(number)]

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def rows(self, number: int) -> tuple[int, int]:
        return number * self._rows, min((number + 1) * self._rows, self.n_rows)

    def write(self, number: int, table: pa.Table) -> None:
        write_table(table, path=self.path(number), identity=self._identity)

    def _is_there(self, number: int) -> bool:
        path = self.path(number)
        try:
            return path.is_file() and read_finished(path, identity=self._identity) is not None
        except ValueError:
            log.info("%s is damaged: it is made anew", path)
            return False


class _Batches(Dataset[dict[str, Any]]):
    """Batch b -> what the network takes, and an Arrow table of columns; runs in the loader's workers."""

    def __init__(self, items: StampItems, maker: Maker, bounds: list[tuple[int, int]]) -> None:
        self._items, self._maker, self._bounds = items, maker, bounds

    def __len__(self) -> int:
        return len(self._bounds)

    def __getitem__(self, batch: int) -> dict[str, Any]:
        indices = np.arange(*self._bounds[batch])
        stamps = self._items.stamps(indices)
        columns = {"index": indices} | self._items.columns(stamps, indices)
        # An Arrow table, because the loader turns arrays into tensors.
        return {"batch": self._maker(stamps), "columns": pa.table(columns)}


def _score_missing(
    finder: Finder, items: StampItems, parts: _Parts, *, batch_size: int, num_workers: int, label: str
) -> None:
    bounds, last_of = [], {}
    for number in parts.missing:
        start, stop = parts.rows(number)
        bounds += [(i, min(i + batch_size, stop)) for i in range(start, stop, batch_size)]
        last_of[len(bounds) - 1] = number
    n_there = parts.n_rows - sum(stop - start for start, stop in bounds)
    if n_there:
        log.info("%s: %d of %d stamps were scored before", label, n_there, parts.n_rows)
    progress = CountingProgress(label, "stamps")
    done, collected = 0, []
    for batch, table in enumerate(_scored(finder, items, bounds, num_workers=num_workers, label=label)):
        collected.append(table)
        done += len(table)
        if batch in last_of:
            parts.write(last_of[batch], pa.concat_tables(collected))
            collected = []
        progress(done, parts.n_rows - n_there)


def _scored(
    finder: Finder, items: StampItems, bounds: list[tuple[int, int]], *, num_workers: int, label: str
) -> Iterator[pa.Table]:
    """Tables of the batches in order."""
    loader: DataLoader[dict[str, Any]] = DataLoader(
        _Batches(items, finder.maker(items.cutouts), bounds),
        batch_size=None,
        num_workers=min(num_workers, len(bounds)),
        multiprocessing_context="fork" if num_workers and bounds else None,
        pin_memory=False,
    )
    for item in loader:
        logits = finder.logits(item["batch"]).astype(np.float32)
        if (bad := ~np.isfinite(logits)).any():
            where = item["columns"].column("index")[int(np.flatnonzero(bad)[0])].as_py()
            raise ValueError(f"{label}: the logit of stamp {where} is not finite; look for NaN pixels or weights")
        yield item["columns"].append_column("logit", pa.array(logits))


MakeItems = Callable[[], StampItems]
"""Items are made when they are needed: where the scores are there, no sky is loaded."""
