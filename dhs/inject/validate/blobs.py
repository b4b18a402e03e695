"""The user's Gen5 stamps: an NPZ archive in a binary column, decoded without ever running what is in it.

Only the members asked for are read, each of them checked before a byte is allocated for it: stored size, `.npy` header
(float, square, two-dimensional), then the CRC that every zip member carries. Pickled object arrays are refused by their
header. Nothing else of `numpy.load` is needed, so nothing else can go wrong.
"""

import io
import zipfile
import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dhs.constants import BANDS

MAX_MEMBER_BYTES = 16 * 2**20
"""A member that says it is larger is no stamp: 1,448 pixels a side in double precision."""

SINGLE_KEYS = ("image", "stamp", "images")
"""One array for all bands, (band, y, x) or (y, x, band)."""


class Stamp(NamedTuple):
    """One decoded stamp."""

    image: np.ndarray
    """(3, N, N) float32."""
    good: np.ndarray | None
    """(3, N, N) bool where the archive has inverse variances or a mask."""


class BadBlob(ValueError):
    """Why a blob is no stamp, in a few words that can be counted."""


def decode(blob: bytes | None) -> Stamp:
    """The stamp in ``blob``; BadBlob (its message a reason of a few words) where there is none."""
    if blob is None:
        raise BadBlob("no blob")
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            return Stamp(_image(archive, members), _good(archive, members))
    except BadBlob:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
        raise BadBlob("not a zip archive, or truncated") from None
    except (NotImplementedError, RuntimeError, ValueError, KeyError):
        raise BadBlob("a member cannot be read") from None


Members = dict[str, zipfile.ZipInfo]


def _image(archive: zipfile.ZipFile, members: Members) -> np.ndarray:
    split = [f"image_{band}" for band in BANDS]
    if all(name in members for name in split):
        planes = [_array(archive, members[name]) for name in split]
        if any(plane.ndim != 2 or plane.shape != planes[0].shape for plane in planes):
            raise BadBlob("bands of different shapes")
        return _checked(np.stack(planes))
    single = next((name for name in SINGLE_KEYS if name in members), None)
    if single is None:
        raise BadBlob("no image_g, image_r, image_z")
    image = _array(archive, members[single])
    if image.ndim == 3 and image.shape[-1] == len(BANDS) and image.shape[0] != len(BANDS):
        image = np.moveaxis(image, -1, 0)
    return _checked(image)


def _checked(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[0] != len(BANDS) or image.shape[1] != image.shape[2]:
        raise BadBlob("wrong shape")
    return np.ascontiguousarray(image, np.float32)


def _good(archive: zipfile.ZipFile, members: Members) -> np.ndarray | None:
    """Pixels with data: ``invvar_g``... above 0, or ``mask_g``... (``mask``) equal to 0, whichever is there."""
    for stem, is_good in (("invvar", lambda values: values > 0), ("mask", lambda values: values == 0)):
        names = [f"{stem}_{band}" for band in BANDS]
        if all(name in members for name in names):
            planes = [_array(archive, members[name], kinds="fiub") for name in names]
            if any(plane.shape != planes[0].shape for plane in planes):
                raise BadBlob("masks of different shapes")
            return np.stack([is_good(plane) for plane in planes])
        if stem in members:
            plane = is_good(_array(archive, members[stem], kinds="fiub"))
            return np.broadcast_to(plane, (len(BANDS), *plane.shape[-2:])).copy()
    return None


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, kinds: str = "f") -> np.ndarray:
    """One member as an array whose dtype kind is one of ``kinds``."""
    if info.file_size > MAX_MEMBER_BYTES:
        raise BadBlob("a member is too large")
    data = archive.read(info)
    version = np.lib.format.read_magic(io.BytesIO(data[:8]))
    length_bytes = 2 if version == (1, 0) else 4
    start = 8 + length_bytes
    end = start + int.from_bytes(data[8:start], "little")
    shape, fortran, dtype = _header(data[:end])
    if dtype.hasobject:
        raise BadBlob("pickled objects")
    if dtype.kind not in kinds:
        raise BadBlob("wrong dtype")
    if int(np.prod(shape)) * dtype.itemsize != len(data) - end:
        raise BadBlob("wrong shape")
    flat = np.frombuffer(data, dtype, offset=end)
    return flat.reshape(shape, order="F" if fortran else "C")


@lru_cache(maxsize=64)
def _header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype of an `.npy` header: all stamps of a set have the same few."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
