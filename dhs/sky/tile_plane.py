"""Reads rectangles of tiles of a tile-compressed FITS image, without astropy's cost per call.

`CompImageHDU.section` does the same, and a test holds the two equal; but it looks some seventy header cards up at every
call and two more at every tile, which together take longer than to decompress a tile of 100x100. Here header, table and
heap are read once, as plain dicts and arrays, and handed to the function that `section` itself calls. That function is
astropy's own business (the same from 7.0 to 8.0): this module is the only one that knows it.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._tiled_compression import decompress_image_data_section
from astropy.utils.exceptions import AstropyUserWarning


class TilePlane:
    """The two-dimensional image of an open file; ``tile_shape`` is all of it where it is not compressed."""

    def __init__(self, hdu: Any, *, path: str) -> None:
        self.header: fits.Header = hdu.header
        self.shape: tuple[int, int] = hdu.shape
        self._path, self._hdu = path, hdu
        self._compressed = isinstance(hdu, fits.CompImageHDU)
        self.tile_shape: tuple[int, int] = hdu.tile_shape if self._compressed else hdu.shape
        if self._compressed:
            table = hdu._bintable
            self._type, self._table = hdu.compression_type, _Columns(table.data)
            self._table_header, self._image_header = dict(table.header), dict(hdu.header)
            self._heap = _Heap(table)

    def read(self, tile_row: int, first_column: int, last_column: int) -> np.ndarray:
        """Tiles ``first_column`` to ``last_column``, that one included, of one row of tiles; OSError where damaged."""
        if not self._compressed:
            return self._hdu.data
        try:
            return decompress_image_data_section(
                self._table,
                self._type,
                self._table_header,
                self._heap,
                self._image_header,
                np.array([tile_row, first_column]),
                np.array([tile_row, last_column]),
            )
        except Exception as error:  # a damaged tile fails in the decoder, with cfitsio's, zlib's or numpy's own errors
            raise OSError(f"{self._path}: tiles {first_column} to {last_column} of row {tile_row}: {error}") from error


class _Columns:
    """The table of tiles: of a FITS_rec, only what the decoder asks for, its columns as plain arrays."""

    def __init__(self, records: Any) -> None:
        self._coldefs = records._coldefs
        self.dtype = SimpleNamespace(names=records.dtype.names)
        self._columns = {name: np.array(records[name]) for name in records.dtype.names}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]


class _Heap:
    """The compressed tiles, mapped: of a BinTableHDU, only what the decoder asks for."""

    _data_offset = _theap = 0

    def __init__(self, table: Any) -> None:
        size = table.header["PCOUNT"]
        self._bytes = table._get_raw_data(size, np.uint8, table._data_offset + table._theap)

    def _get_raw_data(self, size: int, dtype: np.dtype, offset: int) -> np.ndarray:
        data = self._bytes[offset : offset + size * dtype.itemsize]
        return data.view(dtype) if dtype.itemsize > 1 else data


@contextmanager
def open_plane(path: str) -> Iterator[TilePlane]:
    """The first two-dimensional image of a file or URL. A truncated file is an error, not a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*truncated.*", category=AstropyUserWarning)
        with fits.open(_source_of(path), memmap=True) as hdus:
            planes = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2]
            if not planes:
                raise ValueError(f"{path}: no two-dimensional image")
            yield TilePlane(planes[0], path=path)


def _source_of(path: str) -> Any:
    """A path as it is; of a URL the whole file, in one request."""
    if "://" not in path:
        return path
    import fsspec

    with fsspec.open(path, "rb") as file:
        return BytesIO(file.read())
