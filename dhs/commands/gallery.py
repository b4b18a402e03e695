"""`inject.py task=gallery`: look at a sky, or at a list's objects in it."""

import logging

from dhs.config.root import InjectRoot
from dhs.config.tasks import GalleryTask
from dhs.progress import DrawingProgress

log = logging.getLogger("dhs")


def gallery(config: InjectRoot) -> int:
    """Write the page ``config.task.output``."""
    from dhs.config.run_dir import write_text
    from dhs.sky.anchors import read_anchors
    from dhs.sky.build import load_sky
    from dhs.sky.gallery_page import gallery_page

    task = config.task
    assert isinstance(task, GalleryTask)
    listed = read_anchors(task.list) if task.list else None
    cutouts = load_sky(
        config.sky, cache_dir=config.paths.cache_dir, max_galaxies=config.max_galaxies, progress=DrawingProgress()
    )
    page = gallery_page(cutouts, listed=listed, n_stamps=task.n_stamps, title=f"Sky: {config.sky.name}")
    task.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(task.output, page)
    log.info("wrote %s", task.output)
    return 0
