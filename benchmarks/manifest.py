"""`task=manifest` on a synthetic list: rows per second of one core, and whether peak memory grows with the rows.

The whole command, its start and the reading of the list included, from a list of 50,000 galaxies without cutouts; the
number of rows is that of cells a galaxy. Seconds are processor time: only one core is used.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Rows, rows_from
from benchmarks.targets import high_water_kb

N_GALAXIES = 50_000
CELLS = (2, 10)
"""Of each host: about 75,000 and 275,000 rows."""


def manifest() -> Rows:
    """Rows per processor second and peak resident memory of two sizes; the ratio is that of five times the rows."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(galaxies(N_GALAXIES, seed=1), Path(folder) / "targets.parquet")
        peaks = []
        for cells in CELLS:
            n_rows, seconds, peak_mb = run(Path(folder), cells=cells)
            peaks.append(peak_mb)
            rows += rows_from({f"{n_rows:,} rows of grid_sota": [n_rows / seconds]}, part="manifest", unit="rows/s")
            rows += rows_from({f"its peak memory, {n_rows:,} rows": [peak_mb]}, part="manifest", unit="MB")
    rows[-1] |= {"ratio": peaks[-1] / peaks[0], "ratio_to": rows[1]["what"]}
    return rows


def galaxies(n: int, *, seed: int) -> pa.Table:
    """A target list of ``n`` LRGs with the columns that a manifest reads."""
    rng = np.random.default_rng(seed)
    columns = {
        "target_id": 39_627_000_000_000_000 + np.arange(n),
        "ra_deg": rng.uniform(0, 360, n),
        "dec_deg": rng.uniform(-60, 30, n),
        "axis_ratio": rng.uniform(0.4, 1.0, n).astype(np.float32),
        "position_angle_rad": rng.uniform(0, np.pi, n).astype(np.float32),
        "z_phot": rng.uniform(0.2, 0.8, n).astype(np.float32),
    }
    for band in "grz":
        columns[f"mag_{band}"] = rng.uniform(18.0, 20.4, n).astype(np.float32)
        columns[f"psfsize_{band}_arcsec"] = rng.uniform(1.0, 1.5, n).astype(np.float32)
        columns[f"psfdepth_{band}_mag"] = rng.uniform(24.0, 25.0, n).astype(np.float32)
    return pa.table(columns)


def run(folder: Path, *, cells: int) -> tuple[int, float, float]:
    """Rows, processor seconds and peak resident megabytes of one command."""
    output = folder / f"{cells}.parquet"
    given = ["task=manifest", f"task.targets={folder}/targets.parquet", f"task.output={output}"]
    command = [sys.executable, "inject.py", *given, f"task.design.cells_per_galaxy={cells}", "source=sersic"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak_kb, pid = 0, 0
    while not pid:
        peak_kb = max(peak_kb, high_water_kb(process.pid))  # not ru_maxrss: that begins at the parent's size
        time.sleep(0.02)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with exit code {process.returncode}")
    return pq.read_metadata(output).num_rows, usage.ru_utime + usage.ru_stime, peak_kb * 1024 / 1e6
