"""`task=targets` on a synthetic sweep of a million rows with DR10's columns: seconds and peak memory of the command."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Rows, rows_from
from benchmarks.synthetic_sweep import sweep_rows, write_sweep

N_ROWS = 1_000_000
ROUNDS = 3


def targets() -> Rows:
    """The whole command, its start included, each time from nothing; the file is in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        write_sweep(Path(folder) / "sweep-150m010-160m005.fits", sweep_rows(N_ROWS, seed=1))
        runs = [_run(folder, Path(folder) / f"out{i}") for i in range(ROUNDS)]
    rows = rows_from({"a sweep of 1,000,000 rows selected": [seconds for seconds, _ in runs]}, part="targets", unit="s")
    memory = [megabytes for _, megabytes in runs]
    return rows + rows_from({"its peak resident memory": memory}, part="targets", unit="MB")


def _run(sweep_dir: str, output: Path) -> tuple[float, float]:
    """Wall seconds and peak resident megabytes of one run.

    The peak is VmHWM, read while it runs: ru_maxrss of a child begins at its parent's size.
    """
    command = [sys.executable, "inject.py", "task=targets", f"sky.sweep_dir={sweep_dir}", f"task.output_dir={output}"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak_kb = 0
    while process.poll() is None:
        peak_kb = max(peak_kb, high_water_kb(process.pid))
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with exit code {process.returncode}")
    return seconds, peak_kb * 1024 / 1e6


def high_water_kb(pid: int) -> int:
    """VmHWM of a Linux process; 0 where there is none any more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
