"""`engine=spark` on two cores of this machine beside the local engine with two processes: same rows, same files.

The rate is that of running workers: from the moment when both have finished a part to the end, by the dates of the
ledger's entries. What comes before (a session, Python, numba, sky and sources) is told apart: a job of hours does not
notice it.
"""

import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.measure import Rows, rows_from
from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.manifest.run import make_manifest
from dhs.inject.stampset.context import StampJob
from dhs.inject.stampset.local import run_local
from dhs.inject.stampset.manifest_file import ManifestFile
from dhs.inject.stampset.plan import PlannedPart, plan_parts
from dhs.inject.stampset.spark import run_in
from dhs.inject.stampset.spark_session import spark_session

CORES = 2
N_PARTS, PART_ROWS = 8, 4096
"""A part of the default size: what Spark adds to a task is then a tenth of it."""
ROUNDS = 2
SKY = ("max_galaxies=1024", "paths.cache_dir=cache")
LOCAL, SPARK = f"local engine, {CORES} processes", f"Spark local[{CORES}]"


def spark() -> Rows:
    """Rates in interleaved rounds, each with workers of its own; seconds to start a session and to the first part."""
    rates: dict[str, list[float]] = {LOCAL: [], SPARK: []}
    first: dict[str, list[float]] = {f"{LOCAL}: to the first part": [], f"{SPARK}: to the first part": []}
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        manifest = _manifest(Path(folder))
        for number in range(ROUNDS):
            for name in (LOCAL, SPARK):
                output = Path(folder) / f"{name[:5]}-{number}"
                job, parts = _job(manifest, output)
                started = time.time()
                if name == LOCAL:
                    with closing(run_local(parts, job=job, processes=CORES)) as records:
                        done = list(records)
                else:
                    with spark_session(job.config.engine) as session:  # type: ignore[attr-defined]
                        starts.append(time.time() - started)
                        started = time.time()
                        done = list(run_in(session, parts, job=job))
                assert len(done) == len(parts)
                rate, to_first_s = _figures(output, started=started)
                rates[name].append(rate)
                first[f"{name}: to the first part"].append(to_first_s)
    return [
        *rows_from(rates, part="spark", unit="stamps/s", against=LOCAL),
        *rows_from({"Spark: session": starts} | first, part="spark", unit="s"),
    ]


def _manifest(folder: Path) -> Path:
    """Rows of design prior, enough for the parts of one split."""
    path = folder / "manifest.parquet"
    replicates = ["task.design.replicates=120", "task.controls.rows_per_galaxy=120"]
    overrides = [*SKY, "task=manifest", "task/design=prior", *replicates, f"task.output={path}"]
    config = compose_job("inject", overrides, schema=InjectRoot)
    make_manifest(config, config.task, sky_progress=_silent, progress=_silent)  # type: ignore[arg-type]
    return path


def _job(manifest: Path, output: Path) -> tuple[StampJob, list[PlannedPart]]:
    task = ["task=stamps", f"task.manifest={manifest}", f"task.output={output}", f"task.rows_per_part={PART_ROWS}"]
    config = compose_job("inject", [*SKY, *task, "engine=spark", f"engine.cores={CORES}"], schema=InjectRoot)
    source = ManifestFile(str(manifest))
    parts = plan_parts(source, rows_per_part=PART_ROWS)
    step = max(1, len(parts) // N_PARTS)  # injections and controls as the manifest has them
    return StampJob(config, config.task, source.sha256()), parts[::step][:N_PARTS]  # type: ignore[arg-type]


def _figures(output: Path, *, started: float) -> tuple[float, float]:
    """(stamps a second once every worker has finished a part, seconds to the first part) of one run."""
    ends = sorted(path.stat().st_mtime for path in (output / "_ledger").glob("*.json"))
    return (len(ends) - CORES) * PART_ROWS / (ends[-1] - ends[CORES - 1]), ends[0] - started


def _silent(done: int, total: int) -> None:
    """No progress."""
