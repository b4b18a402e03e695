"""One row of a manifest, by number or by task id, without reading the rest of a file of millions."""

from typing import NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


class ManifestRow(NamedTuple):
    """A row with its columns as arrays of length 1."""

    task_id: str
    columns: dict[str, np.ndarray]


def read_row(path: str, *, row: int | None, task_id: str | None) -> ManifestRow:
    """Row number ``row``, or the one named ``task_id``, of the manifest ``path`` (a path or an fsspec URL).

    Raises:
        ValueError: no such file or row, or no manifest; one line.
    """
    try:
        with fsspec.open(path, "rb") as raw, pq.ParquetFile(raw) as file:
            if "task_id" not in file.schema_arrow.names:
                raise ValueError(f"{path}: no column task_id; give a manifest of task=manifest")
            table = _by_id(path, file, task_id) if task_id is not None else _by_number(path, file, row or 0)
    except FileNotFoundError:
        raise ValueError(f"task.manifest = {path}: no such file; make one with inject.py task=manifest") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"task.manifest = {path}: not a readable Parquet file ({_line(error)})") from None
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return ManifestRow(str(columns["task_id"][0]), columns)


def _by_number(path: str, file: pq.ParquetFile, row: int) -> pa.Table:
    n_rows = file.metadata.num_rows
    if row >= n_rows:
        raise ValueError(f"task.row = {row}: {path} has the rows 0 to {n_rows - 1}")
    for group in range(file.num_row_groups):
        n_group = file.metadata.row_group(group).num_rows
        if row < n_group:
            return file.read_row_group(group).slice(row, 1)
        row -= n_group
    raise AssertionError("the row groups hold fewer rows than the file says")


def _by_id(path: str, file: pq.ParquetFile, task_id: str) -> pa.Table:
    for group in range(file.num_row_groups):
        place = pc.index(file.read_row_group(group, columns=["task_id"])["task_id"], task_id).as_py()
        if place >= 0:
            return file.read_row_group(group).slice(place, 1)
    raise ValueError(f"task.task_id = {task_id}: not among the {file.metadata.num_rows} tasks of {path}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
