"""A lock that dies with its process: one job per store or run directory, one request at a time per host.

Children that were forked while it was held (a loader's workers, a pool) do not keep it: when the holder is killed,
the next one may start at once, whatever its orphans still do.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_LOG = logging.getLogger(__name__)

_HELD: set[int] = set()
"""Descriptors of the locks that this process holds."""


@contextmanager
def file_lock(path: Path, *, held_elsewhere: str | None) -> Iterator[None]:
    """Hold ``path`` exclusively. Where another process holds it: ValueError(``held_elsewhere``), or wait (None)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if held_elsewhere else 0))
        except BlockingIOError:
            raise ValueError(held_elsewhere) from None
        _HELD.add(file.fileno())
        try:
            yield
        finally:
            _HELD.discard(file.fileno())


@contextmanager
def file_lock_waiting(path: Path, *, waiting: str) -> Iterator[None]:
    """Hold ``path`` exclusively; where another process holds it, say ``waiting`` in the log and wait."""
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, held_elsewhere=waiting))
        except ValueError:
            _LOG.info("%s", waiting)
            stack.enter_context(file_lock(path, held_elsewhere=None))
        yield


def _let_go_in_child() -> None:
    """A forked child shares the open file, and with it the lock: point its descriptor elsewhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in _HELD:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go_in_child)
