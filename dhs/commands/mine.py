"""`evaluate.py task=mine`: the negatives that a finder takes for lenses, for the next run to train on."""

import logging

from dhs.commands.ensemble import best_checkpoint
from dhs.config.mine import MineTask
from dhs.config.root import EvaluateRoot
from dhs.config.run_dir import write_text

log = logging.getLogger("dhs")


def mine(config: EvaluateRoot) -> int:
    """Score, choose, write the list and its page; 0."""
    from dhs.evaluate.mine import mine_checkpoint
    from dhs.evaluate.mine_page import mine_page

    task = config.task
    assert isinstance(task, MineTask) and config.checkpoint is not None
    mined = mine_checkpoint(
        best_checkpoint(config.checkpoint), task=task, settings=config.evaluate, num_workers=config.num_workers
    )
    page = task.output.with_suffix(".html")
    write_text(page, mine_page(mined, n_shown=task.n_shown))
    for line in mined.lines():
        log.info("%s", line)
    log.info("wrote %s and %s", task.output, page)
    log.info("train with it: python train.py ... inject.negatives.hard.path=%s", task.output)
    return 0
