"""Second pass: one output file at a time, from its rows in any order to a verified file, its index and its ledger.

    split=train/part-00003.parquet          all columns; beside a tar: without pixels, with sample, offset and crc32
    split=train/part-00003.tar              format=webdataset: the stamps that are ok (dhs.inject.stampset.tar_layout)
    _index/part-00003.parquet               task_id, place and checksum of each row
    _ledger/part-00003.json                 written last: the file is complete

Files hold no time and no host: equal rows and settings are equal bytes.
"""

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.config.compact import CompactTask
from dhs.inject.stampset.checksum import column_checksums, pixel_checksums
from dhs.inject.stampset.compact_plan import OutputFile
from dhs.inject.stampset.compact_runs import Rows
from dhs.inject.stampset.pixels import (
    PIXEL_COLUMNS,
    StampPixels,
    n_bad_bytes,
    n_values,
    pixel_columns,
    pixels_of,
)
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.read import LEDGER, Part, StampSet
from dhs.inject.stampset.tar_layout import StampLayout, sample_key, sample_metadata
from dhs.sky.shards import write_samples

INDEX = "_index"

INDEX_SCHEMA = pa.schema(
    [
        ("task_id", pa.string()),
        ("split", pa.string()),
        ("file", pa.string()),
        ("row", pa.int32()),
        ("sample", pa.int32()),
        ("offset", pa.int64()),
        ("crc32", pa.int64()),
    ]
)
"""Of `index.parquet`: row within the Parquet file; sample, offset: number and first byte within the tar, -1 without;
crc32 of the pixels, -1 for a row without a stamp."""


class Target(NamedTuple):
    """Where and how output files are written."""

    place: Place
    task: CompactTask
    schema_bytes: bytes
    """Of a part of the input, pixels included, with the output's metadata. Serialised, because a pickled list type
    loses the name of its items, and the bytes written would depend on the process."""
    size_px: int

    @property
    def schema(self) -> pa.Schema:
        return pa.ipc.read_schema(pa.py_buffer(self.schema_bytes))


def ledger_name(file: OutputFile) -> str:
    return f"{LEDGER}/part-{file.number:05d}.json"


def index_name(file: OutputFile) -> str:
    return f"{INDEX}/part-{file.number:05d}.parquet"


def write_file(target: Target, file: OutputFile, pieces: Iterable[Rows], *, scratch: Path) -> dict[str, Any]:
    """Write ``file`` from ``pieces``, in any order, read it back and compare; its ledger entry.

    ValueError: a row is missing or there twice, or what is read back is not what was read of the input.
    """
    started = time.monotonic()
    target.place.remove(ledger_name(file))  # from here to the end the file is unfinished
    rows = _in_order(pieces, file, size_px=target.size_px)
    entry: dict[str, Any] = {"path": f"{file.stem}.parquet", "split": file.split, "first_row": file.first}
    reasons = zip(rows.columns.column("reason").to_pylist(), rows.pixels.ok.tolist(), strict=True)
    failures = Counter(reason for reason, ok in reasons if not ok)
    entry |= {"n_rows": file.n_rows, "n_ok": int(rows.pixels.ok.sum()), "failures": dict(sorted(failures.items()))}
    index = _index_rows(rows, file, is_sharded=target.task.format == "webdataset", size_px=target.size_px)
    if target.task.format == "webdataset":
        entry["tar"] = _write_tar(target, file, rows)
        columns = rows.columns
        for name in ("sample", "offset", "crc32"):
            columns = columns.append_column(index.schema.field(name), index.column(name))
        _write_parquet(target, entry["path"], columns.replace_schema_metadata(target.schema.metadata))
    else:
        _write_parquet(target, entry["path"], rows)
    _write_parquet(target, index_name(file), index)
    entry |= {"n_bytes": target.place.n_bytes(entry["path"]), "sha256": target.place.sha256(entry["path"])}
    checksums = rows.pixel_crc, rows.column_crc
    del rows  # half a gigabyte: what is read back takes its place
    if target.task.verify:
        _verify(target, file, entry, checksums, scratch=scratch)
    entry["seconds"] = round(time.monotonic() - started, 3)
    target.place.write_json(ledger_name(file), entry)
    return entry


def finished_entry(place: Place, file: OutputFile, *, verify: bool) -> dict[str, Any] | str | None:
    """Ledger of a finished file; None where there is none; the damage, in words, where the file is not what it says."""
    name = ledger_name(file)
    if not place.exists(name):
        return None
    try:
        entry = place.read_json(name)
    except ValueError as error:
        return str(error)
    for one in (entry, entry.get("tar")):
        if one is None:
            continue
        found = place.n_bytes(one["path"])
        if found != one["n_bytes"]:
            return f"{one['path']}: {found or 0} bytes, written were {one['n_bytes']}"
        if verify and place.sha256(one["path"]) != one["sha256"]:
            return f"{one['path']}: another SHA-256 than when it was written"
    return entry if place.exists(index_name(file)) else f"{index_name(file)} is gone"


def _in_order(pieces: Iterable[Rows], file: OutputFile, *, size_px: int) -> Rows:
    """The file's rows in their order, every place filled once."""
    n = file.n_rows
    pixels = StampPixels(
        np.zeros((n, n_values(size_px)), np.float32), np.zeros((n, n_bad_bytes(size_px)), np.uint8), np.zeros(n, bool)
    )
    crc = np.zeros((2, n), np.int64)
    positions, tables = [], []
    for piece in pieces:
        where = piece.position - file.first
        for plane, values in zip(pixels, piece.pixels, strict=True):
            plane[where] = values
        crc[0, where], crc[1, where] = piece.pixel_crc, piece.column_crc
        positions.append(where)
        tables.append(piece.columns)
    where = np.concatenate(positions)
    order = np.argsort(where, kind="stable")
    if not np.array_equal(where[order], np.arange(n)):
        raise ValueError(
            f"{file.stem}: {len(where)} rows came for its {n} places; remove the scratch folder, run again"
        )
    columns = pa.concat_tables(tables).take(pa.array(order)).combine_chunks()
    return Rows(np.arange(file.first, file.stop), columns, pixels, crc[0], crc[1])


def _index_rows(rows: Rows, file: OutputFile, *, is_sharded: bool, size_px: int) -> pa.Table:
    n, ok = file.n_rows, rows.pixels.ok
    sample = np.where(ok & is_sharded, np.cumsum(ok) - 1, -1)
    record = StampLayout(size_px).record_bytes
    values = {
        "task_id": rows.columns.column("task_id").to_pylist(),
        "split": [file.split] * n,
        "file": [f"{file.stem}.parquet"] * n,
        "row": np.arange(n),
        "sample": sample,
        "offset": np.where(sample >= 0, sample * record, -1),
        "crc32": rows.pixel_crc,
    }
    arrays = [pa.array(values[field.name], field.type) for field in INDEX_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=INDEX_SCHEMA)


def _write_tar(target: Target, file: OutputFile, rows: Rows) -> dict[str, Any]:
    layout = StampLayout(target.size_px)
    ok = np.flatnonzero(rows.pixels.ok)
    whole = len(ok) == file.n_rows
    image = rows.pixels.image if whole else rows.pixels.image[ok]  # no second copy of half a gigabyte
    name = f"{file.stem}.tar"
    with target.place.writing(name) as raw:
        written = write_samples(
            raw,
            layout,
            keys=[sample_key(file.split, row) for row in (rows.position[ok] - file.first_of_split).tolist()],
            arrays={"image": image.reshape(-1, *layout.shapes["image"]), "bad_pixels": rows.pixels.bad[ok]},
            metadata=sample_metadata(rows.columns.take(pa.array(ok))),
        )
    return {"path": name, "n_bytes": written.n_bytes, "sha256": written.sha256}


def _write_parquet(target: Target, name: str, rows: Rows | pa.Table) -> None:
    """Columns alone, or with their pixels, row group by row group."""
    task = target.task
    schema = target.schema if isinstance(rows, Rows) else rows.schema
    columns = rows.columns if isinstance(rows, Rows) else rows
    with (
        target.place.writing(name) as file,
        pq.ParquetWriter(
            file,
            schema,
            compression=task.compression,
            compression_level=task.compression_level,
            use_dictionary=[field.name for field in schema if pa.types.is_string(field.type)],
        ) as writer,
    ):
        for first in range(0, columns.num_rows, task.row_group_rows):
            group = columns.slice(first, task.row_group_rows)
            writer.write_table(_with_pixels(group, rows, first, schema) if isinstance(rows, Rows) else group)


def _with_pixels(columns: pa.Table, rows: Rows, first: int, schema: pa.Schema) -> pa.Table:
    piece = slice(first, first + columns.num_rows)
    pixels = StampPixels(*(plane[piece] for plane in rows.pixels))
    image, bad = pixel_columns(pixels, image_type=schema.field("image").type, bad_type=schema.field("bad_pixels").type)
    at_hand: dict[str, Any] = {"image": image, "bad_pixels": bad}
    arrays = [at_hand[name] if name in at_hand else columns.column(name) for name in schema.names]
    return pa.table(arrays, schema=schema)


def _verify(
    target: Target,
    file: OutputFile,
    entry: dict[str, Any],
    checksums: tuple[np.ndarray, np.ndarray],
    *,
    scratch: Path,
) -> None:
    """Read the file as any reader does; each row's checksums are those its input had."""
    part = Part.of_ledger(file.number, entry)
    metadata = {"stamp_size_px": target.size_px}
    written = StampSet(target.place, (part,), metadata, {})
    first = 0
    for batch in written.batches(part, batch_rows=1024, scratch=scratch, verify=True):
        pixels = pixels_of(batch, size_px=target.size_px, where=target.place.show(part.path))
        columns = pa.Table.from_batches([batch.drop_columns(list(PIXEL_COLUMNS))])
        stop = first + len(batch)
        same = (pixel_checksums(pixels) == checksums[0][first:stop]) & (
            column_checksums(columns) == checksums[1][first:stop]
        )
        if not same.all():
            name = columns.column("task_id")[int(np.flatnonzero(~same)[0])]
            raise ValueError(
                f"{target.place.show(part.path)}: {np.count_nonzero(~same)} rows are not those of the input, first "
                f"{name}; the disk or the memory is at fault: run the same command again"
            )
        first = stop
    if first != file.n_rows:
        raise ValueError(f"{target.place.show(part.path)}: {first} rows read back of {file.n_rows} written")
