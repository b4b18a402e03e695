"""Makes an ensemble: every member is calibrated on one validation sky, disjoint from all members' training sky."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from dhs.config.evaluation import EvaluateConfig
from dhs.config.root import TrainConfig
from dhs.evaluate.score import score_split
from dhs.evaluate.table import column
from dhs.inject.build import build_injector
from dhs.rng import Purpose
from dhs.train.finder import Ensemble, Member, SingleFinder, open_finder

log = logging.getLogger("dhs")

SPLIT_KEYS = ("max_galaxies", "sky", "inject.controls")
"""What decides which galaxy is in which split: members must agree, or one has been trained on another's test sky."""


def make_ensemble(checkpoints: list[Path], *, settings: EvaluateConfig, num_workers: int) -> Ensemble:
    """The calibrated ensemble of ``checkpoints``.

    Raises:
        ValueError: a member that is an ensemble itself, of another sky or split, or no better than chance.
    """
    finders = [open_finder(path, tta=settings.tta) for path in checkpoints]
    names = [path.parent.parent.name if path.parent.name == "checkpoints" else path.stem for path in checkpoints]
    singles = []
    for finder, name in zip(finders, names, strict=True):
        if not isinstance(finder, SingleFinder):
            raise ValueError(f"task.members: {name} is an ensemble itself; give its members")
        _require_same_sky(finders[0].config, finder.config, names=(names[0], name))
        singles.append(finder)
    injector = build_injector(singles[0].config)
    tables = []
    for finder, name in zip(singles, names, strict=True):
        tables.append(
            score_split(
                finder,
                injector=injector,
                purpose=Purpose.VAL,
                batch_size=settings.batch_size,
                num_workers=num_workers,
            )
        )
        log.info("scored the validation sky with %s (%d of %d)", name, len(tables), len(names))
    members = [
        Member(name, finder, *platt(column(table, "logit"), column(table, "label"), name=name))
        for name, finder, table in zip(names, singles, tables, strict=True)
    ]
    return Ensemble(members)


def platt(logit: np.ndarray, label: np.ndarray, *, name: str) -> tuple[float, float]:
    """Scale and offset that turn ``logit`` (N,) into a calibrated one: logistic regression (Platt 1999), unpenalised.

    ValueError when the scale is not above 0: the finder ranks no better than chance.
    """
    fit = LogisticRegression(C=np.inf, tol=1e-9).fit(logit[:, None], label)
    scale, offset = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if not (np.isfinite([scale, offset]).all() and scale > 0):
        raise ValueError(f"task.members: {name} ranks the validation sky no better than chance; leave it out")
    return scale, offset


def _require_same_sky(first: TrainConfig, other: TrainConfig, *, names: tuple[str, str]) -> None:
    for key in SPLIT_KEYS:
        if _decides(first, key) != _decides(other, key):
            raise ValueError(
                f"task.members: {names[0]} and {names[1]} differ in {key}: their splits of the sky may differ, so one "
                "may have been trained on what the other is tested on; train them on one sky"
            )


def _decides(config: TrainConfig, key: str) -> object:
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    if isinstance(value, dict):
        value.pop("num_processes", None)
    return value
