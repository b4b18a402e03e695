"""`StampSet`: a finished set of stamps, of Parquet parts or of tar shards, read part by part in bounded memory.

    stamps = open_stamp_set("s3://bucket/stamps")
    for part in stamps.parts:
        for batch in stamps.batches(part, columns=("task_id", "image", "bad_pixels", "cutout_ok")): ...

Whoever reads stamps reads both kinds through this: a shard's rows are given with the columns of a Parquet part.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC, SPLITS
from dhs.inject.stampset.pixels import PIXEL_COLUMNS, StampPixels, n_bad_bytes, n_values, pixel_columns
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.tar_layout import StampLayout, map_shard
from dhs.sky.shards import sha256_of

METADATA_KEY = b"dhs_stamps"
SCHEMA_VERSION = 1
SUCCESS, JOB, LEDGER = "_SUCCESS.json", "job.json", "_ledger"

SHARD_COLUMNS = ("sample", "offset", "crc32")
"""What the columns beside a tar shard have more than a part: place in the shard and checksum of the pixels."""


@dataclass(frozen=True)
class Part:
    """One part of a set, as its ledger has it."""

    number: int
    path: str
    """Parquet file, relative to the set: all columns, without pixels where there is a ``tar``."""
    split: str
    n_rows: int
    n_ok: int
    sha256: str
    n_bytes: int
    tar: str | None = None
    tar_sha256: str | None = None
    tar_bytes: int | None = None

    @classmethod
    def of_ledger(cls, number: int, entry: dict[str, Any]) -> "Part":
        tar = entry.get("tar") or {}
        return cls(
            number,
            *(entry[key] for key in ("path", "split", "n_rows", "n_ok", "sha256", "n_bytes")),
            *(tar.get(key) for key in ("path", "sha256", "n_bytes")),
        )


@dataclass(frozen=True)
class StampSet:
    """A finished stamp set; make one with `open_stamp_set`."""

    place: Place
    parts: tuple[Part, ...]
    metadata: dict[str, Any]
    """Of the schema (`dhs_stamps`): configuration, manifest, versions, stamp size."""
    totals: dict[str, Any]
    """_SUCCESS.json."""

    @property
    def size_px(self) -> int:
        return int(self.metadata["stamp_size_px"])

    @property
    def n_rows(self) -> int:
        return sum(part.n_rows for part in self.parts)

    @property
    def is_sharded(self) -> bool:
        """Tar shards with columns beside them."""
        return all(part.tar for part in self.parts)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over the parts' own: equal sets have equal ones, wherever they lie."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(f"{part.path} {part.sha256} {part.tar_sha256}\n".encode())
        return digest.hexdigest()

    @cached_property
    def schema(self) -> pa.Schema:
        """Of a part's rows, pixels included."""
        return self._full_schema(self._part_schema(self.parts[0]))

    def __getstate__(self) -> dict[str, Any]:
        """Without the schema: a pickled list type loses the name of its items."""
        return {name: value for name, value in self.__dict__.items() if name != "schema"}

    def batches(
        self,
        part: Part,
        *,
        columns: Sequence[str] | None = None,
        batch_rows: int = 1024,
        scratch: Path | None = None,
        verify: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of ``part`` in order, ``columns`` of them (null: all). Files that are not local pass ``scratch``.

        ValueError (one line) where a file is damaged; with ``verify`` its SHA-256 is compared first.
        """
        folder = scratch or Path(tempfile.gettempdir())
        with self.place.fetched(part.path, scratch=folder) as path:
            self.require_whole(path, part.path, n_bytes=part.n_bytes, sha256=part.sha256 if verify else None)
            if part.tar is None or not set(PIXEL_COLUMNS) & set(columns or PIXEL_COLUMNS):
                wanted = None if columns is None else [name for name in columns if name not in SHARD_COLUMNS]
                for batch in self._parquet(path, part.path, columns=wanted, batch_rows=batch_rows):
                    yield batch if part.tar is None else batch.drop_columns(_present(batch, SHARD_COLUMNS))
                return
            with self.place.fetched(part.tar, scratch=folder) as tar:
                self.require_whole(tar, part.tar, n_bytes=part.tar_bytes, sha256=part.tar_sha256 if verify else None)
                yield from self._sharded(path, tar, part, columns=columns, batch_rows=batch_rows)

    def _sharded(
        self, path: Path, tar: Path, part: Part, *, columns: Sequence[str] | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        views = map_shard(tar, StampLayout(self.size_px))
        names = None if columns is None else sorted({*columns, "sample", "cutout_ok"} - set(PIXEL_COLUMNS))
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        for batch in self._parquet(path, part.path, columns=names, batch_rows=batch_rows):
            ok = batch.column("cutout_ok").to_numpy(zero_copy_only=False).astype(bool)
            sample = batch.column("sample").to_numpy()[ok]
            n = len(batch)
            image = np.zeros((n, n_values(self.size_px)), np.float32)
            bad = np.full((n, n_bad_bytes(self.size_px)), 0xFF, np.uint8)
            image[ok], bad[ok] = views["image"][sample].reshape(len(sample), -1), views["bad_pixels"][sample]
            pixels = pixel_columns(
                StampPixels(image, bad, ok),
                image_type=self.schema.field("image").type,
                bad_type=self.schema.field("bad_pixels").type,
            )
            at_hand = dict(zip(PIXEL_COLUMNS, pixels, strict=True))
            arrays = [at_hand[name] if name in at_hand else batch.column(name) for name in schema.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _parquet(
        self, path: Path, name: str, *, columns: list[str] | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):  # one at a time: across them the reader keeps what it has read
                    yield from file.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=False)
        except (pa.ArrowInvalid, OSError, pa.ArrowKeyError) as error:
            raise ValueError(f"{self.place.show(name)}: not readable ({_first_line(error)}); {REMEDY}") from None

    def require_whole(self, path: Path, name: str, *, n_bytes: int | None, sha256: str | None = None) -> None:
        """ValueError where the file at ``path``, ``name`` of the set, has another length or checksum."""
        found = path.stat().st_size if path.is_file() else 0
        if found != n_bytes:
            raise ValueError(f"{self.place.show(name)}: {found} bytes, written were {n_bytes}; {REMEDY}")
        if sha256 is not None and sha256_of(path) != sha256:
            raise ValueError(f"{self.place.show(name)}: another SHA-256 than when it was written; {REMEDY}")

    def _part_schema(self, part: Part) -> pa.Schema:
        return _schema(self.place, part.path)

    def _full_schema(self, schema: pa.Schema) -> pa.Schema:
        """Of a shard's columns: with the pixel columns after task_id and split, without SHARD_COLUMNS."""
        if "image" in schema.names:
            return schema
        fields = [field for field in schema if field.name not in SHARD_COLUMNS]
        image = pa.field("image", pa.list_(pa.float32(), n_values(self.size_px)))
        bad = pa.field("bad_pixels", pa.binary(n_bad_bytes(self.size_px)))
        return pa.schema([*fields[:2], image, bad, *fields[2:]], metadata=schema.metadata)


REMEDY = "run the task that made the set again: it makes damaged parts anew"


def open_stamp_set(root: str | Path, *, key: str) -> StampSet:
    """The finished set at ``root``, a folder or fsspec URL; ``key`` is the setting that named it.

    Raises:
        ValueError: (one line) no such set, not finished, of another version, or not of this survey's bands and scale.
    """
    place = Place(root)
    if not place.exists(SUCCESS):
        begun = place.exists(JOB)
        remedy = "run the task that makes it to its end" if begun else "make one with `inject.py task=stamps`"
        raise ValueError(f"{key} = {root}: no {'finished ' if begun else ''}stamp set (no {SUCCESS}); {remedy}")
    names = place.names(LEDGER, suffix=".json")
    entries = [place.read_json(name) for name in names]
    parts = tuple(Part.of_ledger(_number(name), entry) for name, entry in zip(names, entries, strict=True))
    if not parts:
        raise ValueError(f"{key} = {root}: its {LEDGER} is empty; {REMEDY}")
    totals = place.read_json(SUCCESS)
    n_rows = sum(part.n_rows for part in parts)
    if totals.get("n_rows", n_rows) != n_rows:
        raise ValueError(f"{key} = {root}: its {LEDGER} has {n_rows} rows, {SUCCESS} {totals['n_rows']}; {REMEDY}")
    metadata = stamps_metadata(_schema(place, parts[0].path), where=place.show(parts[0].path))
    for what, found, allowed in (
        ("schema_version", metadata.get("schema_version"), SCHEMA_VERSION),
        ("bands", metadata.get("bands"), "".join(BANDS)),
        ("pixel_scale_arcsec", metadata.get("pixel_scale_arcsec"), PIXEL_SCALE_ARCSEC),
    ):
        if found != allowed:
            raise ValueError(f"{key} = {root}: {what} = {found}, allowed is {allowed}; make the set again")
    if unknown := sorted({part.split for part in parts} - set(SPLITS)):
        raise ValueError(f"{key} = {root}: split {unknown[0]!r}: allowed are {', '.join(SPLITS)}")
    return StampSet(place, parts, metadata, totals)


def stamps_metadata(schema: pa.Schema, *, where: str) -> dict[str, Any]:
    """What a part says of itself; ValueError where it is no part of a stamp set."""
    if METADATA_KEY not in (schema.metadata or {}):
        raise ValueError(f"{where}: no stamps of dhs (no {METADATA_KEY.decode()} in its schema)")
    return json.loads(schema.metadata[METADATA_KEY])


def _schema(place: Place, name: str) -> pa.Schema:
    try:
        with place.opened(name) as file:
            return pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{place.show(name)}: not readable ({_first_line(error)}); {REMEDY}") from None


def _number(name: str) -> int:
    return int(name.rsplit("-", 1)[1].removesuffix(".json"))


def _present(batch: pa.RecordBatch, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in batch.schema.names]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
