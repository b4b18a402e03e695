"""The index of a store: one row a target, obtained or not; and the store's own card, `store.json`.

    <store>/shard-000000.tar      samples of shard 0 (dhs.sky.shards), good cutouts only
    <store>/shard-000000.parquet  its rows of the index
    <store>/index.parquet         all rows, the concatenation
    <store>/ledger.csv            the targets without a cutout: id, position, brick, reason, detail
    <store>/job.json              what decides the pixels; a rerun must be the same job
    <store>/store.json            written last: the store is complete

The columns are the list's own, then (or replaced by) those of INDEX_COLUMNS.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import BANDS
from dhs.sky.fetched import Fetched
from dhs.sky.shards import SampleLayout

SCHEMA_VERSION = 1

INDEX_COLUMNS: dict[str, pa.DataType] = {
    "brick": pa.string(),
    **{f"psfsize_{band}_arcsec": pa.float32() for band in BANDS},
    "psfsize_source": pa.string(),
    **{f"psfdepth_{band}_mag": pa.float32() for band in BANDS},
    "psfdepth_source": pa.string(),
    "invvar_source": pa.string(),
    "centre_x_arcsec": pa.float32(),
    "centre_y_arcsec": pa.float32(),
    "cutout_ok": pa.bool_(),
    "reason": pa.string(),
    "detail": pa.string(),
    "shard": pa.int32(),
    "sample": pa.int32(),
    "offset": pa.int64(),
    "crc32": pa.int64(),
}
"""brick: where the pixels come from. psfsize_source: map, list, default. psfdepth_source: list, invvar.
invvar_source: coadd, service, border. centre_*: target minus stamp centre, along +x and +y. sample, offset: number and
first byte within the shard, -1 without a cutout. crc32: of the pixels, -1 without."""


def index_rows(
    targets: pa.Table,
    fetched: Fetched,
    *,
    psfsize: tuple[np.ndarray, list[str]],
    psfdepth: tuple[np.ndarray, list[str]],
    shard: int,
    crc32: list[int],
) -> pa.Table:
    """Index rows of a shard's targets; ``crc32`` is that of its good cutouts, in order."""
    ok = np.array([not reason for reason in fetched.reason])
    sample = np.where(ok, np.cumsum(ok) - 1, -1)
    checksums = np.full(len(ok), -1, np.int64)
    checksums[ok] = crc32
    record = SampleLayout(fetched.images.shape[-1]).record_bytes
    values: dict[str, Any] = {
        "brick": fetched.brick,
        **{f"psfsize_{band}_arcsec": psfsize[0][:, i] for i, band in enumerate(BANDS)},
        "psfsize_source": psfsize[1],
        **{f"psfdepth_{band}_mag": psfdepth[0][:, i] for i, band in enumerate(BANDS)},
        "psfdepth_source": psfdepth[1],
        "invvar_source": [source if good else "" for source, good in zip(fetched.invvar_source, ok, strict=True)],
        "centre_x_arcsec": fetched.centre_arcsec[:, 0],
        "centre_y_arcsec": fetched.centre_arcsec[:, 1],
        "cutout_ok": ok,
        "reason": fetched.reason,
        "detail": fetched.detail,
        "shard": np.full(len(ok), shard),
        "sample": sample,
        "offset": np.where(ok, sample * record, -1),
        "crc32": checksums,
    }
    table = targets.drop_columns([name for name in INDEX_COLUMNS if name in targets.column_names])
    for name, kind in INDEX_COLUMNS.items():
        table = table.append_column(name, pa.array(values[name], kind))
    return table.combine_chunks()


def shard_path(store: Path, shard: int, suffix: str) -> Path:
    """`shard-000012.tar` or `.parquet`."""
    return store / f"shard-{shard:06d}.{suffix}"


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write ``table`` to a temporary name, sync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` to a temporary name, sync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(content, indent=2, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
