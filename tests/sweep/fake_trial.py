"""Stands in for train.py in a search: the nearer optim.lr is to 0.01, the better, from the first epoch on."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from dhs.sweep.stop import stop_with_sweep

EPOCHS = 3
given = {"loss": "bce", "trainer.batch_size": "64"} | dict(each.split("=", 1) for each in sys.argv[1:])
runs = Path(given["paths.runs_dir"])
run_dir = runs / f"{float(given['optim.lr']):.6g}-{given['loss']}-{given['trainer.batch_size']}"
(run_dir / "metrics" / "attempt_1").mkdir(parents=True, exist_ok=True)
score = 1 - abs(float(given["optim.lr"]) - 0.01)


def write_text(path: Path, text: str) -> None:
    path.with_suffix(".tmp").write_text(text)
    os.replace(path.with_suffix(".tmp"), path)


def record(state: str, **fields: object) -> None:
    write_text(run_dir / "status.json", json.dumps({"state": state, "score": score, **fields}))


def saved(signum: int, frame: object) -> None:
    record("preempted")
    if (runs / "hanging").exists():
        write_text(runs / "hanging", "preempted")
    sys.exit(128 + signum)


signal.signal(signal.SIGTERM, saved)
stop_with_sweep()
record("running")
with (run_dir / "starts").open("a") as starts:
    starts.write("started\n")
(run_dir / "arguments").write_text(" ".join(sys.argv[1:]))
number = len(list(runs.glob("*/starts"))) - 1


def asked(what: str) -> bool:
    path = runs / what
    return path.is_file() and path.read_text() == str(number)


if asked("fail_at"):
    (run_dir / "error.txt").write_text("Traceback ...\nboom\n")
    record("failed", error="boom")
    sys.exit(1)
rows = ["epoch,val/pauroc"]
for epoch in range(EPOCHS):
    rows.append(f"{epoch},{score - 0.01 * (EPOCHS - 1 - epoch)}")
    write_text(run_dir / "metrics" / "attempt_1" / "metrics.csv", "\n".join(rows) + "\n")
    if (runs / "slow_epochs").exists() and score < 0.95:
        time.sleep(1.0)
while asked("hang_at"):
    if not (runs / "hanging").exists():
        write_text(runs / "hanging", "")
    time.sleep(0.02)
record("done")
