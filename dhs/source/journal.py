"""Finished parts of a bank on disk, so that a killed build continues: `.<bank>.journal-<key>/part-<rows>.bin`.

The key is a hash of everything that decides the templates, so that a build of another configuration or catalogue never
meets these parts. A part is a blake2b digest and an uncompressed npz, written to a temporary name, fsynced and renamed;
one whose digest does not fit is named in the log and done again. About 37 kB an accepted galaxy; removed when the bank
is written. One build at a time holds the journal's lock.
"""

import copy
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Mapping
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import numpy as np

from dhs.source.candidates import Part

_LOG = logging.getLogger(__name__)
_DIGEST_BYTES = 32
_COLUMN = "column."


class Journal:
    """The parts of one build."""

    def __init__(self, bank: Path, *, decides: Mapping[str, object]) -> None:
        key = blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=6).hexdigest()
        self.folder = bank.with_name(f".{bank.name}.journal-{key}")
        self._lock: int | None = None

    def open(self) -> int:
        """Make the folder, take its lock, and return how many parts it holds; ValueError where another build has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise ValueError(f"{self.folder}: another process builds this bank; wait for it, or end it") from None
        return len(list(self.folder.glob("part-*.bin")))

    def close(self) -> None:
        """Let go of the lock; the parts stay."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def without_lock(self) -> "Journal":
        """The same parts for another process: the lock is the build's."""
        other = copy.copy(self)
        other._lock = None
        return other

    def remove(self) -> None:
        """The bank is written, or never will be."""
        shutil.rmtree(self.folder)

    def write(self, part: Part) -> None:
        columns = {f"{_COLUMN}{name}": column for name, column in part.columns.items()}
        packed = BytesIO()
        np.savez(packed, rows=part.rows, verdict=part.verdict, images=part.images, **columns)  # type: ignore[arg-type]
        path = self._path(part.rows)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            file.write(blake2b(packed.getbuffer(), digest_size=_DIGEST_BYTES).digest())
            file.write(packed.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def read(self, rows: np.ndarray) -> Part | None:
        """The part of ``rows``; None where it is absent or damaged."""
        path = self._path(rows)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        packed = memoryview(content)[_DIGEST_BYTES:]
        if blake2b(packed, digest_size=_DIGEST_BYTES).digest() != content[:_DIGEST_BYTES]:
            _LOG.warning("%s is damaged: doing its %d galaxies again", path, len(rows))
            return None
        with np.load(BytesIO(packed), allow_pickle=False) as stored:
            columns = {name.removeprefix(_COLUMN): stored[name] for name in stored.files if name.startswith(_COLUMN)}
            return Part(stored["rows"], stored["verdict"], stored["images"], columns)

    def _path(self, rows: np.ndarray) -> Path:
        name = blake2b(np.ascontiguousarray(rows, "<i8").tobytes(), digest_size=8).hexdigest()
        return self.folder / f"part-{name}.bin"
