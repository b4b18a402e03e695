"""Progress of long work on the log: how much is done, at which rate, how long it will take."""

import logging
import time

log = logging.getLogger("dhs")


class CountingProgress:
    """Logs ``done/total`` with rate and time to go, every few seconds; ``what`` is done to ``unit`` (plural)."""

    def __init__(self, what: str, unit: str, *, every_s: float = 5.0) -> None:
        self._what, self._unit, self._every_s = what, unit, every_s
        self._started = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < self._every_s and done < total:
            return
        rate = done / max(now - self._started, 1e-9)
        per_s, left_s = f"{rate:.{0 if rate >= 10 else 2}f}", (total - done) / max(rate, 1e-9)
        log.info("%s: %d/%d %s, %s/s, %.0f s to go", self._what, done, total, self._unit, per_s, left_s)
        self._last = now


class DrawingProgress(CountingProgress):
    """Progress of drawing the mock sky."""

    def __init__(self, *, every_s: float = 5.0) -> None:
        super().__init__("drawing the mock sky", "galaxies", every_s=every_s)
