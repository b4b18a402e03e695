"""Ranks: one process a device, each running the same command, gradients averaged by DistributedDataParallel.

The program that the user started is rank 0. It alone writes files, talks to the terminal and decides where to start;
it starts the others with the decision in their environment, and they do nothing but train. (Lightning would repeat
``sys.argv``: under ``--multirun`` that is the whole sweep.) None outlives another: a rank that dies ends the run at
once, not when a collective times out.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

RESUME_VARIABLE = "DHS_RESUME_FROM"
RANK_VARIABLE = "LOCAL_RANK"  # what Lightning's environment reads
EXIT_TIMEOUT_S = 60.0
GRACE_S = 5.0
POLL_S = 0.5
PROGRAM = Path(__file__).resolve().parents[1] / "train.py"


@contextmanager
def launched_ranks(
    overrides: Sequence[str], *, n_ranks: int, resume_from: Path | None, on_death: Callable[[str], None]
) -> Iterator[None]:
    """Ranks 1 to ``n_ranks`` - 1 run beside the block; rank 0's environment is set within it.

    When one of them dies, ``on_death`` is told in a line and this process ends with exit code 1.
    """
    if n_ranks == 1:
        yield
        return
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(n_ranks),
        RESUME_VARIABLE: str(resume_from or ""),
    }
    command = [sys.executable, str(PROGRAM), *overrides]
    others = [
        subprocess.Popen(command, env=os.environ | shared | {RANK_VARIABLE: str(rank)}) for rank in range(1, n_ranks)
    ]
    finished = threading.Event()
    threading.Thread(target=_watch, args=(others, finished, on_death), daemon=True, name="rank-watch").start()
    try:
        with _environment(shared | {RANK_VARIABLE: "0"}):
            yield
    except BaseException:
        finished.set()
        _end(others)
        raise
    finished.set()
    for process in others:
        process.wait(timeout=EXIT_TIMEOUT_S)


def this_rank() -> int:
    """Number of this process among the ranks of its run."""
    return int(os.environ.get(RANK_VARIABLE, "0")) if RESUME_VARIABLE in os.environ else 0


def given_start() -> Path | None:
    """The checkpoint that rank 0 has chosen."""
    path = os.environ[RESUME_VARIABLE]
    return Path(path) if path else None


def die_with_parent() -> None:
    """End this process when the one that started it is gone: it would wait in a collective for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def leave_group() -> None:
    """Dissolve torch's process group: the next run of this process may have another size."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _watch(others: list[subprocess.Popen[bytes]], finished: threading.Event, on_death: Callable[[str], None]) -> None:
    while not finished.wait(POLL_S):
        for rank, process in enumerate(others, start=1):
            if process.poll():
                if finished.wait(POLL_S):  # rank 0 has met the same fault, and says so itself
                    return
                on_death(f"rank {rank} ended with exit code {process.returncode}; its own message is above")
                _end(others)
                os._exit(1)


def _end(others: list[subprocess.Popen[bytes]]) -> None:
    """Give them a moment to end by themselves, then kill."""
    deadline = time.monotonic() + GRACE_S
    for process in others:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
