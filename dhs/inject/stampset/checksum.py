"""CRC-32 of a row's pixels and of its other columns: what shows that a rewritten row is the one that was read."""

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dhs.inject.stampset.pixels import StampPixels

_SEPARATOR, _NULL = "\x1f", "\x00"


def pixel_checksums(pixels: StampPixels) -> np.ndarray:
    """(n,) int64 CRC-32 of image and mask, as `dhs.sky.shards.write_samples` gives it; -1 for a row without pixels."""
    found = np.full(len(pixels.ok), -1, np.int64)
    for row in np.flatnonzero(pixels.ok).tolist():
        found[row] = zlib.crc32(pixels.bad[row], zlib.crc32(pixels.image[row]))
    return found


def column_checksums(columns: pa.Table) -> np.ndarray:
    """(n,) int64 CRC-32 of all ``columns`` of a row, in their order: bit patterns of numbers, strings, and nulls."""
    text: list[pa.Array] = []
    parts: list[np.ndarray] = []
    for column in columns.columns:
        array = column.combine_chunks()
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            text.append(array.cast(pa.string()))
        else:
            parts.append(_bytes_of(array))
            parts.append(array.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)[:, None])
    fixed = np.ascontiguousarray(np.hstack(parts)) if parts else np.zeros((columns.num_rows, 0), np.uint8)
    if not text:
        return np.array([zlib.crc32(row) for row in fixed], np.int64)
    joined = pc.binary_join_element_wise(*text, _SEPARATOR, null_handling="replace", null_replacement=_NULL)
    words = joined.cast(pa.binary()).to_pylist()
    return np.array([zlib.crc32(word, zlib.crc32(row)) for row, word in zip(fixed, words, strict=True)], np.int64)


def _bytes_of(array: pa.Array) -> np.ndarray:
    """(n, width) uint8 of a column of numbers; nulls are zero."""
    if array.null_count:
        array = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    values = np.ascontiguousarray(array.to_numpy(zero_copy_only=False))
    if values.dtype.kind not in "biuf":
        raise ValueError(f"a column of a stamp set is {array.type}: allowed are numbers, booleans and strings")
    return values.view(np.uint8).reshape(len(values), -1)
