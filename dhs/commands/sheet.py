"""`inject.py task=sheet`: look before you train."""

import logging

from dhs.config.root import InjectRoot
from dhs.config.tasks import SheetTask
from dhs.progress import DrawingProgress

log = logging.getLogger("dhs")


def sheet(config: InjectRoot) -> int:
    """Contact sheet of injected stamps and a CSV of their recipes."""
    from dhs.inject.build import build_injector
    from dhs.inject.sheet import injection_sheet

    task = config.task
    assert isinstance(task, SheetTask)
    injector = build_injector(config, progress=DrawingProgress())
    injection_sheet(injector, n_stamps=task.n_stamps, path=task.output)
    log.info("wrote %s and %s", task.output, task.output.with_suffix(".csv"))
    return 0
