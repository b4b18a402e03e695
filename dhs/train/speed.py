"""How fast a run is and what it waits for: measured in every run, written to the metrics and to status.json.

perf/stamps_per_s       over all ranks, since the last line of the log (validation and pauses left out)
perf/data_wait          fraction of that time in which the step waited for the loader: 0 is what one wants
perf/rss_gib            peak memory of this process (workers share the sky and the bank with it)
perf/cuda_gib           peak of torch's allocations on the GPU
"""

import os
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from pytorch_lightning.profilers import Profiler

_IMPORTED = time.monotonic()
GIB = 2**30


class Window(NamedTuple):
    """A stretch of training."""

    steps: int
    seconds: float
    wait_s: float

    @property
    def data_wait(self) -> float:
        """Fraction of the time spent waiting for the loader."""
        return self.wait_s / max(self.seconds, 1e-9)

    def stamps_per_s(self, batch_size: int) -> float:
        return self.steps * batch_size / max(self.seconds, 1e-9)

    def __add__(self, other: object) -> "Window":
        assert isinstance(other, Window)
        return Window(self.steps + other.steps, self.seconds + other.seconds, self.wait_s + other.wait_s)


class LoaderClock(Profiler):
    """Adds up the time in which the training loop waits for a batch; Lightning calls it around every fetch."""

    FETCH = "train_dataloader_next"

    def __init__(self) -> None:
        super().__init__()
        self.wait_s = 0.0
        self._started = 0.0

    def start(self, action_name: str) -> None:
        if action_name.endswith(self.FETCH):
            self._started = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(self.FETCH):
            self.wait_s += time.perf_counter() - self._started


class Stopwatch:
    """Windows of training: from `begin` to each `lap`."""

    def __init__(self, clock: LoaderClock) -> None:
        self._clock = clock
        self.begin(step=0)

    def begin(self, *, step: int) -> None:
        """Start at ``step``; what came before is not counted."""
        self._step, self._time, self._wait_s = step, time.perf_counter(), self._clock.wait_s

    def lap(self, *, step: int) -> Window:
        """What has passed since the last lap, which ends here."""
        window = Window(step - self._step, time.perf_counter() - self._time, self._clock.wait_s - self._wait_s)
        self.begin(step=step)
        return window


def memory_gib() -> dict[str, float]:
    """Peaks of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
    peaks = {"rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB}
    if torch.cuda.is_available():
        peaks["cuda_gib"] = torch.cuda.max_memory_allocated() / GIB
    return peaks


def process_age_s() -> float:
    """Seconds since this process began: imports and composing the configuration count too."""
    try:
        started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:  # no Linux: since this module was imported
        return time.monotonic() - _IMPORTED
    return uptime_s - started_ticks / os.sysconf("SC_CLK_TCK")
