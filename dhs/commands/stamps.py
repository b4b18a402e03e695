"""`inject.py task=stamps`: a manifest into a set of finished stamps."""

import logging
import time

from dhs.config.root import InjectRoot
from dhs.config.stamps import StampsTask

log = logging.getLogger("dhs")


def stamps(config: InjectRoot) -> int:
    """Make, or finish, the set ``task.output`` and say what became of the rows."""
    from dhs.commands.console import DrawingProgress
    from dhs.inject.stampset.job import Progress, make_stamps

    task = config.task
    assert isinstance(task, StampsTask)
    started = last = time.monotonic()

    def report(state: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < 5.0 and state.n_done < state.n_to_do:
            return
        last = now
        rate = state.n_done / max(now - started, 1e-9)
        left_s = (state.n_to_do - state.n_done) / rate
        log.info(
            "stamps: %d/%d, %.0f/s, %.0f s to go, %d failed", state.n_done, state.n_to_do, rate, left_s, state.n_failed
        )

    result = make_stamps(config, report=report, sky_progress=DrawingProgress())
    failures = ", ".join(f"{n} {reason}" for reason, n in result["failures"].items()) or "none"
    log.info("%d of %d rows have a stamp; failed: %s", result["n_ok"], result["n_rows"], failures)
    per_row = result["n_bytes"] / result["n_rows"] / 1000
    log.info("wrote %s: %d parts, %.1f kB a stamp", task.output, result["n_parts"], per_row)
    return 0
