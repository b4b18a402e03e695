"""Runs a function that releases the GIL over parts of a batch, on torch's number of threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

import torch

MIN_PER_THREAD = 8
"""Stamps below which another thread costs more than it brings."""


def in_threads(work: Callable[[slice], None], n: int) -> None:
    """``work(part)`` for equal parts of range(n), the first by the caller; an exception of any part is raised here."""
    n_threads = max(1, min(torch.get_num_threads(), n // MIN_PER_THREAD))
    if n_threads == 1:
        work(slice(0, n))
        return
    edges = [n * i // n_threads for i in range(n_threads + 1)]
    first, *others = (slice(a, b) for a, b in zip(edges, edges[1:], strict=False))
    running = [_helpers(n_threads - 1).submit(work, part) for part in others]
    try:
        work(first)  # not left to a helper: with a caller that only waits, two threads were 1.5 times one, not 1.8
    finally:
        wait(running)  # nobody works on the caller's arrays when this returns
    for part in running:
        part.result()


@lru_cache(maxsize=1)
def _helpers(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="dhs")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads do not outlive a fork: a child starts its own
