"""A lock that dies with its process: one job per store, one request at a time per host."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path, *, held_elsewhere: str | None) -> Iterator[None]:
    """Hold ``path`` exclusively. Where another process holds it: ValueError(``held_elsewhere``), or wait (None)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if held_elsewhere else 0))
        except BlockingIOError:
            raise ValueError(held_elsewhere) from None
        yield
