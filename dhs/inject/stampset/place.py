"""A folder of files, on a disk or behind an fsspec URL: what a stamp set is read from and written to.

A file appears under its name whole or not at all: on a disk by a temporary name, fsync and rename; in an object store
because an upload becomes visible when it is closed, and one that failed is given up. Listings are never remembered:
other processes write into the same folder.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

BLOCK_BYTES = 8 * 2**20


class Place:
    """The folder ``root``: a path or an fsspec URL. Names are relative to it, with `/`."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root).rstrip("/")
        try:
            self._files, self._base = fsspec.core.url_to_fs(self.root, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ValueError(f"{self.root}: {error}") from None

    @property
    def local(self) -> Path | None:
        """The folder, where it is on this machine's disks."""
        return Path(self._base) if isinstance(self._files, LocalFileSystem) else None

    def show(self, name: str) -> str:
        """``name`` with its folder, for messages."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self._files.exists(self._full(name)))

    def n_bytes(self, name: str) -> int | None:
        """Length of a file; None where there is none."""
        try:
            return int(self._files.size(self._full(name)))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """A small file. FileNotFoundError where there is none."""
        return bytes(self._files.cat_file(self._full(name)))

    def read_json(self, name: str) -> dict[str, Any]:
        """ValueError (one line) where it is not JSON."""
        try:
            return json.loads(self.read(name))
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.show(name)}: not readable as JSON ({error})") from None

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """A file to read from, at any place of it."""
        with self._files.open(self._full(name), "rb") as file:
            yield file

    def names(self, folder: str, *, suffix: str) -> list[str]:
        """Files of ``folder`` that end with ``suffix``, sorted; none where there is no such folder."""
        self._files.invalidate_cache(self._full(folder))  # others write there too
        if not self._files.isdir(self._full(folder)):
            return []
        found = [str(path).rsplit("/", 1)[-1] for path in self._files.ls(self._full(folder), detail=False)]
        return sorted(f"{folder}/{name}" for name in found if name.endswith(suffix) and not name.startswith("."))

    def remove(self, name: str) -> None:
        """Nothing where there is no such file."""
        if self.exists(name):
            self._files.rm_file(self._full(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write; it gets its name when the block ends without an error."""
        local = self.local
        if local is None:
            yield from self._uploading(name)
            return
        target = local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _uploading(self, name: str) -> Iterator[IO[bytes]]:
        file = self._files.open(self._full(name), "wb")
        try:
            yield file
        except BaseException:
            file.discard()
            file.closed = True  # or it would be uploaded when it is collected
            raise
        file.close()

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        with self.writing(name) as file:
            file.write((json.dumps(content, indent=2, sort_keys=True) + "\n").encode())

    def sha256(self, name: str) -> str:
        """Of a whole file, in a stream."""
        digest = hashlib.sha256()
        with self._files.open(self._full(name), "rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    @contextmanager
    def fetched(self, name: str, *, scratch: Path) -> Iterator[Path]:
        """A path on this machine with the file's content: the file itself, or a copy that is removed afterwards."""
        if self.local is not None:
            yield self.local / name
            return
        scratch.mkdir(parents=True, exist_ok=True)
        copy = scratch / f"{os.getpid()}-{name.replace('/', '-')}"
        try:
            self._files.get_file(self._full(name), str(copy))
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def _full(self, name: str) -> str:
        return f"{self._base}/{name}"
