"""Runs a function that releases the GIL over parts of a batch, on torch's number of threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

MIN_PER_THREAD = 8
"""Stamps below which another thread costs more than it brings (threads are started anew: none outlives a fork)."""


def in_threads(work: Callable[[slice], None], n: int) -> None:
    """``work(part)`` for equal parts of range(n); an exception of any part is raised here."""
    n_threads = max(1, min(torch.get_num_threads(), n // MIN_PER_THREAD))
    if n_threads == 1:
        work(slice(0, n))
        return
    edges = [n * i // n_threads for i in range(n_threads + 1)]
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(work, slice(a, b)) for a, b in zip(edges, edges[1:], strict=False)]:
            done.result()
