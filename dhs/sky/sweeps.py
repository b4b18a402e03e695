"""Reads sweep and Tractor FITS tables by blocks of rows: memory is bounded whatever the file's size.

A DR10 sweep file has up to several million rows of about 600 bytes. Mapping it into memory lets the resident size grow
to that of the file, and a gzipped or remote file cannot be mapped at all; so the header is parsed by astropy and the
big-endian rows are read in blocks from a plain (or gzipped, or remote) stream. Column names match in any case: sweeps
write FLUX_R, Tractor files flux_r.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
from astropy.io import fits

FITS_SUFFIXES = (".fits", ".fits.gz", ".fit", ".fit.gz")


class DamagedFile(ValueError):
    """A file that cannot be read to its end; the message names it."""


@dataclass(frozen=True)
class Rows:
    """A block of table rows: big-endian records, columns by upper-case name."""

    records: np.ndarray

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, column: str) -> np.ndarray:
        """The column in native byte order; text is stripped and decoded, FITS logicals are bool."""
        values = self.records[column]
        if values.dtype.kind == "S":
            return np.char.strip(values.astype("U"))
        if values.dtype == np.int8:  # FITS bytes are unsigned: astropy's int8 is a logical, stored as T or F
            return values == ord("T")
        return values.astype(values.dtype.newbyteorder("="))

    def __contains__(self, column: str) -> bool:
        return column in (self.records.dtype.names or ())

    def take(self, rows: np.ndarray) -> "Rows":
        return Rows(self.records[rows])


@dataclass(frozen=True)
class SweepTable:
    """The first binary table of a FITS file: where its rows lie and what they hold."""

    path: str
    n_rows: int
    dtype: np.dtype
    offset: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Upper-case column names."""
        return self.dtype.names or ()

    def require(self, columns: Sequence[str]) -> None:
        """Raise ValueError (one line: file, what is missing) unless all ``columns`` are there."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise ValueError(
                f"{self.path}: no column {', '.join(missing)}; allowed: DR10 sweep or Tractor tables (the file has "
                f"{len(self.columns)} columns: {', '.join(self.columns[:6])}, ...)"
            )

    def blocks(self, *, rows_per_block: int) -> Iterator[Rows]:
        """The rows in order, at most ``rows_per_block`` at once. DamagedFile when the file ends early."""
        with Stream(self.path) as stream:
            stream.skip(self.offset)
            done = 0
            while done < self.n_rows:
                n = min(rows_per_block, self.n_rows - done)
                data = stream.read(n * self.dtype.itemsize)
                if len(data) < n * self.dtype.itemsize:
                    end = done + len(data) // self.dtype.itemsize
                    raise DamagedFile(f"{self.path}: ends after row {end} of {self.n_rows}: truncated; fetch it again")
                yield Rows(np.frombuffer(data, self.dtype))
                done += n


class Stream:
    """A file read forwards only, as a gzipped file or a plain HTTP server can give it; unzipped where named .gz.

    Whatever goes wrong in reading, in any of fsspec's file systems, is a DamagedFile that names the path.
    """

    SKIP_BYTES = 1 << 20

    def __init__(self, path: str) -> None:
        self.path, self.position, self._ahead = path, 0, b""
        remote = {"block_size": 0} if path.startswith(("http://", "https://")) else {}
        compression = "gzip" if path.endswith(".gz") else None
        self._file = _call(path, lambda: fsspec.open(path, "rb", compression=compression, **remote).open())

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def peek(self, n: int) -> bytes:
        """The next ``n`` bytes, which the next read gives again."""
        self._ahead = self._take(n)
        return self._ahead

    def read(self, n: int) -> bytes:
        """The next ``n`` bytes; fewer at the end of the file only."""
        data = self._take(n)
        self.position += len(data)
        return data

    def skip(self, n: int) -> None:
        while n > 0 and (data := self.read(min(n, self.SKIP_BYTES))):
            n -= len(data)

    def _take(self, n: int) -> bytes:
        parts, self._ahead = [self._ahead[:n]] if self._ahead else [], self._ahead[n:]
        missing = n - sum(map(len, parts))
        while missing and (part := _call(self.path, self._file.read, missing)):
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def open_sweep(path: str) -> SweepTable:
    """The layout of the first binary table of ``path``: a local path or an fsspec URL, gzipped or not.

    ValueError: not a FITS file by its name, scaled columns. DamagedFile: unreadable.
    """
    if not path.endswith(FITS_SUFFIXES):
        raise ValueError(f"{path}: not a sweep or Tractor file by its name; allowed: {', '.join(FITS_SUFFIXES)}")
    with Stream(path) as stream:
        if stream.peek(9) != b"SIMPLE  =":
            raise DamagedFile(f"{path}: does not begin as a FITS file does (SIMPLE  =); fetch it again")
        header = _call(path, _read_header, stream)
        while not str(header.get("XTENSION", "")).startswith("BINTABLE"):
            stream.skip(_data_size(header))
            header = _call(path, _read_header, stream)
        return SweepTable(path, int(header["NAXIS2"]), _row_dtype(path, header), stream.position)


def _read_header(stream: Stream) -> fits.Header:
    """The next header; ValueError or EOFError where there is none (what astropy only warns of is caught later)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fits.Header.fromfile(stream)


def _data_size(header: fits.Header) -> int:
    """Bytes of the data unit that follows ``header``, padded to FITS blocks of 2880."""
    axes = [int(header[f"NAXIS{i + 1}"]) for i in range(int(header["NAXIS"]))]
    elements = int(np.prod(axes, dtype=np.int64)) if axes else 0
    size = abs(int(header["BITPIX"])) // 8 * int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + elements)
    return -(-size // 2880) * 2880


def _row_dtype(path: str, header: fits.Header) -> np.dtype:
    """Big-endian record of a row, field names in upper case."""
    table = _call(path, lambda: fits.BinTableHDU.fromstring(header.tostring().encode()))
    dtype = table.columns.dtype.newbyteorder(">")
    if dtype.itemsize != int(header["NAXIS1"]):
        raise DamagedFile(f"{path}: rows of {header['NAXIS1']} bytes, columns of {dtype.itemsize}: not a valid table")
    scaled = [c.name for c in table.columns if c.bscale not in ("", None, 1) or c.bzero not in ("", None, 0)]
    if scaled:
        raise ValueError(f"{path}: scaled columns ({', '.join(scaled[:4])}: TSCAL, TZERO) are no part of DR10's tables")
    names = [name.upper() for name in dtype.names]
    return np.dtype({"names": names, "formats": [dtype[i] for i in range(len(names))], "itemsize": dtype.itemsize})


def _call(path: str, function: Any, *arguments: Any) -> Any:
    """``function(*arguments)``; whatever goes wrong in reading becomes a DamagedFile that names ``path``."""
    try:
        return function(*arguments)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (MemoryError, DamagedFile):
        raise
    except Exception as error:  # HTTP, S3 and others each have errors of their own
        line = " ".join(str(error).split()) or type(error).__name__
        raise DamagedFile(f"{path}: cannot be read ({type(error).__name__}: {line}); fetch it again") from None
