"""`inject.py task=compact`: few large files of a stamp set, shuffled, verified."""

import logging

from dhs.config.compact import CompactTask
from dhs.config.root import InjectRoot
from dhs.progress import CountingProgress

log = logging.getLogger("dhs")


def compact(config: InjectRoot) -> int:
    """Rewrite ``config.task.input``; the order is drawn from ``config.seed``."""
    from dhs.inject.stampset.compact_job import compact as rewrite

    task = config.task
    assert isinstance(task, CompactTask)
    lines: dict[str, CountingProgress] = {}

    def progress(what: str, done: int, total: int) -> None:
        lines.setdefault(what, CountingProgress(what, "rows"))(done, total)

    summary = rewrite(task, seed=config.seed, cache_dir=config.paths.cache_dir, progress=progress)
    log.info("%s: %s", task.output, summary)
    return 0
