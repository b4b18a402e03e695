"""Unpacked stacks: a bank's images once as a plain .npy file, mapped into memory by every process that needs them.

The pages of a mapped file belong to the page cache: forked workers, spawned workers and other runs on the machine
share one copy, and nothing is unpacked again. ``<folder>/bank-<key>.npy`` with ``bank-<key>.json`` beside it, which
holds the checksum; the key is that of the bank's own content, so an edited bank never meets an old stack. Both are
safe to delete. A damaged file is named in the log and made again.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhs.source.bank_read import usable_threads

LAYOUT_VERSION = 1
"""Part of the key: raise it with every change of what `dhs.source.bank_read` makes of a bank's pixels."""
BLOCK_BYTES = 16 * 1024**2

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnpackedStack:
    """A complete file of this module; picklable, a few hundred bytes."""

    path: Path
    shape: tuple[int, int, int, int]
    """(N, C, S, S)."""

    def map(self) -> np.ndarray:
        """(N, C, S, S) float32 on the file's own pages. Private: a write (nobody writes) would copy its page.

        Raises:
            FileNotFoundError, ValueError: the file has gone or changed since.
        """
        images = np.load(self.path, mmap_mode="c", allow_pickle=False)
        if images.shape != self.shape or images.dtype != np.float32:
            raise ValueError(f"{self.path}: {images.dtype} {images.shape}, expected float32 {self.shape}; delete it")
        return images


def checksum_of(path: Path) -> str:
    """sha256 of the sha256 of every 16-MiB block: as good as one over the file, and all cores work on it."""

    def block(start: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read(BLOCK_BYTES)).digest()

    with ThreadPoolExecutor(usable_threads()) as pool:
        digests = pool.map(block, range(0, max(path.stat().st_size, 1), BLOCK_BYTES))
        return hashlib.sha256(b"".join(digests)).hexdigest()


def unpacked(
    folder: Path, *, bank_checksum: str, shape: tuple[int, int, int, int], fill: Callable[[np.ndarray], None]
) -> UnpackedStack:
    """The unpacked stack of the bank with ``bank_checksum``; ``fill(out)`` writes its pixels where it is not there.

    One process fills it, others that ask at the same time wait; what ``fill`` raises leaves no file behind.

    Raises:
        ValueError: no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"bank-{bank_checksum[:16]}-v{LAYOUT_VERSION}.npy"
    stack = UnpackedStack(path, shape)
    with _locked(path):
        if not _is_sound(stack):
            _write(stack, fill=fill)
    return stack


def _is_sound(stack: UnpackedStack) -> bool:
    """Whether file and checksum are there and agree; a damaged one is said in the log."""
    record = _record_of(stack.path)
    if not stack.path.is_file() or not record.is_file():
        return False
    try:
        expected = json.loads(record.read_text())["sha256_tree"]
        stack.map()
        if checksum_of(stack.path) == expected:
            return True
        reason = "its checksum is wrong"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    _LOG.warning("%s is damaged (%s): unpacking the bank again", stack.path, reason)
    return False


def _write(stack: UnpackedStack, *, fill: Callable[[np.ndarray], None]) -> None:
    record = _record_of(stack.path)
    record.unlink(missing_ok=True)
    temporary = stack.path.with_name(f".{stack.path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w+b") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": stack.shape}
            np.lib.format.write_array_header_1_0(file, header)
            start, n_bytes = file.tell(), 4 * int(np.prod(stack.shape))
            _reserve(file.fileno(), start + n_bytes, folder=stack.path.parent)
            pixels = np.memmap(file, np.float32, "r+", offset=start, shape=stack.shape)
            fill(pixels)
            pixels.flush()
            os.fsync(file.fileno())
        checksum = checksum_of(temporary)
        temporary.replace(stack.path)
    finally:
        temporary.unlink(missing_ok=True)
    _write_text(record, json.dumps({"sha256_tree": checksum, "shape": stack.shape}) + "\n")


def _reserve(descriptor: int, n_bytes: int, *, folder: Path) -> None:
    """Allocate the file now: a mapped page without room on the disk would kill the process with SIGBUS."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        os.truncate(descriptor, n_bytes)
        return
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        raise ValueError(
            f"{folder}: no room for an unpacked bank of {n_bytes / 1e6:.0f} MB ({error.strerror}); "
            "free it, set paths.cache_dir elsewhere, or source.storage=resident"
        ) from None


def _record_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclusive between processes; freed by the system when the process dies."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
