"""A list of galaxies that have no cutouts yet, and manifests made of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.manifest.run import make_manifest

SMALL_SOURCE = ("source=sersic", "source.n_sources=300", "source.half_light_radius_arcsec={low: 0.05, high: 0.50}")


def galaxy_list(n: int = 600, *, seed: int = 5) -> pa.Table:
    """A target list as task=targets writes it, with the columns that matter here."""
    rng = np.random.default_rng(seed)
    seeing, depth = 1.2 * np.exp(0.1 * rng.standard_normal(n)), 24.5 + 0.5 * rng.standard_normal(n)
    columns: dict[str, Any] = {
        "target_id": 39_627_000_000_000_000 + rng.permutation(10 * n)[:n],
        "ra_deg": rng.uniform(0, 360, n),
        "dec_deg": rng.uniform(-60, 30, n),
        "kind": np.where(rng.random(n) < 0.8, "lrg", "spiral"),
        "axis_ratio": rng.uniform(0.4, 1.0, n).astype(np.float32),
        "position_angle_rad": rng.uniform(0, np.pi, n).astype(np.float32),
        "z_phot": rng.uniform(0.2, 0.8, n).astype(np.float32),
    }
    for i, band in enumerate("grz"):
        columns[f"flux_{band}_nmgy"] = (10 ** (0.4 * (22.5 - rng.uniform(18, 20.4, n))) * (1 + i)).astype(np.float32)
        columns[f"psfsize_{band}_arcsec"] = (seeing * (1.08, 1.0, 0.94)[i]).astype(np.float32)
        columns[f"psfdepth_{band}_mag"] = (depth + (0.5, 0.0, -0.9)[i]).astype(np.float32)
    return pa.table(columns)


def config_of(output: Path, *overrides: str) -> InjectRoot:
    """A validated configuration of task=manifest."""
    return compose_job(
        "inject", ["task=manifest", f"task.output={output}", *SMALL_SOURCE, *overrides], schema=InjectRoot
    )


def nothing(done: int, total: int) -> None:
    """Progress that nobody sees."""


@pytest.fixture
def make(tmp_path) -> Callable[..., pa.Table]:
    """``make("task/design=prior", ..., targets=table)``: the manifest as a table; ``make.summary`` of the last one."""

    def run(*overrides: str, targets: pa.Table | None = None, output: str = "m.parquet") -> pa.Table:
        pq.write_table(galaxy_list() if targets is None else targets, tmp_path / "targets.parquet")
        given = [f"task.targets={tmp_path}/targets.parquet", "task.overwrite=true", *overrides]
        config = config_of(tmp_path / output, *given)
        run.summary = make_manifest(config, config.task, sky_progress=nothing, progress=nothing)
        return pq.read_table(tmp_path / output)

    return run


def columns_of(table: pa.Table) -> dict[str, np.ndarray]:
    """Columns as numpy."""
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def rows_by_id(table: pa.Table) -> dict[str, dict[str, Any]]:
    """task_id -> row; NaN becomes text, so that rows can be compared."""
    rows = table.to_pylist()
    return {row["task_id"]: {name: "nan" if value != value else value for name, value in row.items()} for row in rows}
