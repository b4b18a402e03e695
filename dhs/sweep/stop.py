"""Signals that end a sweep: noted, never raised, so that every job can save what it has."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
PARENT_VARIABLE = "DHS_PARENT_PID"
POLL_S = 0.5


class StopFlag:
    """Which signal has come, and how often: the second Ctrl-C is an order."""

    def __init__(self, *, on_stop: Callable[[], None] = lambda: None) -> None:
        self.signum: int | None = None
        self.count = 0
        self._on_stop = on_stop

    @property
    def exit_code(self) -> int:
        """As a shell reports a process that the signal ended."""
        return 128 + (self.signum or signal.SIGTERM)

    @contextmanager
    def watching(self) -> Iterator["StopFlag"]:
        """Note the signals within the block (of a main thread). The handlers of before return after it, and are told:
        submitit's puts the job back into the queue, a sweep's stops the sweep."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        heeded = [each for each in STOP_SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]  # nohup's stay ignored
        before = {signum: signal.signal(signum, self._note) for signum in heeded}
        try:
            yield self
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
        earlier: Any = None if self.signum is None else before[signal.Signals(self.signum)]
        if callable(earlier) and earlier is not signal.default_int_handler:
            earlier(self.signum, None)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self.count += 1
        self._on_stop()


def stop_with_sweep() -> None:
    """In a job: when the process that started it is gone (kill -9), stop as at SIGTERM, with the state saved."""
    parent = int(os.environ.pop(PARENT_VARIABLE, "0"))  # not for this process's own children
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="sweep-watch").start()
