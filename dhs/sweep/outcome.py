"""What became of a job, in a file that the job's own process writes and the sweep reads: it works across machines."""

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dhs.config.run_dir import write_text

MONITOR = "val/pauroc"
"""Of the validation sky; the highest epoch is the one that best.ckpt holds (`dhs.train.keep`)."""

State = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Outcome:
    """One job, so far."""

    number: int
    state: State
    pid: int
    host: str
    beat: float
    """Changes while the job's process lives; unix time on its machine."""
    seconds: float = 0.0
    code: int | None = None
    error: str | None = None
    """One line; with the file that has the whole story."""


class OutcomeFiles:
    """The folder of one call of a sweep: `NNN.json` and `NNN.log` of each job, and `stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log(self, number: int) -> Path:
        """What job ``number`` prints."""
        return self.folder / f"{number:03d}.log"

    def write(self, outcome: Outcome) -> None:
        write_text(self.folder / f"{outcome.number:03d}.json", json.dumps(asdict(outcome)))

    def read(self) -> dict[int, Outcome]:
        """Those of all jobs that have begun."""
        found = [Outcome(**json.loads(path.read_text())) for path in sorted(self.folder.glob("[0-9]*.json"))]
        return {outcome.number: outcome for outcome in found}

    def ask_to_stop(self) -> None:
        """Tell every job, running or still queued, on any machine."""
        write_text(self.folder / "stop", time.strftime("%Y-%m-%dT%H:%M:%SZ\n", time.gmtime()))

    @property
    def stop_asked(self) -> bool:
        return (self.folder / "stop").is_file()


def status_of(run_dir: str | None) -> dict[str, Any]:
    """A run's status.json; {} where there is none."""
    path = Path(run_dir or "", "status.json")
    return json.loads(path.read_text()) if run_dir and path.is_file() else {}


def validation_curve(run_dir: Path) -> list[float]:
    """val/pauroc of each finished epoch, a running run's too."""
    by_epoch: dict[int, float] = {}
    folders = sorted(run_dir.glob("metrics/attempt_*"), key=lambda path: int(path.name.removeprefix("attempt_")))
    for path in (folder / "metrics.csv" for folder in folders):
        for row in _whole_rows(path):
            if row.get(MONITOR) and row.get("epoch"):
                by_epoch[int(row["epoch"])] = float(row[MONITOR])
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def _whole_rows(path: Path) -> list[dict[str, str]]:
    text = path.read_text() if path.is_file() else ""
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))  # the last line may be half written


def best_score(run_dir: str | None) -> float | None:
    """val/pauroc of the run's best checkpoint; None before the first validation."""
    curve: Sequence[float] = validation_curve(Path(run_dir)) if run_dir else ()
    return max(curve, default=None)
