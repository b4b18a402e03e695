"""`inject.py task=cutouts`: from a list of targets to a store of cutouts."""

import logging

from dhs.config.cutouts import CutoutsTask
from dhs.config.root import InjectRoot

log = logging.getLogger("dhs")


def cutouts(config: InjectRoot) -> int:
    """Make, or finish, the store ``task.output`` and say what became of the targets."""
    from dhs.progress import CountingProgress
    from dhs.sky.cutout_job import make_store

    task = config.task
    assert isinstance(task, CutoutsTask)
    summary = make_store(task, cache_dir=config.paths.cache_dir, progress=CountingProgress("cutouts", "targets"))
    log.info("%s", summary)
    log.info("wrote %s; train with sky=store sky.path=%s (left out: %s/ledger.csv)", *[task.output] * 3)
    return 0
