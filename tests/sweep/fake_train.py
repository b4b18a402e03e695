"""Stands in for train.py: what its run directory is called says how it ends. Each start is noted in it."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from dhs.sweep.stop import stop_with_sweep

given = dict(argument.split("=", 1) for argument in sys.argv[1:])
run_dir = Path(given["run_dir"])
run_dir.mkdir(exist_ok=True)


def record(state: str, **fields: object) -> None:
    status = {"state": state, "sweep": os.environ["DHS_SWEEP"], **fields}
    (run_dir / "status.json").write_text(json.dumps(status))


def saved(signum: int, frame: object) -> None:
    record("preempted")
    sys.exit(128 + signum)


signal.signal(signal.SIGTERM, saved)
stop_with_sweep()
record("running")
with (run_dir / "starts").open("a") as starts:
    starts.write(f"{os.getpid()}\n")
print("some output")
if run_dir.name.startswith("bad") and not (run_dir / "mended").exists():
    (run_dir / "error.txt").write_text("Traceback ...\nValueError: no such thing\n")
    record("failed", error="ValueError: no such thing")
    sys.exit(1)
if run_dir.name.startswith("killed"):
    os.kill(os.getpid(), signal.SIGKILL)
while run_dir.name.startswith("slow") and not (run_dir / "go_on").exists():
    time.sleep(0.02)
record("done")
