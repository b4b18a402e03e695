"""Pictures of a RealGalaxyCatalog: image HDUs of many FITS files, read with one open file and one table of offsets.

The COSMOS samples keep about 1000 galaxies a file, an HDU each. astropy and GalSim walk its headers one by one, 0.2 ms
an HDU (measured), which is as long as drawing takes: 88 files, pictures and PSFs, once for every run through the
catalogue. Here the headers are only stepped over (0.02 ms), a file is opened once for the galaxies wanted from it, and
one file of pictures and one of PSFs are open at any time. Only plain floating-point images are read: that is what the
samples hold; anything else is an error.
"""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

FITS_BLOCK_BYTES = 2880
"""FITS standard 4.0, section 3.1."""
CARD_BYTES = 80
FIRST_KEYWORDS = (b"SIMPLE", b"XTENSION")
FLOAT_TYPES: dict[bytes, np.dtype] = {b"-32": np.dtype(">f4"), b"-64": np.dtype(">f8")}


class DamagedPicture(ValueError):
    """A picture that cannot be read; the message says why."""


class PictureFile:
    """Image HDUs of one FITS file. ``file[k]`` is HDU k, (y, x) float64."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("rb")
        self._size = self._file.seek(0, 2)
        self._next = 0
        self._found: list[tuple[int, np.dtype, tuple[int, ...]]] = []

    def close(self) -> None:
        self._file.close()

    def __getitem__(self, hdu: int) -> np.ndarray:
        """Raises DamagedPicture: no such HDU, truncated, no image, or NaN."""
        while len(self._found) <= hdu:
            self._step()
        position, dtype, shape = self._found[hdu]
        if len(shape) != 2:
            raise DamagedPicture(f"HDU {hdu} is no plain floating-point image")
        n_bytes = math.prod(shape) * dtype.itemsize
        self._file.seek(position)
        data = self._file.read(n_bytes)
        if len(data) < n_bytes:
            raise DamagedPicture(f"HDU {hdu} is truncated")
        picture = np.frombuffer(data, dtype).reshape(shape).astype(np.float64)
        if not np.isfinite(picture).all():
            raise DamagedPicture(f"HDU {hdu} holds NaN or infinity")
        return picture

    def _step(self) -> None:
        """Read the next HDU's header."""
        if self._next >= self._size:
            raise DamagedPicture(f"the file has only {len(self._found)} HDUs")
        self._file.seek(self._next)
        cards = self._cards()
        bits = cards.get(b"BITPIX", b"")
        if next(iter(cards), b"") not in FIRST_KEYWORDS or not bits.lstrip(b"-").isdigit():
            raise DamagedPicture(f"HDU {len(self._found)} has no FITS header")
        axes = int(cards.get(b"NAXIS", b"0"))
        shape = tuple(int(cards[b"NAXIS%d" % axis]) for axis in range(axes, 0, -1))
        n_values = math.prod(shape) + int(cards.get(b"PCOUNT", b"0")) if axes else 0
        n_bytes = abs(int(bits)) // 8 * n_values * int(cards.get(b"GCOUNT", b"1"))
        plain = bits in FLOAT_TYPES and float(cards.get(b"BSCALE", 1)) == 1 and float(cards.get(b"BZERO", 0)) == 0
        start = self._file.tell()
        self._found.append((start, FLOAT_TYPES.get(bits, np.dtype("V1")), shape if plain else ()))
        self._next = start + math.ceil(n_bytes / FITS_BLOCK_BYTES) * FITS_BLOCK_BYTES

    def _cards(self) -> dict[bytes, bytes]:
        """Keyword to value of the header at the file's position, which moves to its end."""
        cards: dict[bytes, bytes] = {}
        while True:
            block = self._file.read(FITS_BLOCK_BYTES)
            if len(block) < FITS_BLOCK_BYTES:
                raise DamagedPicture(f"the header of HDU {len(self._found)} is truncated")
            for start in range(0, FITS_BLOCK_BYTES, CARD_BYTES):
                keyword = block[start : start + 8].rstrip()
                if keyword == b"END":
                    return cards
                cards[keyword] = block[start + 10 : start + 30].strip()


class OpenPictures:
    """The one open `PictureFile` of a series of requests; asked for another file, it closes the last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: PictureFile | None = None

    def read(self, file_name: str, *, hdu: int) -> np.ndarray:
        """(y, x) float64; DamagedPicture or FileNotFoundError."""
        path = self._folder / file_name
        if self._open is None or self._open.path != path:
            self.close()
            self._open = PictureFile(path)
        return self._open[hdu]

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
