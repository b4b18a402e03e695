"""`inject.py task=one`: one stamp from all sides, and its recipe in a FITS header."""

import logging

from dhs.config.one import OneTask
from dhs.config.root import InjectRoot
from dhs.progress import DrawingProgress

log = logging.getLogger("dhs")


def one(config: InjectRoot) -> int:
    """Write ``task.output`` and a PNG beside it; the recipe is read back and painted again to see that it holds."""
    from dhs.inject.one.choose import choose
    from dhs.inject.one.figure import caption, one_figure
    from dhs.inject.one.fits_file import require_header_gives, write_one
    from dhs.inject.one.stamp import paint

    task = config.task
    assert isinstance(task, OneTask)
    chosen = choose(config, task=task, progress=DrawingProgress())
    stamp = paint(chosen)
    write_one(task.output, stamp, config=chosen.config)
    require_header_gives(task.output, stamp, painter=chosen.painter)
    picture = one_figure(stamp, path=task.output.with_suffix(".png"))
    for line in (stamp.title, *caption(stamp)):
        log.info("%s", line)
    log.info("wrote %s and %s; the recipe in the header gives IMAGE bit for bit", task.output, picture)
    return 0
