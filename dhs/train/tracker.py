"""`Tracker`: Lightning's W&B logger with one row a step, none twice and none missing however often a run is resumed.

Two things are in the way. A resumed run does the steps after its last checkpoint again: they give the same numbers
(docs/determinism.md), and W&B may have them. And W&B's client keeps rows in memory, for 15 s before it sends them and
without a server until there are 32 KiB: a SIGKILL loses them (measured, wandb 0.31). Our metrics.csv loses none. So
`wandb_state.json` says up to which step W&B is known to have the curves, a server that knows the run has the last word,
and what is missing before the place where the run goes on is sent again from metrics.csv. What a killed attempt without
a server left behind is set aside (`wandb/killed-...`): half a file, whose rows would otherwise be there twice.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import WandbLogger

from dhs.train.wandb_run import NO_STEP, STEP, known_step, note_step

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger("dhs")


class Tracker(WandbLogger):
    """Logger of an open run. Metrics of one step are one row, sent when the next step begins, or by `flush`."""

    def __init__(self, run: "Run", *, run_dir: Path) -> None:
        super().__init__(experiment=run, project=run.project)
        self._run, self._run_dir = run, run_dir
        self._known = known_step(run, run_dir=run_dir)
        self._step, self._row = NO_STEP, dict[str, Any]()

    def log_hyperparams(self, params: Any) -> None:
        """The configuration is in the run already, from its start."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        assert step is not None
        if step <= self._known:
            return
        if step != self._step:
            self.flush()
        self._step = step
        self._row |= metrics

    def flush(self) -> None:
        """Send the row in hand."""
        if not self._row:
            return
        self._run.log({**self._row, STEP: self._step})
        note_step(self._run, self._step, run_dir=self._run_dir)
        self._row = {}

    def fill(self, rows: list[tuple[int, dict[str, Any]]], *, before: int) -> None:
        """Send what W&B does not have of ``rows`` (step, metrics) of earlier attempts that lie ``before`` a step."""
        missing = sorted((row for row in rows if self._known < row[0] < before), key=lambda row: row[0])
        for step, metrics in missing:
            self.log_metrics(metrics, step)
        self.flush()
        self._known = max(self._known, before - 1)
        if missing:
            log.info("W&B: steps %d to %d of the attempts before are sent again", missing[0][0], missing[-1][0])

    def finalize(self, status: str) -> None:
        self.flush()
