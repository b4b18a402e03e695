"""The stamps of a part, a few hundred at a time: pixels as one array, whatever they are stored as."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import BANDS
from dhs.inject.stampset.tar_layout import StampLayout
from dhs.inject.validate.blobs import BadBlob, decode
from dhs.inject.validate.files import PIXEL_COLUMNS, Part, StampFiles, open_parquet
from dhs.sky.shards import RecordLayout

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
            if part.form == "shards":
                return int(files.metadata["stamp_size_px"])
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
    fs: Any, file: pq.ParquetFile, *, part: Part, group: int, size_px: int, wanted: np.ndarray, verify: bool
) -> Iterator[PixelBlock]:
    """The pixels of row group ``group``; rows that are not ``wanted`` (n,) are not decoded where that costs time.

    ``verify``: a shard's stamps are compared with their CRC-32.
    """
    columns = [name for name in PIXEL_COLUMNS[part.form] if name in part.columns]
    first = 0
    for batch in file.iter_batches(STAMPS_AT_ONCE, row_groups=[group], columns=columns, use_threads=False):
        some = wanted[first : first + batch.num_rows]
        if part.form == "stamps":
            yield _from_list(batch, first=first, size_px=size_px, wanted=some)
        elif part.form == "shards":
            yield _from_shard(fs, batch, part=part, first=first, size_px=size_px, wanted=some, verify=verify)
        else:
            yield _from_blobs(batch, first=first, size_px=size_px, wanted=some)
        first += batch.num_rows


def _from_list(batch: pa.RecordBatch, *, first: int, size_px: int, wanted: np.ndarray) -> PixelBlock:
    column = batch["image"]
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    present = np.asarray(column.is_valid())
    length = len(BANDS) * size_px**2
    values = column.values.to_numpy(zero_copy_only=False)[column.offset * length :][: len(column) * length]
    images = values.astype(np.float32, copy=False).reshape(len(column), len(BANDS), size_px, size_px)
    return PixelBlock(first, images, _unpacked(batch, size_px), present & wanted, {})


def _from_shard(
    fs: Any, batch: pa.RecordBatch, *, part: Part, first: int, size_px: int, wanted: np.ndarray, verify: bool
) -> PixelBlock:
    """Rows of a tar: those of a batch lie behind one another, and are read at once."""
    layout = StampLayout(size_px)
    sample = batch["sample"].to_numpy()
    n, chosen = len(sample), np.flatnonzero(wanted & (sample >= 0))
    images = np.zeros((n, *layout.shapes["image"]), np.float32)
    packed = np.zeros((n, *layout.shapes["bad_pixels"]), np.uint8)
    present, faults = np.zeros(n, bool), {}
    if len(chosen):
        low, high = int(sample[chosen].min()), int(sample[chosen].max())
        data = fs.cat_file(part.tar, start=low * layout.record_bytes, end=(high + 1) * layout.record_bytes)
        whole = sample[chosen] - low < len(data) // layout.record_bytes
        faults = {int(row): "the tar ends before this stamp" for row in chosen[~whole]}
        chosen = chosen[whole]
        views = views_of(data, layout)
        images[chosen], packed[chosen] = (views[name][sample[chosen] - low] for name in ("image", "bad_pixels"))
        present[chosen] = True
    if verify and "crc32" in batch.schema.names:
        crc = batch["crc32"].to_numpy()
        for row in chosen:
            if zlib.crc32(packed[row], zlib.crc32(images[row])) != crc[row]:
                present[row], faults[int(row)] = False, "another CRC-32 than when it was written"
    return PixelBlock(first, images, _bits(packed, size_px), present, faults)


def views_of(data: bytes, layout: RecordLayout) -> dict[str, np.ndarray]:
    """(n, ...) arrays of the members of the whole records in ``data``, without a copy."""
    n = len(data) // layout.record_bytes
    views = {}
    for name, offset in layout.offsets.items():
        dtype, shape = layout.dtypes[name], layout.shapes[name]
        strides = (layout.record_bytes, *np.empty(shape, dtype).strides)
        views[name] = np.ndarray((n, *shape), dtype, data, offset, strides)
    return views


def _unpacked(batch: pa.RecordBatch, size_px: int) -> np.ndarray | None:
    """``bad_pixels`` as (n, 3, N, N); None where no pixel of the batch is bad."""
    if "bad_pixels" not in batch.schema.names:
        return None
    n, width = len(batch), -(-len(BANDS) * size_px**2 // 8)
    column = batch["bad_pixels"].fill_null(bytes(width))
    return _bits(
        np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width :][: n * width].reshape(n, width), size_px
    )


def _bits(packed: np.ndarray, size_px: int) -> np.ndarray | None:
    if not packed.any():
        return None
    bits = np.unpackbits(packed, axis=1, count=len(BANDS) * size_px**2)
    return bits.view(bool).reshape(len(packed), len(BANDS), size_px, size_px)


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
