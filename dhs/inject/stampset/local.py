"""The local engine: parts in processes of this machine. The bytes do not depend on how many there are.

Each process maps the store (and a bank with source.storage=mapped): the pages are the machine's, not the process's.
"""

import os
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from dhs.config.engine import LocalEngine
from dhs.inject.stampset.context import RenderContext, StampJob, process_context
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.plan import PlannedPart
from dhs.inject.stampset.render import render_groups
from dhs.inject.stampset.write import Record, write_part
from dhs.processes import follow_parent, n_cores


def make_part(part: PlannedPart, context: RenderContext) -> Record:
    """Render ``part``, write it, enter it in the ledger: what every engine does with a part."""
    groups = render_groups(part, context)
    return write_part(part, groups, place=Place(context.task.output), schema=context.schema, task=context.task)


def n_processes(engine: LocalEngine, *, job: StampJob, n_parts: int) -> int:
    """Processes to start; with a GPU one, unless the configuration asks for more."""
    default = 1 if job.config.renderer.device == "cuda" else n_cores()
    return max(1, min(engine.num_processes or default, n_parts))


def run_local(parts: list[PlannedPart], *, job: StampJob, processes: int) -> Generator[Record, None, None]:
    """Ledger entries of ``parts`` as they are finished, in any order.

    Raises:
        ValueError: (one line) a process died, or a fault of `write_part` in one of them.
    """
    # spawn: a fork of a process with torch, OpenMP or Arrow threads may hang.
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(job, os.getpid())
    ) as pool:
        try:
            futures = [pool.submit(_work, part) for part in parts]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise ValueError(
                "engine.local: a worker process died (killed, or out of memory?); finished parts are kept: run the "
                "same command again, with a smaller engine.num_processes if memory was short"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_job: StampJob
"""Of this process, where it is one of the pool's."""


def _start_worker(job: StampJob, parent: int) -> None:
    global _job
    follow_parent(parent)
    _job = job


def _work(part: PlannedPart) -> Record:
    return make_part(part, process_context(_job))
