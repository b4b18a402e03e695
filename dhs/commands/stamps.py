"""`inject.py task=stamps`: a manifest into a set of finished stamps."""

import logging
import time
from typing import TYPE_CHECKING

from dhs.config.root import InjectRoot
from dhs.config.stamps import StampsTask

if TYPE_CHECKING:
    from dhs.inject.stampset.job import Progress

log = logging.getLogger("dhs")


def stamps(config: InjectRoot) -> int:
    """Make, or finish, the set ``task.output`` and say what became of the rows."""
    from dhs.inject.stampset.job import make_stamps
    from dhs.progress import DrawingProgress

    task = config.task
    assert isinstance(task, StampsTask)
    result = make_stamps(config, report=StampsProgress(), sky_progress=DrawingProgress())
    failures = ", ".join(f"{n} {reason}" for reason, n in result["failures"].items()) or "none"
    log.info("%d of %d rows have a stamp; failed: %s", result["n_ok"], result["n_rows"], failures)
    per_row = result["n_bytes"] / result["n_rows"] / 1000
    log.info("wrote %s: %d parts, %.1f kB a stamp", task.output, result["n_parts"], per_row)
    return 0


class StampsProgress:
    """Logs rows done with rate, time to go and failures, every few seconds.

    The rate is that since the first part was there: what processes take to start says nothing of the rest.
    """

    def __init__(self, *, every_s: float = 5.0) -> None:
        self._every_s, self._last = every_s, time.monotonic()
        self._first: tuple[float, int] | None = None

    def __call__(self, state: "Progress") -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now, state.n_done
        if now - self._last < self._every_s and state.n_done < state.n_to_do:
            return
        self._last = now
        seconds, rows = now - self._first[0], state.n_done - self._first[1]
        pace = ""
        if rows:
            pace = f", {rows / seconds:.0f}/s, {(state.n_to_do - state.n_done) * seconds / rows:.0f} s to go"
        log.info("stamps: %d/%d%s, %d failed", state.n_done, state.n_to_do, pace, state.n_failed)
