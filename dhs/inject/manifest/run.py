"""`make_manifest`: galaxies x design -> one Parquet file and its summary."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dhs.config.manifest import GridDesign, ManifestTask
from dhs.config.root import InjectionRoot
from dhs.config.run_dir import versions, write_text
from dhs.inject.manifest.console import warnings_of
from dhs.inject.manifest.design import Design, build_design
from dhs.inject.manifest.draw import Drawer
from dhs.inject.manifest.plan import Plan, build_plan, pool_of, wanted_splits
from dhs.inject.manifest.sizes import SourceSizes
from dhs.inject.manifest.summary import SplitSummary, expectation
from dhs.inject.manifest.table import (
    ROWS_PER_GROUP,
    SCHEMA_VERSION,
    manifest_schema,
    manifest_table,
    read_metadata,
)
from dhs.inject.manifest.targets import load_targets, require_r_mag
from dhs.inject.manifest.write import write_manifest
from dhs.inject.strength import require_known
from dhs.sky.cutouts import CutoutSet
from dhs.source.build import build_source

log = logging.getLogger("dhs")

Progress = Callable[[int, int], None]

PHYSICS = ("lens", "psf", "colour", "source", "inject")
"""Groups of the configuration that decide a row, or a stamp made of it."""


def make_manifest(
    config: InjectionRoot, task: ManifestTask, *, sky_progress: Progress, progress: Progress
) -> dict[str, Any]:
    """Write the manifest ``task.output`` and its summary; returns the summary.

    Raises:
        ValueError: (one line) unfit targets, an empty split, an output of another configuration, a full disk.
    """
    job = configuration(config, task)
    _require_same(task, job)
    galaxies = load_targets(config, task, progress=sky_progress)
    design = build_design(task.design)
    plans = {
        split: build_plan(galaxies, split=split, task=task, design=design, seed=config.seed)
        for split in wanted_splits(task)
    }
    _require_hosts(config, task, galaxies=galaxies, design=design, plans=plans)
    source = build_source(config.source, cache_dir=config.paths.cache_dir, draw_templates=False)
    sizes = _sizes(task, source=source)
    drawer = Drawer(
        galaxies,
        design=design,
        source=source,
        sizes=sizes,
        lens=config.lens,
        colour=config.colour,
        seed=config.seed,
    )
    summaries = {split: SplitSummary(plan, design=design) for split, plan in plans.items()}
    schema = manifest_schema(galaxies, design=design, metadata=_metadata(job, galaxies=galaxies, plans=plans))
    blocks = _blocks(drawer, galaxies, plans=plans, summaries=summaries, task=task, schema=schema, progress=progress)
    write_manifest(task.output, blocks, schema=schema)
    summary = _summary(task, design=design, summaries=summaries, plans=plans, sizes=sizes)
    write_text(summary_path(task.output), json.dumps(summary, indent=1) + "\n")
    return summary


def summary_path(output: Path) -> Path:
    return output.with_suffix(".summary.json")


def configuration(config: InjectionRoot, task: ManifestTask) -> dict[str, Any]:
    """What decides the rows, as plain JSON."""
    free = {"output", "estimate", "overwrite"}
    return {
        "seed": config.seed,
        "task": task.model_dump(mode="json", exclude=free),
        "sky": None if task.targets is not None else config.sky.model_dump(mode="json"),
        "max_galaxies": config.max_galaxies,
        **{name: getattr(config, name).model_dump(mode="json") for name in PHYSICS},
    }


def _metadata(job: dict[str, Any], *, galaxies: CutoutSet, plans: dict[str, Plan]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "configuration": job,
        "seed": job["seed"],
        "rows": {split: plan.n_rows for split, plan in plans.items()},
        "galaxies_sha256": fingerprint(galaxies),
        "versions": versions(),
    }


def fingerprint(galaxies: CutoutSet) -> str:
    """SHA-256 of all that is known of the galaxies, pixels apart."""
    digest = hashlib.sha256()
    for field in fields(galaxies):
        column = getattr(galaxies, field.name)
        if isinstance(column, np.ndarray) and column.dtype != object and field.name != "origin":
            digest.update(field.name.encode())
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _require_same(task: ManifestTask, job: dict[str, Any]) -> None:
    """ValueError where the output exists and is something else."""
    if not task.output.exists() or task.overwrite:
        return
    remedy = "give another task.output, or task.overwrite=true"
    try:
        about = read_metadata(task.output)
    except ValueError as error:
        raise ValueError(f"task.output exists and is no manifest of ours: {error}; {remedy}") from None
    if about["configuration"] != job:
        differing = [key for key in job if about["configuration"].get(key) != job[key]]
        raise ValueError(
            f"task.output = {task.output}: holds a manifest of another configuration ({', '.join(differing)}); {remedy}"
        )


def _require_hosts(
    config: InjectionRoot, task: ManifestTask, *, galaxies: CutoutSet, design: Design, plans: dict[str, Plan]
) -> None:
    """ValueError where hosts lack what the lens prior or an axis needs, or no cell has any."""
    hosts = np.concatenate([pool_of(galaxies, split=split, task=task).hosts for split in plans])
    names = [axis.name for axis in design.axes]
    if "theta_e_arcsec" not in names:
        require_known(config.lens, galaxies, hosts=hosts)
    if "dmag" in names:
        require_r_mag(galaxies, hosts=hosts)
    for split, plan in plans.items():
        if plan.cell_hosts is not None and not plan.cell_hosts.any():
            raise ValueError(
                f"split {split!r}: none of the {len(plan.galaxies) or len(hosts)} hosts has an r-band seeing and depth "
                "within the cells (psfsize_r_arcsec, psfdepth_r_mag); change the edges of task.design"
            )


def _sizes(task: ManifestTask, *, source: Any) -> SourceSizes:
    grid = task.design if isinstance(task.design, GridDesign) else None
    return SourceSizes(
        source,
        tolerance=grid.size_tolerance if grid else 0.1,
        n_neighbours=grid.size_neighbours if grid else 1,
    )


def _blocks(
    drawer: Drawer,
    galaxies: CutoutSet,
    *,
    plans: dict[str, Plan],
    summaries: dict[str, SplitSummary],
    task: ManifestTask,
    schema: pa.Schema,
    progress: Progress,
) -> Iterator[pa.Table]:
    """Row groups of the whole manifest; one may span two splits."""
    paired = task.controls.mode == "paired"
    total, done = sum(plan.n_rows for plan in plans.values()), 0
    held: list[pa.Table] = []
    for split, plan in plans.items():
        start = 0
        while start < plan.n_rows:
            room = ROWS_PER_GROUP - sum(part.num_rows for part in held)
            stop = min(start + room, plan.n_rows)
            drawn = drawer.draw(plan.rows(start, stop))
            summaries[split].add(drawn)
            held.append(manifest_table(drawn, galaxies, label=task.design.label, paired=paired, schema=schema))
            done += stop - start
            start = stop
            if sum(part.num_rows for part in held) == ROWS_PER_GROUP or done == total:
                yield pa.concat_tables(held)
                held = []
                progress(done, total)


def _summary(
    task: ManifestTask,
    *,
    design: Design,
    summaries: dict[str, SplitSummary],
    plans: dict[str, Plan],
    sizes: SourceSizes,
) -> dict[str, Any]:
    splits = {split: part.numbers() for split, part in summaries.items()}
    asked: list[float] = next((axis.low.tolist() for axis in design.axes if axis.name == "source_hlr_arcsec"), [])
    reports = [sizes.report(size) for size in asked]
    tolerance = task.design.size_tolerance if isinstance(task.design, GridDesign) else 0.0
    n_rows = sum(plan.n_rows for plan in plans.values())
    return {
        "design": design.label,
        "rows": n_rows,
        "n_cells": design.n_cells,
        "splits": splits,
        "source_sizes": reports,
        "stamps": expectation(n_rows, task.estimate),
        "warnings": warnings_of(splits, source_sizes=reports, tolerance=tolerance),
    }
