"""Which memory processes share: a worker that touches a whole source, and what Linux says of its mapping."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from dhs.source.base import StackedSource

PATIENCE_S = 120


class Place(NamedTuple):
    """Where a process has the pixels."""

    pid: int
    total: float
    """Sum of all pixels, so that every page has been read."""
    address: int
    """In their middle: the kernel may keep the first pages of a large array apart (huge pages)."""


def place_of(source: StackedSource) -> Place:
    """Read every page of the stack. With numpy: torch's thread pool does not survive a fork."""
    pixels = source.stack().images.numpy()
    return Place(os.getpid(), float(pixels.sum()), pixels.ctypes.data + pixels.nbytes // 2)


def touch_and_wait(source: StackedSource, ready: "Queue[Place]", leave: Event) -> None:
    """A worker: reads every page, says where it is, and stays until it may leave."""
    ready.put(place_of(source))
    leave.wait(PATIENCE_S)


@contextmanager
def workers_on(source: StackedSource, *, n_workers: int, method: str) -> Iterator[list[Place]]:
    """Places in ``n_workers`` processes started by ``method`` (fork, spawn), alive inside the context."""
    context = multiprocessing.get_context(method)
    ready, leave = context.Queue(), context.Event()
    workers = [
        context.Process(target=touch_and_wait, args=(source, ready, leave), daemon=True)  # type: ignore[attr-defined]
        for _ in range(n_workers)
    ]
    try:
        for worker in workers:
            worker.start()
        yield [ready.get(timeout=PATIENCE_S) for _ in workers]
    finally:
        leave.set()
        for worker in workers:
            worker.join(10)


def mapping_at(pid: int, address: int) -> tuple[str, dict[str, int]]:
    """File ('' for none) and sizes in bytes (Rss, Pss, Private_Dirty ...) of the mapping that holds ``address``.

    From /proc/PID/smaps of Linux; an anonymous mapping may hold more than what is at the address.
    """
    name: str | None = None
    found, sizes = "", dict[str, int]()
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split(maxsplit=5)
        if "-" in first and not first.endswith(":"):
            if sizes:
                break
            low, high = (int(end, 16) for end in first.split("-"))
            name = (rest[4] if len(rest) == 5 else "") if low <= address < high else None
        elif name is not None and rest[-1] == "kB":
            sizes[first[:-1]] = 1024 * int(rest[0])
            found = name
    assert sizes, f"no mapping of {pid} holds {address:x}"
    return found, sizes
