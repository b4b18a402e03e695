"""The stamps of a part, a few hundred at a time: pixels as one array, whatever they are stored as."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import BANDS
from dhs.inject.validate.blobs import BadBlob, decode
from dhs.inject.validate.files import PIXEL_COLUMNS, Part, StampFiles, open_parquet

STAMPS_AT_ONCE = 512
"""25 MB of 64-pixel stamps."""


@dataclass(frozen=True)
class PixelBlock:
    """Pixels of consecutive rows of one row group."""

    first: int
    """Row within the row group."""
    images: np.ndarray
    """(n, 3, N, N) float32 nMgy; zero where there is none."""
    bad: np.ndarray | None
    """(n, 3, N, N) bool; None: every pixel is good."""
    present: np.ndarray
    """(n,) bool: the row has pixels."""
    faults: dict[int, str]
    """Row of the block -> why its pixels cannot be read."""

    def __len__(self) -> int:
        return len(self.present)


def stamp_size_px(files: StampFiles, fs: Any) -> int | None:
    """Side of the set's stamps, from its first stamp; None where none can be read."""
    for part in files.parts:
        with open_parquet(fs, part.path) as file:
            if part.form == "stamps":
                return _side_of_list(file)
            for batch in file.iter_batches(batch_size=16, columns=["stamp_npz"]):
                for blob in batch["stamp_npz"]:
                    try:
                        return int(decode(blob.as_py()).image.shape[-1])
                    except BadBlob:
                        continue
    return None


def _side_of_list(file: pq.ParquetFile) -> int:
    kind = file.schema_arrow.field("image").type
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    length = getattr(storage, "list_size", -1)
    side = round((length / len(BANDS)) ** 0.5) if length > 0 else 0
    if len(BANDS) * side**2 != length:
        raise ValueError(
            f"column image is {kind}: must be a fixed-size list of {len(BANDS)} x N x N float32, or such a tensor"
        )
    return side


def pixel_blocks(
    file: pq.ParquetFile, *, part: Part, group: int, size_px: int, wanted: np.ndarray
) -> Iterator[PixelBlock]:
    """The pixels of row group ``group``; rows that are not ``wanted`` (n,) are not decoded where that costs time."""
    columns = [name for name in PIXEL_COLUMNS[part.form] if name in part.columns]
    first = 0
    for batch in file.iter_batches(STAMPS_AT_ONCE, row_groups=[group], columns=columns, use_threads=False):
        rows = slice(first, first + batch.num_rows)
        block = _from_list if part.form == "stamps" else _from_blobs
        yield block(batch, first=first, size_px=size_px, wanted=wanted[rows])
        first += batch.num_rows


def _from_list(batch: pa.RecordBatch, *, first: int, size_px: int, wanted: np.ndarray) -> PixelBlock:
    column = batch["image"]
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    present = np.asarray(column.is_valid())
    length = len(BANDS) * size_px**2
    values = column.values.to_numpy(zero_copy_only=False)[column.offset * length :][: len(column) * length]
    images = values.astype(np.float32, copy=False).reshape(len(column), len(BANDS), size_px, size_px)
    return PixelBlock(first, images, _unpacked(batch, size_px), present & wanted, {})


def _unpacked(batch: pa.RecordBatch, size_px: int) -> np.ndarray | None:
    """Bits of ``bad_pixels``; None where no pixel of the batch is bad."""
    if "bad_pixels" not in batch.schema.names:
        return None
    n, width = len(batch), -(-len(BANDS) * size_px**2 // 8)
    column = batch["bad_pixels"].fill_null(bytes(width))
    packed = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width :][: n * width].reshape(n, width)
    if not packed.any():
        return None
    bits = np.unpackbits(packed, axis=1, count=len(BANDS) * size_px**2)
    return bits.view(bool).reshape(n, len(BANDS), size_px, size_px)


def _from_blobs(batch: pa.RecordBatch, *, first: int, size_px: int, wanted: np.ndarray) -> PixelBlock:
    n = batch.num_rows
    images = np.zeros((n, len(BANDS), size_px, size_px), np.float32)
    good: np.ndarray | None = None
    present, faults = np.zeros(n, bool), {}
    for row in np.flatnonzero(wanted):
        try:
            stamp = decode(batch["stamp_npz"][row].as_py())
            if stamp.image.shape != images.shape[1:]:
                raise BadBlob(f"not {size_px} pixels a side as the set's first stamp")
            if stamp.good is not None:
                if stamp.good.shape != stamp.image.shape:
                    raise BadBlob("a mask of another shape")
                good = np.ones(images.shape, bool) if good is None else good
                good[row] = stamp.good
        except BadBlob as error:
            faults[int(row)] = str(error)
            continue
        images[row], present[row] = stamp.image, True
    return PixelBlock(first, images, None if good is None else ~good, present, faults)
