"""Stopping when a queue says so: SIGTERM (pre-emption, time limit), SIGUSR1 (`sbatch --signal=USR1@120`)
and SIGUSR2 (submitit).

While the network trains, the step in hand is finished and saved first (`dhs.train.keep`); at any other time there is
nothing to lose and the program stops at once. It exits with 128 + the signal's number, 143, 138 or 140, as a
shell reports a process that the signal ended: a queue, a Makefile or `&&` sees a job that is not done, and the same
command continues it.

A queue sends its signals to every process of a job, and a step that has lost a loader's worker cannot be finished: the
workers stop only when their own parent says so.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Preempted(BaseException):
    """The run was told to stop. Not an Exception: nothing that handles errors may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class StopRequest:
    """What a signal has asked for: `watching`, it raises Preempted at once, or (`deferred`) only notes it."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._pid = os.getpid()
        self._deferred = False

    @contextmanager
    def watching(self) -> Iterator["StopRequest"]:
        """Handle the signals within the block. The handlers of before return after it, and are told: submitit's, for
        one, puts the job back into the queue."""
        before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
        self.handle_signals()
        try:
            yield self
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
            earlier = None if self.signum is None else before[signal.Signals(self.signum)]
            if callable(earlier) and self.signum is not None:
                earlier(self.signum, None)

    def handle_signals(self) -> None:
        """Install the handlers; again where a library has put its own in their place."""
        for signum in STOP_SIGNALS:
            signal.signal(signum, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a signal is noted, for the block to act upon; left over at its end, it stops the program."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.signum is not None:
            raise Preempted(self.signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked child (a pool) is no run
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        self.signum = signum
        if not self._deferred:
            raise Preempted(signum)


def stop_with_parent_only(worker: Any = None) -> None:
    """A loader's ``worker_init_fn``: SIGUSR1 and 2 are ignored, and SIGTERM unless the parent sends it (to a worker
    that is left over at its exit; ignored, it would wait for it for ever)."""
    for signum in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # macOS: no telling who sent it
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_heed_parent, daemon=True, name="sigterm").start()


def _heed_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
