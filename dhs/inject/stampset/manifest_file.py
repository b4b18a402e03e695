"""`ManifestFile`: the manifest that a stamp set is made from, on disk or behind an fsspec URL, read by runs of rows."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import SPLITS
from dhs.inject.recipe import RecipeBatch
from dhs.inject.stampset.faults import faults_as_lines
from dhs.sky.cutouts import CutoutSet

METADATA_KEY = b"dhs_manifest"
SCHEMA_VERSION = 1
MAX_GROUP_ROWS = 500_000
"""A row group is read whole: larger ones would fill the memory of every process."""
BLOCK_BYTES = 8 * 2**20

_WHOLE = ("target_id", "source_index", "key_seed", "key_purpose", "key_epoch", "key_index")
"""Columns that must be whole numbers in every row."""


class ManifestFile:
    """Rows of one manifest; one instance a process.

    Raises:
        ValueError: (one line) not readable, not a manifest, of another version.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        with faults_as_lines(f"task.manifest = {url}"):
            if "://" in url:
                self._file = pq.ParquetFile(fsspec.open(url, "rb").open(), pre_buffer=True)
            else:
                self._file = pq.ParquetFile(url, memory_map=True)
        self.schema: pa.Schema = self._file.schema_arrow
        self.n_rows: int = self._file.metadata.num_rows
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._edges = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self.metadata = self._metadata()
        if self.n_rows == 0:
            raise ValueError(f"task.manifest = {url}: has no rows; make another with `inject.py task=manifest`")
        if max(groups) > MAX_GROUP_ROWS:
            raise ValueError(
                f"task.manifest = {url}: a row group of {max(groups)} rows, allowed are {MAX_GROUP_ROWS}; "
                "write it with row_group_size=4096"
            )

    def _metadata(self) -> dict[str, Any]:
        held = (self.schema.metadata or {}).get(METADATA_KEY)
        if held is None:
            raise ValueError(
                f"task.manifest = {self.url}: no manifest (no {METADATA_KEY.decode()} in its schema); "
                "make one with `inject.py task=manifest`"
            )
        about: dict[str, Any] = json.loads(held)
        if about.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"task.manifest = {self.url}: version {about.get('schema_version')}; allowed: {SCHEMA_VERSION}"
            )
        return about

    def rows(self, first: int, n: int) -> pa.Table:
        """Rows ``first`` to ``first + n``."""
        start = int(np.searchsorted(self._edges, first, side="right")) - 1
        stop = int(np.searchsorted(self._edges, first + n, side="left"))
        with faults_as_lines(f"task.manifest = {self.url}"):
            table = self._file.read_row_groups(list(range(start, stop)), use_threads=False)
        return table.slice(first - int(self._edges[start]), n).combine_chunks()

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """One column, a row group at a time."""
        if name not in self.schema.names:
            raise ValueError(f"task.manifest = {self.url}: column {name!r} is missing; make it with task=manifest")
        for group in range(self._file.num_row_groups):
            with faults_as_lines(f"task.manifest = {self.url}"):
                yield self._file.read_row_group(group, columns=[name], use_threads=False)[name]

    def split_runs(self) -> list[tuple[str, int, int]]:
        """(split, first row, rows) of each split's run. ValueError where a split is no one run, or none of ours."""
        runs: list[tuple[str, int, int]] = []
        done = 0
        for chunk in self.column("split"):
            codes = np.asarray(chunk.to_numpy(zero_copy_only=False), dtype=object)
            edges = np.concatenate([[0], np.flatnonzero(codes[1:] != codes[:-1]) + 1, [len(codes)]])
            for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
                split = codes[a]
                if runs and runs[-1][0] == split:
                    runs[-1] = (split, runs[-1][1], runs[-1][2] + b - a)
                else:
                    runs.append((split, done + a, b - a))
            done += len(codes)
        names = [split for split, _, _ in runs]
        if unknown := [name for name in names if name not in SPLITS]:
            raise ValueError(f"task.manifest = {self.url}: split {unknown[0]!r}: allowed are {', '.join(SPLITS)}")
        if len(set(names)) < len(names):
            raise ValueError(f"task.manifest = {self.url}: {len(names)} runs of splits; sort its rows by split")
        return runs

    def missing_targets(self, known: np.ndarray) -> tuple[int, list[int]]:
        """Rows whose target_id is not among ``known``, and the first few such ids."""
        n = 0
        ids: list[int] = []
        for chunk in self.column("target_id"):
            target_id = chunk.to_numpy()
            absent = target_id[~np.isin(target_id, known)]
            n += len(absent)
            if len(ids) < 3:
                ids = list(dict.fromkeys([*ids, *absent[:100].tolist()]))[:3]
        return n, ids

    def sha256(self) -> str:
        """Of the whole file."""
        digest = hashlib.sha256()
        with faults_as_lines(f"task.manifest = {self.url}"), fsspec.open(self.url, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()


class TargetRows:
    """Rows of a sky by target_id, sorted once: `CutoutSet.rows_of` sorts a million ids at each call."""

    def __init__(self, cutouts: CutoutSet) -> None:
        self._order = np.argsort(cutouts.target_id, kind="stable")
        self._sorted = cutouts.target_id[self._order]

    def __call__(self, target_id: np.ndarray) -> np.ndarray:
        """(n,) rows, -1 where the sky does not have the target."""
        place = np.minimum(np.searchsorted(self._sorted, target_id), len(self._sorted) - 1)
        return np.where(self._sorted[place] == target_id, self._order[place], -1)


def recipes_of(rows: pa.Table, targets: TargetRows) -> RecipeBatch:
    """Recipes of manifest ``rows``; `row` is -1 where the sky lacks the galaxy.

    Raises:
        ValueError: a column is missing, or one of whole numbers has a null.
    """
    for name in _WHOLE:
        if name in rows.column_names and (rows[name].null_count or not pa.types.is_integer(rows[name].type)):
            raise ValueError(f"manifest: column {name!r} must be whole numbers without null; -1 stands for none")
    columns = {name: rows[name].to_numpy() for name in rows.column_names if name != "row"}
    if "target_id" not in columns:
        raise ValueError("manifest: column 'target_id' is missing; make one with `inject.py task=manifest`")
    return RecipeBatch.from_columns(columns | {"row": targets(columns["target_id"])})
