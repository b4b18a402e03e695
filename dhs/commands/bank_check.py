"""`inject.py task=bank_check`: a table in the terminal, check.json and check.html; 0 galaxies, 1 not, 2 unreadable."""

import logging
import time
from pathlib import Path

from rich.console import Console

from dhs.config.bank_check import BankCheckTask
from dhs.config.root import InjectRoot
from dhs.config.source import elementary_sources

log = logging.getLogger("dhs")
EXIT_FAILED = 1


def bank_check(config: InjectRoot) -> int:
    """Judge the bank of ``config.task``, or else that of ``config.source``."""
    from dhs.config.run_dir import write_text
    from dhs.source.check.page import render_page
    from dhs.source.check.run import check_bank
    from dhs.source.check.summary import print_report, summary_json
    from dhs.source.check.verdict import Grid

    task = config.task
    assert isinstance(task, BankCheckTask)
    path = config.bank_to_check(task)
    _, source = elementary_sources(config.source)[0]
    grid = Grid(source.stamp_size_px, source.pixel_scale_arcsec)
    report = check_bank(path, task=task, grid=grid, progress=MeasuringProgress())
    folder = task.output_dir or Path(f"{path.stem}_check")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "check.json", summary_json(report))
    write_text(folder / "check.html", render_page(report, seed=task.seed))
    print_report(report, Console())
    log.info("wrote %s and %s", folder / "check.html", folder / "check.json")
    return 0 if report.passed else EXIT_FAILED


class MeasuringProgress:
    """Logs sources done, rate and time to go, every few seconds."""

    def __init__(self, *, every_s: float = 5.0) -> None:
        self._started = self._last = time.monotonic()
        self._every_s = every_s

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < self._every_s and done < total:
            return
        rate = done / max(now - self._started, 1e-9)
        log.info("measuring: %d/%d sources, %.0f/s, %.0f s to go", done, total, rate, (total - done) / rate)
        self._last = now
