"""The evaluation in the W&B run of the finder: figures of merit, gates and verdicts beside the curves of its training.

    summary       test/<quantity>/<subset> for the table of runs, so that a sweep sorts by it; targets/proved, /missed,
                  /undecided; evaluation/exit_code
    tables        evaluation/<section> (every row with interval, N and note), evaluation/targets
    pictures      evaluation/<section>_<figure>, evaluation/report (the HTML, whole)

The run is found by the id that training left in the run directory, so `evaluate.py` joins it a year later as well as
`train.py` does at its end. `evaluate.wandb=off` leaves it alone.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dhs.config.evaluation import EvaluateConfig
from dhs.config.root import TrainConfig
from dhs.config.run_dir import RunRecord
from dhs.evaluate.rows import Row
from dhs.evaluate.section import Section
from dhs.train.wandb_run import ID_FILE, STEP, wandb_run

if TYPE_CHECKING:
    from wandb import Run

MAX_ROWS = 100
"""Rows of a section of which all go to the summary; of a longer one (a selection function) only the HEADLINES."""
HEADLINES = ("visible", "all", "negatives")
"""Subsets."""
TARGET_COLUMNS: list[str | int] = ["section", "claim", "target", "measured", "verdict", "can this sample prove it?"]
WORDS = {True: "proved", False: "missed", None: "undecided"}


@contextmanager
def run_of_checkpoint(checkpoint: Path, config: TrainConfig, *, settings: EvaluateConfig) -> "Iterator[Run | None]":
    """The W&B run that trained ``checkpoint``, for the block; None where there is none, or evaluate.wandb=off."""
    run_dir = checkpoint.parent.parent
    if settings.wandb == "off" or not (run_dir / ID_FILE).is_file():
        yield None
        return
    with wandb_run(config, run_dir=run_dir, sweep=RunRecord(run_dir).sweep) as run:
        yield run


def log_sections(run: "Run", sections: Sequence[Section], *, report: Path) -> None:
    """Everything of ``sections``; their figures are those beside ``report``."""
    import wandb

    run.summary.update(summary_of(sections))
    logged: dict[str, Any] = {"evaluation/report": wandb.Html(str(report))}
    for section in sections:
        if section.rows:
            logged[f"evaluation/{section.key}"] = wandb.Table(columns=[*Row._fields], data=rows_of(section))
        for name in section.figures:
            picture = report.parent / "figures" / f"{section.key}_{name}.png"
            logged[f"evaluation/{section.key}_{name}"] = wandb.Image(str(picture))
    targets = [
        [section.title, v.claim, v.target, v.estimate, WORDS[v.passed], v.provable]
        for section in sections
        for v in section.verdicts
    ]
    if targets:
        logged["evaluation/targets"] = wandb.Table(columns=TARGET_COLUMNS, data=targets)
    run.log(logged | {STEP: run.summary.get(STEP, 0)})  # beside the last row of training


def rows_of(section: Section) -> list[list[Any]]:
    """Rows of a table of W&B: numbers stay numbers, None where there is none."""
    return [[_plain(cell) for cell in row] for row in section.rows]


def summary_of(sections: Sequence[Section]) -> dict[str, float | int]:
    """Flat figures of ``sections``: those that were measured, and how many targets were met."""
    figures: dict[str, float | int] = {}
    for section in sections:
        short = len(section.rows) <= MAX_ROWS
        for row in section.rows:
            if row.value is not None and (short or row.subset in HEADLINES):
                figures[f"test/{_key(row.quantity)}/{_key(row.subset)}"] = float(row.value)
    verdicts = [verdict.passed for section in sections for verdict in section.verdicts]
    for value, word in WORDS.items():
        figures[f"targets/{word}"] = sum(passed is value for passed in verdicts)
    figures["evaluation/exit_code"] = max((section.exit_code for section in sections), default=0)
    return figures


def _key(text: str) -> str:
    """``text`` as part of a key: W&B's filters want letters, digits, points, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9.\-]+", "_", text).strip("_")


def _plain(cell: Any) -> Any:
    return cell if isinstance(cell, str | int) or cell is None else float(cell)
