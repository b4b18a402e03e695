"""The stages of `evaluate.py task=all`, in the order of the report.

A stage is a module with `run(context) -> Section`: it asks the context for scores, computes with pure functions, and
says in its section what it could not do. To add one: its name in `dhs.config.evaluation.StageName`, its settings there
and in conf/evaluate/default.yaml (with `enabled`), its module here.
"""

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from dhs.evaluate.context import EvaluationContext, NotScored
from dhs.evaluate.section import Section, said

log = logging.getLogger("dhs")


@dataclass(frozen=True)
class Stage:
    """A part of the evaluation; its module is imported when it runs."""

    name: str
    title: str
    module: str

    def run(self, context: EvaluationContext) -> Section:
        """The section of this stage."""
        run = cast(Callable[[EvaluationContext], Section], importlib.import_module(self.module).run)
        return run(context)


STAGES: tuple[Stage, ...] = (
    Stage("heldout", "Held-out simulations", "dhs.evaluate.heldout"),
    Stage("calibration", "Thresholds and calibration", "dhs.evaluate.calibration_stage"),
    Stage("anchors", "Real lenses", "dhs.evaluate.anchors.stage"),
    Stage("negatives", "Hard negatives", "dhs.evaluate.negatives"),
    Stage("selection", "Selection function", "dhs.evaluate.selection.stage"),
    Stage("gates", "Shortcut gates", "dhs.evaluate.gates.stage"),
    Stage("realism", "Realism of the injections", "dhs.evaluate.realism.stage"),
    Stage("explain", "Where the finder looks", "dhs.evaluate.explain.stage"),
)


def run_stages(context: EvaluationContext, names: Sequence[str] | None) -> list[Section]:
    """Sections of the stages ``names`` (None: all), in the order of STAGES; a disabled one says that it is."""
    sections = []
    for stage in STAGES:
        if names is not None and stage.name not in names:
            continue
        # calibration has no such key: claims without it are an error
        if not getattr(getattr(context.settings, stage.name), "enabled", True):
            why = f"Not done: evaluate.{stage.name}.enabled = false."
            sections.append(said(stage.name, stage.title, why=why))
            continue
        started = time.monotonic()
        try:
            sections.append(stage.run(context))
        except NotScored as error:
            sections.append(said(stage.name, stage.title, why=f"Not done: {error}"))
        log.info("%s: %.1f s", stage.title.lower(), time.monotonic() - started)
    return sections
