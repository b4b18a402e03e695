"""The two pixel columns of a stamp set as numpy arrays and back: `image` and `bad_pixels`.

Rows that failed (`cutout_ok` false) have no pixels: their image is null in Arrow and zeros here.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dhs.constants import BANDS

PIXEL_COLUMNS = ("image", "bad_pixels")


class StampPixels(NamedTuple):
    """Pixels of n rows of B bands and N x N pixels."""

    image: np.ndarray
    """(n, B N N) float32 nMgy, in (band, y, x) order; zeros where a row failed."""
    bad: np.ndarray
    """(n, ceil(B N N / 8)) uint8: np.packbits of the pixels that may not be used, in the same order."""
    ok: np.ndarray
    """(n,) bool: the row has pixels."""

    def take(self, rows: np.ndarray) -> "StampPixels":
        """The rows ``rows``."""
        return StampPixels(self.image[rows], self.bad[rows], self.ok[rows])


def n_values(size_px: int) -> int:
    """Pixels of a stamp, all bands."""
    return len(BANDS) * size_px * size_px


def n_bad_bytes(size_px: int) -> int:
    """Bytes of a stamp's packed mask."""
    return -(-n_values(size_px) // 8)


def pixel_bytes(size_px: int) -> int:
    """Uncompressed bytes of a stamp's two pixel columns."""
    return 4 * n_values(size_px) + n_bad_bytes(size_px)


def good_of(bad: np.ndarray, *, size_px: int) -> np.ndarray:
    """(n, B, N, N) bool from packed masks (n, bytes)."""
    bits = np.unpackbits(bad, axis=1, count=n_values(size_px))
    return bits.reshape(len(bad), len(BANDS), size_px, size_px) == 0


def pixels_of(table: pa.Table | pa.RecordBatch, *, size_px: int, where: str) -> StampPixels:
    """Of the columns `image`, `bad_pixels` and `cutout_ok`. ``where`` names the file in errors.

    Raises:
        ValueError: the columns are not those of stamps of ``size_px``, a row that is ok has no pixels or pixels that
            are not finite, or a row that failed has an image.
    """
    n = len(table)
    ok = _one(table.column("cutout_ok")).to_numpy(zero_copy_only=False).astype(bool)
    image_column, bad_column = _one(table.column("image")), _one(table.column("bad_pixels"))
    if isinstance(image_column, pa.ExtensionArray):
        image_column = image_column.storage
    _require_types(image_column.type, bad_column.type, size_px=size_px, where=where)
    for name, column in (("image", image_column), ("bad_pixels", bad_column)):
        present = column.is_valid().to_numpy(zero_copy_only=False)
        wrong = ok & ~present if name == "bad_pixels" else ok != present
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"{where}: {name} of {table.column('task_id')[row]} is {'there' if present[row] else 'null'}, but "
                f"cutout_ok = {bool(ok[row])}; make the set again"
            )
    image = np.zeros((n, n_values(size_px)), np.float32)
    image[ok] = image_column.flatten().to_numpy().reshape(-1, n_values(size_px))
    width = n_bad_bytes(size_px)
    bad = np.full((n, width), 0xFF, np.uint8)
    first = bad_column.offset * width
    whole = np.frombuffer(bad_column.buffers()[1], np.uint8, n * width, first).reshape(n, width)
    bad[ok] = whole[ok]
    finite = np.isfinite(image).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(
            f"{where}: image of {table.column('task_id')[row]} has {np.count_nonzero(~np.isfinite(image[row]))} NaN or "
            "infinite pixels, but cutout_ok = True; task=validate lists such rows, make them again"
        )
    return StampPixels(image, bad, ok)


def pixel_columns(pixels: StampPixels, *, image_type: pa.DataType, bad_type: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """`image` and `bad_pixels` of the given types; null where a row has no pixels."""
    missing = pa.array(~pixels.ok) if not pixels.ok.all() else None
    storage = image_type.storage_type if isinstance(image_type, pa.BaseExtensionType) else image_type
    values = pa.array(np.ascontiguousarray(pixels.image).reshape(-1))
    image = pa.FixedSizeListArray.from_arrays(values, type=storage, mask=missing)
    if isinstance(image_type, pa.BaseExtensionType):
        image = pa.ExtensionArray.from_storage(image_type, image)
    valid = None if missing is None else pa.py_buffer(np.packbits(pixels.ok, bitorder="little"))
    n = len(pixels.ok)
    bad = pa.Array.from_buffers(bad_type, n, [valid, pa.py_buffer(np.ascontiguousarray(pixels.bad))])
    return image, bad


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _require_types(image: pa.DataType, bad: pa.DataType, *, size_px: int, where: str) -> None:
    wanted = n_values(size_px)
    if not pa.types.is_fixed_size_list(image) or image.value_type != pa.float32() or image.list_size != wanted:
        raise ValueError(
            f"{where}: image is {image}, but stamps of {size_px} px are fixed_size_list<float>[{wanted}]; the files of "
            "a set must have one stamp size"
        )
    if not pa.types.is_fixed_size_binary(bad) or bad.byte_width != n_bad_bytes(size_px):
        raise ValueError(f"{where}: bad_pixels is {bad}, must be fixed_size_binary[{n_bad_bytes(size_px)}]")
