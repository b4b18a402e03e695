"""What every program writes to the terminal: log lines."""

import logging
import sys
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
