"""WebDataset shards of cutouts that can be read by offset: every sample takes the same number of bytes.

A shard is a plain tar. A sample is four members named after its target id: `<id>.image.npy` (B,H,W) float32 nMgy,
`<id>.invvar.npy` (B,H,W) float32, `<id>.maskbits.npy` (H,W) int16, `<id>.json` (padded with blanks). Headers hold no
time and no user, so equal cutouts are equal bytes. The arrays are not compressed: a shard is mapped, and the images of
sample i start at i * record_bytes + a constant. `webdataset` reads the same file as any other:
`WebDataset("shard-{000000..000144}.tar").decode()`.

Finished stamps lie in shards of the same kind, with members of their own (`dhs.inject.stampset`).
"""

import functools
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dhs.constants import BANDS

BLOCK = tarfile.BLOCKSIZE
JSON_BYTES = 2 * BLOCK
"""Room for a sample's JSON."""

MEMBERS = {"image": "image.npy", "invvar": "invvar.npy", "maskbits": "maskbits.npy"}


class Member(NamedTuple):
    """One array of every sample; ``dtype`` little-endian on every machine."""

    suffix: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class RecordLayout:
    """Where the members of a sample lie in its record: arrays as `.npy` in the order given, then its JSON."""

    def __init__(self, members: dict[str, Member]) -> None:
        self.members = members
        self.shapes = {name: member.shape for name, member in members.items()}
        self.dtypes = {name: member.dtype for name, member in members.items()}
        self.offsets: dict[str, int] = {}
        position = 0
        for name, member in members.items():
            head = len(npy_header(member.shape, member.dtype))
            self.offsets[name] = position + BLOCK + head
            position += BLOCK + _padded(head + self.n_bytes(name))
        self.record_bytes = position + BLOCK + JSON_BYTES

    def n_bytes(self, name: str) -> int:
        """Bytes of one array of a sample."""
        return int(np.prod(self.shapes[name])) * self.dtypes[name].itemsize

    def shard_bytes(self, n_samples: int) -> int:
        """Length of a shard: its samples and the two empty blocks that end a tar."""
        return n_samples * self.record_bytes + 2 * BLOCK


class SampleLayout(RecordLayout):
    """A cutout of ``size_px``."""

    def __init__(self, size_px: int) -> None:
        planes = (len(BANDS), size_px, size_px)
        super().__init__(
            {
                "image": Member(MEMBERS["image"], planes, np.dtype("<f4")),
                "invvar": Member(MEMBERS["invvar"], planes, np.dtype("<f4")),
                "maskbits": Member(MEMBERS["maskbits"], planes[1:], np.dtype("<i2")),
            }
        )


class WrittenShard(NamedTuple):
    """What `write_shard` wrote: the CRC-32 of each sample's pixels, and the whole file's SHA-256 and length."""

    crc32: list[int]
    sha256: str
    n_bytes: int


def write_shard(
    path: Path, *, ids: Sequence[int], arrays: dict[str, np.ndarray], metadata: Sequence[dict[str, Any]]
) -> WrittenShard:
    """Write the cutouts to ``path``, atomically. ``arrays``: (n, ...) for each name of MEMBERS."""
    layout = SampleLayout(arrays["image"].shape[-1])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        written = write_samples(file, layout, keys=[str(number) for number in ids], arrays=arrays, metadata=metadata)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return written


def write_samples(
    file: IO[bytes],
    layout: RecordLayout,
    *,
    keys: Sequence[str],
    arrays: dict[str, np.ndarray],
    metadata: Sequence[dict[str, Any]],
) -> WrittenShard:
    """A whole shard into ``file``. ``arrays``: (n, ...) for each member of ``layout``; a key holds no dot.

    ValueError where a sample's metadata take more than JSON_BYTES.
    """
    hashed, checksums = _Hashed(file), []
    for row, key in enumerate(keys):
        checksum = 0
        for name, member in layout.members.items():
            array = np.ascontiguousarray(arrays[name][row], dtype=member.dtype)
            assert array.shape == member.shape, (array.shape, member.shape)
            pixels = array.tobytes()
            checksum = zlib.crc32(pixels, checksum)
            _write_member(hashed, f"{key}.{member.suffix}", npy_header(array.shape, array.dtype) + pixels)
        text = json.dumps(metadata[row], allow_nan=False, separators=(",", ":")).encode()
        if len(text) > JSON_BYTES:
            raise ValueError(f"sample {key}: its metadata take {len(text)} bytes, allowed are {JSON_BYTES}")
        _write_member(hashed, f"{key}.json", text.ljust(JSON_BYTES))
        checksums.append(checksum)
    hashed.write(bytes(2 * BLOCK))
    assert hashed.n_bytes == layout.shard_bytes(len(keys))
    return WrittenShard(checksums, hashed.digest.hexdigest(), hashed.n_bytes)


def sha256_of(path: Path) -> str:
    """Of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_of(image: np.ndarray, invvar: np.ndarray, maskbits: np.ndarray) -> int:
    """CRC-32 of a sample's pixels, as `write_shard` returns it."""
    checksum = 0
    for array, kind in ((image, "<f4"), (invvar, "<f4"), (maskbits, "<i2")):
        checksum = zlib.crc32(np.ascontiguousarray(array, dtype=kind).tobytes(), checksum)
    return checksum


@functools.cache
def npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The header of a `.npy` file, version 1.0: a multiple of 64 bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


class _Hashed:
    """A file whose bytes are hashed as they are written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest, self.n_bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.n_bytes += len(data)
        self._file.write(data)


def _write_member(file: _Hashed, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(_padded(len(data)) - len(data)))


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // BLOCK) * BLOCK
