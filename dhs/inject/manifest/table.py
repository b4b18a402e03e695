"""A manifest on disk: columns, schema, metadata, and back to recipes.

    task_id           "<design>/<target_id>/<cell or control>/<replicate>", unique
    split, design     text
    cell              int32, number of the design's cell; -1 for controls
    replicate         int32
    pair_id           "<design>/<target_id>": rows of one galaxy with and without arcs (controls.mode=paired), else null
    ra_deg, dec_deg   float64
    kind              class of the galaxy
    ...               every column of `RecipeBatch.columns()` but `row`, which is that of a sky
    asked_<axis>      float64, what the design asked for; NaN for controls
    source_hlr_arcsec float32, half-light radius of the source that is used

Schema metadata b"dhs_manifest": JSON with schema_version, configuration, seed, rows of each split, versions.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import CLASSES, SPLITS
from dhs.inject.manifest.design import Design
from dhs.inject.manifest.draw import Drawn
from dhs.inject.recipe import RecipeBatch, controls
from dhs.sky.cutouts import CutoutSet

SCHEMA_VERSION = 1
METADATA_KEY = b"dhs_manifest"
ROWS_PER_GROUP = 4096

FIRST_COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("task_id", pa.string()),
    ("split", pa.string()),
    ("design", pa.string()),
    ("cell", pa.int32()),
    ("replicate", pa.int32()),
    ("pair_id", pa.string()),
    ("ra_deg", pa.float64()),
    ("dec_deg", pa.float64()),
    ("kind", pa.string()),
)


def manifest_schema(galaxies: CutoutSet, *, design: Design, metadata: dict[str, Any] | None = None) -> pa.Schema:
    """The columns of a manifest over ``galaxies``."""
    none = np.zeros(0, np.int64)
    recipe = controls(galaxies, none, keys=np.zeros((0, 4), np.int64)).columns()
    fields = [
        *FIRST_COLUMNS,
        *((name, pa.from_numpy_dtype(column.dtype)) for name, column in recipe.items() if name != "row"),
        *((f"asked_{axis.name}", pa.float64()) for axis in design.axes),
        ("source_hlr_arcsec", pa.float32()),
    ]
    held = {METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()} if metadata is not None else None
    return pa.schema(fields, metadata=held)


def manifest_table(drawn: Drawn, galaxies: CutoutSet, *, label: str, paired: bool, schema: pa.Schema) -> pa.Table:
    """The finished rows as a table of ``schema``."""
    rows = drawn.rows.row
    n = len(rows)
    pairs = [f"{label}/{target}" for target in galaxies.target_id[rows].tolist()] if paired else [None] * n
    columns: dict[str, Any] = {
        "task_id": drawn.task_id,
        "split": np.array(SPLITS, dtype=object)[galaxies.split[rows]],
        "design": [label] * n,
        "cell": drawn.rows.cell,
        "replicate": drawn.rows.replicate,
        "pair_id": pairs,
        "ra_deg": galaxies.ra_deg[rows],
        "dec_deg": galaxies.dec_deg[rows],
        "kind": np.array(CLASSES, dtype=object)[galaxies.kind[rows]],
        **drawn.recipes.columns(),
        **{f"asked_{name}": values for name, values in drawn.asked.items()},
        "source_hlr_arcsec": drawn.source_hlr_arcsec,
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of the manifest at ``path``; ValueError (one line) where it is none."""
    try:
        held = (pq.read_schema(path).metadata or {}).get(METADATA_KEY)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not readable as Parquet ({' '.join(str(error).split())})") from None
    if held is None:
        raise ValueError(f"{path}: no manifest (no metadata {METADATA_KEY.decode()}); make one with task=manifest")
    about: dict[str, Any] = json.loads(held)
    if about.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{path}: manifest of version {about.get('schema_version')}; allowed: {SCHEMA_VERSION}")
    return about


def recipes_of(table: pa.Table, cutouts: CutoutSet) -> RecipeBatch:
    """Recipes of manifest rows for the sky ``cutouts``; ValueError where the sky lacks one of the galaxies."""
    target_id = table["target_id"].to_numpy()
    rows = cutouts.rows_of(target_id)
    missing = _first_few(target_id[rows < 0])
    if missing:
        raise ValueError(f"{(rows < 0).sum()} of {len(rows)} rows: the sky has no target_id {missing}")
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "row"}
    return RecipeBatch.from_columns(columns | {"row": rows})


def _first_few(ids: np.ndarray) -> str:
    shown: Sequence[int] = np.unique(ids)[:3].tolist()
    return ", ".join(map(str, shown))
