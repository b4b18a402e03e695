"""The runs of a sweep, grouped into arms: runs of one arm differ by their seed alone.

An arm is named by the overrides in which the sweep's runs differ (without the seed): `source=sersic loss=bce`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dhs.config.load import ConfigError, validate
from dhs.config.root import TrainConfig
from dhs.config.run_dir import RESULT_FREE_KEYS, config_hash

SAME_RECIPE = (*RESULT_FREE_KEYS, "seed", "name")
"""Keys in which runs of one arm may differ."""


@dataclass(frozen=True)
class SweepRun:
    """One finished run."""

    path: Path
    config: TrainConfig
    arm: str

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"


@dataclass(frozen=True)
class Sweep:
    """What a folder of runs holds."""

    runs: tuple[SweepRun, ...]
    """Finished ones, by arm and seed."""
    unfinished: dict[str, str]
    """Name of each other run, and its state."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Labels, in the order in which the runs were started."""
        return tuple(dict.fromkeys(run.arm for run in self.runs))

    def members(self, arm: str) -> list[int]:
        """Numbers of the runs of ``arm``."""
        return [i for i, run in enumerate(self.runs) if run.arm == arm]


def read_sweep(folder: Path) -> Sweep:
    """The runs under ``folder``.

    Raises:
        ValueError: no run, fewer than two arms, one arm with two recipes, a seed twice in one arm.
    """
    found = sorted(path.parent for path in folder.glob("*/status.json"))
    if not found:
        raise ValueError(f"task.sweep = {folder}: no runs in it (no */status.json); give the paths.runs_dir of a sweep")
    status = {path: json.loads((path / "status.json").read_text()) for path in found}
    done = [path for path in found if status[path].get("state") == "done"]
    done.sort(key=lambda path: (status[path].get("started", ""), path.name))
    labels = _labels(done)
    runs = [SweepRun(path, _config(path), labels[path]) for path in done]
    unfinished = {path.name: str(status[path].get("state")) for path in found if path not in done}
    sweep = Sweep(tuple(runs), unfinished)
    if len(sweep.arms) < 2:
        raise ValueError(
            f"task.sweep = {folder}: {len(runs)} finished runs in {len(sweep.arms)} arm(s); a comparison needs two "
            f"arms ({len(unfinished)} unfinished: {', '.join(unfinished) or 'none'})"
        )
    for arm in sweep.arms:
        _require_one_recipe(arm, [sweep.runs[i] for i in sweep.members(arm)])
    return sweep


def _require_one_recipe(arm: str, runs: list[SweepRun]) -> None:
    first, *others = runs
    for other in others:
        if config_hash(other.config, ignore=SAME_RECIPE) != config_hash(first.config, ignore=SAME_RECIPE):
            raise ValueError(
                f"{first.path.name} and {other.path.name}: both are {arm!r} by their overrides and yet of different "
                "configurations (other code or files between them); move one away"
            )
    seeds = [run.config.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"arm {arm!r}: seed {max(seeds, key=seeds.count)} is there twice; move one of the runs away")


def _labels(paths: list[Path]) -> dict[Path, str]:
    """The overrides of each run that not all runs share, without the seed."""
    given = {path: _overrides(path) for path in paths}
    common = set.intersection(*map(set, given.values())) if given else set()
    return {
        path: " ".join(item for item in overrides if item not in common) or "defaults"
        for path, overrides in given.items()
    }


def _overrides(path: Path) -> list[str]:
    overrides: list[str] = yaml.safe_load((path / "overrides.yaml").read_text()) or []
    free = (*SAME_RECIPE, "hydra")
    return [item for item in overrides if not _about(item.lstrip("+~").split("=")[0], free)]


def _about(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in names)


def _config(path: Path) -> TrainConfig:
    plain: dict[str, Any] = yaml.safe_load((path / "config.yaml").read_text())
    try:
        return validate(plain, schema=TrainConfig)
    except ConfigError as error:
        raise ValueError(f"{path / 'config.yaml'}: not valid here: {error}; move the run away") from None
