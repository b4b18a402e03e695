"""Where a run starts: at the beginning, at its own newest checkpoint, or at one that the user names.

Everything that could make the continued run another one is an error here, before the sky is loaded: a checkpoint of
another configuration, network or format, a damaged file, one that would run code. Nothing is passed over in silence:
where the newest checkpoint is damaged and the one before is taken, the log says so and the damaged file is kept aside.
"""

import logging
from pathlib import Path
from typing import Any

from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.config.run_dir import differences
from dhs.train.checkpoint import HEADER, DamagedCheckpoint, checkpoint_config, read_checkpoint
from dhs.train.keep import duplicate

log = logging.getLogger("dhs")

EXTENSIBLE_KEYS = ("trainer.max_epochs", "trainer.patience")
"""What may differ when a checkpoint is named: a run is made longer."""

Checkpoint = dict[str, Any]


def continue_run(run_dir: Path, *, config: TrainConfig) -> Path | None:
    """The newest readable checkpoint of ``run_dir``; None where nothing was saved yet.

    Raises:
        ConfigError: there are checkpoints and none can be read, or the newest is not of this configuration.
    """
    found = own_checkpoints(run_dir)
    faults = []
    for path in found:
        try:
            checkpoint = read_checkpoint(path)
        except DamagedCheckpoint as error:
            faults.append(str(error))
            continue
        require_same(checkpoint, path=path, config=config, may_differ=())
        for damaged, fault in zip(found, faults, strict=False):
            aside = damaged.with_name(f"{damaged.name}.damaged")
            damaged.replace(aside)
            log.warning("WARNING: %s; set aside as %s, going back to %s", fault, aside.name, path.name)
        _bring_best(checkpoint, path=path, target=path.with_name("best.ckpt"))  # a kill may have come between the two
        log.info("resuming from %s (%s)", path, described(checkpoint))
        return path
    if faults:
        raise ConfigError(f"{faults[0]}; no checkpoint of this run can be read: resume=never starts anew")
    return None


def continue_from(path: Path, *, run_dir: Path, config: TrainConfig) -> Path:
    """The checkpoint ``path`` (or the last of the run directory ``path``), fit to be continued in ``run_dir``.

    The best checkpoint beside it comes along, so that the best of the whole run is known under one name.
    """
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    checkpoint = read_checkpoint(path)
    require_same(checkpoint, path=path, config=config, may_differ=EXTENSIBLE_KEYS)
    _require_something_left(checkpoint, path=path, config=config)
    _bring_best(checkpoint, path=path, target=run_dir / "checkpoints" / "best.ckpt")
    log.info("continuing from %s (%s)", path, described(checkpoint))
    theirs = checkpoint_config(checkpoint, path=path).trainer.max_epochs
    if theirs != config.trainer.max_epochs:
        log.info(
            "the learning rate follows the schedule of %d epochs from here on (it was that of %d)",
            config.trainer.max_epochs,
            theirs,
        )
    return path


def own_checkpoints(run_dir: Path) -> list[Path]:
    """last.ckpt, last-1.ckpt, ... as far as there are any, newest first."""
    folder = run_dir / "checkpoints"
    older = sorted(folder.glob("last-*.ckpt"), key=lambda path: int(path.stem.removeprefix("last-")))
    return [path for path in (folder / "last.ckpt", *older) if path.is_file()]


def require_same(checkpoint: Checkpoint, *, path: Path, config: TrainConfig, may_differ: tuple[str, ...]) -> None:
    """ConfigError naming the keys in which the checkpoint's configuration differs from ``config``."""
    theirs = checkpoint_config(checkpoint, path=path)
    found = [
        f"{key} = {there!r} there, {here!r} here"
        for key, (there, here) in differences(theirs, config).items()
        if key not in may_differ
    ]
    if found:
        more = f"; and {len(found) - 3} keys more" if len(found) > 3 else ""
        raise ConfigError(
            f"resume: {path} is of another configuration: {'; '.join(found[:3])}{more}; give those values, or train "
            "anew"
        )


def described(checkpoint: Checkpoint) -> str:
    """Where in the run a checkpoint is."""
    header = checkpoint[HEADER]
    place = {"mid_epoch": "in", "validation": "in the validation of", "epoch_end": "at the end of"}[header["position"]]
    return f"step {header['step']}, {place} epoch {header['epoch'] + 1}"


def _require_something_left(checkpoint: Checkpoint, *, path: Path, config: TrainConfig) -> None:
    header = checkpoint[HEADER]
    done = header["epoch"] + (header["position"] == "epoch_end")
    if done >= config.trainer.max_epochs:
        raise ConfigError(
            f"trainer.max_epochs = {config.trainer.max_epochs}: {path} has {done} epochs behind it; give more to go on"
        )


def _bring_best(checkpoint: Checkpoint, *, path: Path, target: Path) -> None:
    """Make ``target`` the best of the run that ``checkpoint`` ends, from ``path`` itself or the best.ckpt beside it."""
    header, best = checkpoint[HEADER], path.parent / "best.ckpt"
    if header["best_score"] is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if header["score"] == header["best_score"]:
        if path != target:
            duplicate(path, target)
    elif best != target:
        if not best.is_file() or read_checkpoint(best)[HEADER]["score"] != header["best_score"]:
            raise ConfigError(
                f"resume = {path}: the best checkpoint of that run (val/pauroc {header['best_score']:.4f}) is not "
                "beside it; copy its best.ckpt there"
            )
        duplicate(best, target)
