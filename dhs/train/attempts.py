"""The metrics of a run as one table, over all the attempts that it took."""

import csv
import io
from pathlib import Path

from dhs.config.run_dir import write_text


def joined_rows(run_dir: Path) -> list[dict[str, str]]:
    """Rows of `metrics/attempt_N/metrics.csv` as one run, without those that a later attempt did again."""
    rows: list[dict[str, str]] = []
    folders = sorted((run_dir / "metrics").glob("attempt_*"), key=lambda path: int(path.name.removeprefix("attempt_")))
    for path in (folder / "metrics.csv" for folder in folders):
        added = list(csv.DictReader(io.StringIO(path.read_text()))) if path.is_file() else []
        if added:
            first = min(int(row["step"]) for row in added)
            rows = [row for row in rows if int(row["step"]) < first] + added
    return rows


def join_attempts(run_dir: Path) -> Path:
    """Write `metrics.csv`, the `joined_rows`."""
    rows = joined_rows(run_dir)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", "step", *(name for name in columns if name not in ("epoch", "step"))])
    writer.writeheader()
    writer.writerows(rows)
    write_text(run_dir / "metrics.csv", text.getvalue())
    return run_dir / "metrics.csv"
