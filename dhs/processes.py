"""Worker processes: how many, and what becomes of them when their parent is killed."""

import os
import signal
import threading
import time


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def follow_parent(parent: int) -> None:
    """Make this worker end with the process ``parent``, which alone hears Ctrl-C and lets running work finish.

    A killed parent cannot end its workers, and they would wait for it for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
