"""`inject.py task=manifest`: galaxies crossed with a design, one Parquet row a stamp."""

import logging

from dhs.config.manifest import ManifestTask
from dhs.config.root import InjectRoot

log = logging.getLogger("dhs")


def manifest(config: InjectRoot) -> int:
    """Write the manifest ``config.task.output`` and print what is in it."""
    from rich.console import Console

    from dhs.inject.manifest.console import print_summary
    from dhs.inject.manifest.run import make_manifest, summary_path
    from dhs.progress import CountingProgress, DrawingProgress

    task = config.task
    assert isinstance(task, ManifestTask)
    summary = make_manifest(config, task, sky_progress=DrawingProgress(), progress=CountingProgress("manifest", "rows"))
    print_summary(summary, Console())
    log.info("wrote %s (%s rows) and %s", task.output, f"{summary['rows']:,}", summary_path(task.output))
    return 0
