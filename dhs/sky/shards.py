"""WebDataset shards of cutouts that can be read by offset: every sample takes the same number of bytes.

A shard is a plain tar. A sample is four members named after its target id: `<id>.image.npy` (B,H,W) float32 nMgy,
`<id>.invvar.npy` (B,H,W) float32, `<id>.maskbits.npy` (H,W) int16, `<id>.json` (padded with blanks). Headers hold no
time and no user, so equal cutouts are equal bytes. The arrays are not compressed: a shard is mapped, and the images of
sample i start at i * record_bytes + a constant. `webdataset` reads the same file as any other:
`WebDataset("shard-{000000..000144}.tar").decode()`.
"""

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dhs.constants import BANDS

BLOCK = tarfile.BLOCKSIZE
JSON_BYTES = 2 * BLOCK
"""Room for a sample's JSON."""

MEMBERS = {"image": "image.npy", "invvar": "invvar.npy", "maskbits": "maskbits.npy"}


class SampleLayout:
    """Where the members of a sample of ``size_px`` lie in its record; little-endian on every machine."""

    def __init__(self, size_px: int) -> None:
        planes = (len(BANDS), size_px, size_px)
        self.shapes: dict[str, tuple[int, ...]] = {"image": planes, "invvar": planes, "maskbits": planes[1:]}
        self.dtypes: dict[str, np.dtype[Any]] = {
            "image": np.dtype("<f4"),
            "invvar": np.dtype("<f4"),
            "maskbits": np.dtype("<i2"),
        }
        self.offsets: dict[str, int] = {}
        position = 0
        for name in MEMBERS:
            head = len(npy_header(self.shapes[name], self.dtypes[name]))
            self.offsets[name] = position + BLOCK + head
            position += BLOCK + _padded(head + self.n_bytes(name))
        self.record_bytes = position + BLOCK + JSON_BYTES

    def n_bytes(self, name: str) -> int:
        """Bytes of one array of a sample."""
        return int(np.prod(self.shapes[name])) * self.dtypes[name].itemsize

    def shard_bytes(self, n_samples: int) -> int:
        """Length of a shard: its samples and the two empty blocks that end a tar."""
        return n_samples * self.record_bytes + 2 * BLOCK


class WrittenShard(NamedTuple):
    """What `write_shard` wrote: the CRC-32 of each sample's pixels, and the whole file's SHA-256 and length."""

    crc32: list[int]
    sha256: str
    n_bytes: int


def write_shard(
    path: Path, *, ids: Sequence[int], arrays: dict[str, np.ndarray], metadata: Sequence[dict[str, Any]]
) -> WrittenShard:
    """Write the samples to ``path``, atomically. ``arrays``: (n, ...) for each name of MEMBERS."""
    layout = SampleLayout(arrays["image"].shape[-1])
    checksums = []
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as raw:
        file = _Hashed(raw)
        for row, target_id in enumerate(ids):
            checksum = 0
            for name, suffix in MEMBERS.items():
                array = np.ascontiguousarray(arrays[name][row], dtype=layout.dtypes[name])
                assert array.shape == layout.shapes[name], (array.shape, layout.shapes[name])
                pixels = array.tobytes()
                checksum = zlib.crc32(pixels, checksum)
                _write_member(file, f"{target_id}.{suffix}", npy_header(array.shape, array.dtype) + pixels)
            text = json.dumps(metadata[row], allow_nan=False, separators=(",", ":")).encode()
            assert len(text) <= JSON_BYTES, f"metadata of target {target_id} take {len(text)} bytes"
            _write_member(file, f"{target_id}.json", text.ljust(JSON_BYTES))
            checksums.append(checksum)
        file.write(bytes(2 * BLOCK))
        assert raw.tell() == layout.shard_bytes(len(ids))
        raw.flush()
        os.fsync(raw.fileno())
    temporary.replace(path)
    return WrittenShard(checksums, file.digest.hexdigest(), layout.shard_bytes(len(ids)))


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


def npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The header of a `.npy` file, version 1.0: a multiple of 64 bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


class _Hashed:
    """A file whose bytes are hashed as they are written."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self._file.write(data)


def _write_member(file: _Hashed, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(_padded(len(data)) - len(data)))


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // BLOCK) * BLOCK
