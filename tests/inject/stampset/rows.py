"""Manifest-like tables of a small sky, made from the injector's own recipes."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import CLASSES, SPLITS
from dhs.inject.injector import Injector
from dhs.inject.recipe import RecipeBatch
from dhs.rng import Purpose, stable_hash


def manifest_table(injector: Injector, *, n_rows: int) -> pa.Table:
    """The columns of the contract for ``n_rows`` recipes of the injector, sorted by split; keys are of the task ids."""
    per_split = -(-n_rows // 3)
    recipes = [
        injector.stamps(np.arange(per_split) % injector.n_stamps(purpose), purpose=purpose).recipes
        for purpose in (Purpose.TRAIN, Purpose.VAL, Purpose.TEST)
    ]
    columns = {
        name: np.concatenate([batch.columns()[name] for batch in recipes])[:n_rows] for name in recipes[0].columns()
    }
    sky = injector.cutouts
    row = columns.pop("row")
    task_id = [f"drawn/{target}/0/{i}" for i, target in enumerate(columns["target_id"].tolist())]
    columns["key_purpose"] = np.full(n_rows, int(Purpose.MANIFEST))
    columns["key_index"] = np.array([stable_hash(name) >> 1 for name in task_id])
    first = {
        "task_id": task_id,
        "split": [SPLITS[code] for code in sky.split[row]],
        "design": ["drawn"] * n_rows,
        "cell": pa.array(np.where(columns["injected"], 0, -1), pa.int32()),
        "replicate": pa.array(np.arange(n_rows), pa.int32()),
        "pair_id": pa.nulls(n_rows, pa.string()),
        "ra_deg": sky.ra_deg[row],
        "dec_deg": sky.dec_deg[row],
        "kind": [CLASSES[code] for code in sky.kind[row]],
    }
    table = pa.table(first | columns)
    return table.replace_schema_metadata({b"dhs_manifest": json.dumps({"schema_version": 1, "seed": 1}).encode()})


def write_manifest(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path, compression="zstd", row_group_size=16)
    return path


def recipes_of(table: pa.Table, injector: Injector) -> RecipeBatch:
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return RecipeBatch.from_columns(columns | {"row": injector.cutouts.rows_of(columns["target_id"])})
