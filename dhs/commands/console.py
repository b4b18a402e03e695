"""What every program writes to the terminal: log lines, and progress with rate and time to go."""

import logging
import sys
import time
from pathlib import Path

log = logging.getLogger("dhs")


def log_to(path: Path | None) -> None:
    """Messages of dhs to the terminal, and to ``path`` as well."""
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in list(log.handlers):
        handler.close()
        log.removeHandler(handler)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if path is not None:
        handlers.append(logging.FileHandler(path))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        log.addHandler(handler)


class DrawingProgress:
    """Logs ``done/total`` with rate and time to go, every few seconds."""

    def __init__(self, *, what: str = "drawing the mock sky", unit: str = "galaxies", every_s: float = 5.0) -> None:
        self._what, self._unit = what, unit
        self._started = self._last = time.monotonic()
        self._every_s = every_s

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < self._every_s and done < total:
            return
        rate = done / max(now - self._started, 1e-9)
        to_go = (total - done) / rate
        log.info("%s: %d/%d %s, %.0f/s, %.0f s to go", self._what, done, total, self._unit, rate, to_go)
        self._last = now
