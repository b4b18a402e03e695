"""The list of hard negatives that `evaluate.py task=mine` writes and the next run trains on.

Parquet, a row a galaxy; the schema's metadata says what it was made of (`provenance`). What counts when it is used is
the run's own sky: a galaxy is looked up by its id and its position, and its split is the sky's, whatever the list says.
A galaxy of the test sky is refused, so a list that was mined on another split, or edited, cannot leak.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import CLASSES, SPLITS
from dhs.sky.cutouts import CutoutSet
from dhs.sky.store_index import write_parquet
from dhs.sky.target_table import gets_arc

FORMAT = "hard_negatives/1"

SCHEMA = pa.schema(
    [
        ("target_id", pa.int64()),
        ("ra_deg", pa.float64()),
        ("dec_deg", pa.float64()),
        ("class", pa.string()),
        ("score", pa.float32()),
        ("rank", pa.int32()),
        ("origin", pa.string()),
        ("checkpoint", pa.string()),
        ("split", pa.string()),
    ]
)
"""class: constants.CLASSES; score: the finder's logit; rank: within its class, 1 is the worst; origin: the store, or
the run's own sky; checkpoint: first 16 hex digits of the SHA-256 of the file that scored; split: of the sky mined."""

NEEDED = ("target_id", "ra_deg", "dec_deg", "class", "split")

SAME_GALAXY_ARCSEC = 1.0


class HardRows(NamedTuple):
    """What of a list a run trains on."""

    rows: np.ndarray
    """(n,) of the sky."""
    left_out: dict[str, int]
    """Reason -> galaxies."""


def write_hard_list(path: Path, columns: dict[str, Any], *, provenance: dict[str, Any]) -> None:
    """Write the list atomically, ``provenance`` in its schema's metadata."""
    metadata = {"dhs_schema": FORMAT, "provenance": json.dumps(provenance, sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, pa.table(columns, schema=SCHEMA.with_metadata(metadata)))


def read_hard_list(path: Path, *, key: str) -> pa.Table:
    """The list, checked; ValueError (one line) naming ``key``: no list, no rows, a column is missing, an id twice."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{key} = {path}: not a Parquet list ({str(error).splitlines()[0]}); `evaluate.py task=mine` writes one"
        ) from None
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{key} = {path}: has no column {', '.join(missing)}; a list of hard negatives has {', '.join(NEEDED)} "
            "(docs/negatives.md)"
        )
    if table.num_rows == 0:
        raise ValueError(f"{key} = {path}: has no rows; mine again, or set it to null")
    ids = table["target_id"].to_numpy()
    if len(np.unique(ids)) < len(ids):
        raise ValueError(f"{key} = {path}: {len(ids) - len(np.unique(ids))} target_id are listed twice; allowed: once")
    return table


def hard_rows(table: pa.Table, *, sky: CutoutSet, controls: str, where: str) -> HardRows:
    """Rows of ``sky`` that the list may train on: its own train galaxies; without ``controls`` = paired, no host.

    ValueError naming ``where``: a galaxy of the test sky, a list of another sky, or nothing left.
    """
    ids, listed_split = table["target_id"].to_numpy(), np.asarray(table["split"].to_pylist(), dtype=str)
    rows = sky.rows_of(ids)
    _require_this_sky(table, rows, sky=sky, where=where)
    test = (sky.split[rows] == SPLITS.index("test")) | (listed_split == "test")
    if test.any():
        raise ValueError(
            f"{where}: {test.sum()} of {len(ids)} galaxies are of the test sky, first target_id {ids[test.argmax()]}: "
            "never trained on; take them out, or mine the train sky with `evaluate.py task=mine`"
        )
    val = (sky.split[rows] == SPLITS.index("val")) | (listed_split == "val")
    host = ~val & may_host(sky, rows) if controls != "paired" else np.zeros(len(rows), bool)
    left_out = {"of the validation sky": int(val.sum()), "hosts of arcs": int(host.sum())}
    kept = rows[~val & ~host]
    if len(kept) == 0:
        raise ValueError(
            f"{where}: none of its {len(ids)} galaxies can serve ({val.sum()} of the validation sky, {host.sum()} "
            "hosts of arcs); mine the train sky"
        )
    return HardRows(kept, {reason: n for reason, n in left_out.items() if n})


def may_host(sky: CutoutSet, rows: np.ndarray) -> np.ndarray:
    """(n,) bool: galaxies that unpaired runs inject into, and so never show without an arc."""
    lrg = sky.kind[rows] == CLASSES.index("lrg")
    result = np.zeros(len(rows), bool)
    result[lrg] = gets_arc(sky.target_id[rows[lrg]])
    return result


def _require_this_sky(table: pa.Table, rows: np.ndarray, *, sky: CutoutSet, where: str) -> None:
    ids = table["target_id"].to_numpy()
    absent = rows < 0
    if absent.any():
        raise ValueError(
            f"{where}: a list of another sky: {absent.sum()} of {len(ids)} galaxies are not in this one, first "
            f"target_id {ids[absent.argmax()]}; give the sky that was mined (max_galaxies too)"
        )
    away = _separation_arcsec(
        table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), sky.ra_deg[rows], sky.dec_deg[rows]
    )
    elsewhere = away > SAME_GALAXY_ARCSEC  # NaN, a position that is not known, is not above
    if elsewhere.any():
        raise ValueError(
            f"{where}: a list of another sky: {elsewhere.sum()} of {len(ids)} galaxies are elsewhere in this one, "
            f"first target_id {ids[elsewhere.argmax()]} by {away[elsewhere.argmax()]:.3g} arcsec; give the sky "
            "that was mined"
        )


def _separation_arcsec(ra_1: np.ndarray, dec_1: np.ndarray, ra_2: np.ndarray, dec_2: np.ndarray) -> np.ndarray:
    """Great-circle distances (haversine) of (n,) pairs of positions in degrees; NaN where one is unknown."""
    ra_1, dec_1, ra_2, dec_2 = (np.radians(value) for value in (ra_1, dec_1, ra_2, dec_2))
    half = np.sin((dec_2 - dec_1) / 2) ** 2 + np.cos(dec_1) * np.cos(dec_2) * np.sin((ra_2 - ra_1) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.minimum(np.sqrt(half), 1.0))) * 3600
