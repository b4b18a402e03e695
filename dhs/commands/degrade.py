"""`inject.py task=degrade`: HST lenses as the survey would see them."""

import logging

from dhs.config.degrade import DegradeTask
from dhs.config.root import InjectRoot

log = logging.getLogger("dhs")


def degrade(config: InjectRoot) -> int:
    """Write the stamps of ``config.task``."""
    from dhs.sky.degrade_job import degrade as run

    task = config.task
    assert isinstance(task, DegradeTask)
    for line in run(task):
        log.info("%s", line)
    log.info("wrote %s and %s", task.output, task.output.with_suffix(".png"))
    return 0
