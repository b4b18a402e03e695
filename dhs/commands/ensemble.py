"""`evaluate.py task=ensemble`: several finders saved as one."""

import logging
from pathlib import Path

from dhs.config.ensemble import EnsembleTask
from dhs.config.root import EvaluateRoot

log = logging.getLogger("dhs")


def ensemble(config: EvaluateRoot) -> int:
    """Calibrate the members, save them as one file; 0."""
    from dhs.evaluate.ensemble import make_ensemble
    from dhs.train.finder import save_ensemble

    task = config.task
    assert isinstance(task, EnsembleTask)
    made = make_ensemble(
        [best_checkpoint(path) for path in task.members], settings=config.evaluate, num_workers=config.num_workers
    )
    for member in made.members:
        log.info("%s: calibrated logit = %.3f * logit %+.3f", member.name, member.scale, member.offset)
    save_ensemble(task.output, made.members)
    log.info("wrote %s; evaluate it with: python evaluate.py checkpoint=%s", task.output, task.output)
    return 0


def best_checkpoint(path: Path) -> Path:
    """A run directory's best checkpoint; a file is its own. ValueError where a run has none."""
    if not path.is_dir():
        return path
    best = path / "checkpoints" / "best.ckpt"
    if not best.is_file():
        raise ValueError(f"{path}: the run has no checkpoints/best.ckpt yet")
    return best
