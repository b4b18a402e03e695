"""The list of targets that cutouts are made of: a Parquet or CSV table, checked and brought to one form.

Needed: `target_id` (or `id`; whole numbers, unique), `ra_deg` and `dec_deg` (or `ra`, `dec`; ICRS
degrees), in any case. Known where present: `brickname`, `kind` (constants.CLASSES), `split` (constants.SPLITS),
`flux_g_nmgy` (or `flux_g`, `mag_g`) ..., `psfsize_g_arcsec ...`, `psfdepth_g_mag ...`, `axis_ratio`,
`position_angle_rad`. Every other column travels along.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from dhs.config.sky import SplitConfig
from dhs.constants import BANDS, CLASSES, SPLITS
from dhs.sky.brick_grid import brick_of_position
from dhs.sky.splits import split_of_position

ALIASES = {"id": "target_id", "ra": "ra_deg", "dec": "dec_deg"}

NUMERIC = (
    *(name for band in BANDS for name in (f"flux_{band}_nmgy", f"flux_{band}", f"mag_{band}")),
    *(f"psfsize_{band}_arcsec" for band in BANDS),
    *(f"psfdepth_{band}_mag" for band in BANDS),
    "axis_ratio",
    "position_angle_rad",
)
"""Columns that must be numbers where they are present."""

PSFDEPTH_RANGE_MAG = (15.0, 30.0)
"""A psfdepth_*_mag outside is an inverse variance or a slip."""


def read_target_list(path: Path, *, kind: str, split: SplitConfig) -> pa.Table:
    """The checked table with `target_id`, `ra_deg`, `dec_deg`, `brickname`, `kind`, `split` and all others.

    ``kind``, ``split`` serve lists without such a column; positions that are none get an empty `brickname`
    and `split` null. ValueError of one line: file, what, allowed.
    """
    table = _renamed(path, _read(path))
    for name in ("target_id", "ra_deg", "dec_deg"):
        if name not in table.column_names:
            known = ", ".join(table.column_names[:12])
            raise ValueError(f"{path}: no column {name}; allowed: target_id (or id), ra_deg, dec_deg; it has {known}")
    if table.num_rows == 0:
        raise ValueError(f"{path}: no rows; allowed: at least one target")
    columns = {name: table[name] for name in table.column_names}
    columns["target_id"] = _ids(path, table["target_id"])
    for name in ("ra_deg", "dec_deg", *(name for name in NUMERIC if name in columns)):
        columns[name] = _numbers(path, name, columns[name])
    _check_depths(path, columns)
    ra, dec = columns["ra_deg"].to_numpy(), columns["dec_deg"].to_numpy()
    columns["brickname"] = _bricks(path, columns.get("brickname"), ra, dec)
    columns["kind"] = _names(path, "kind", columns.get("kind"), CLASSES, np.full(len(ra), kind))
    columns["split"] = _names(path, "split", columns.get("split"), SPLITS, _splits(ra, dec, split))
    return pa.table(columns)


def has_position(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """True where (N,) coordinates are a position: finite, RA in [0, 360], Dec in [-90, 90] degrees."""
    return (ra_deg >= 0.0) & (ra_deg <= 360.0) & (np.abs(dec_deg) <= 90.0)


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise ValueError(f"task.targets = {path}: no such file; give a Parquet or CSV list (docs/sky.md)")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pq.read_table(path)
        if path.suffix.lower() == ".csv":
            return pyarrow.csv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not readable ({' '.join(str(error).split())}); allowed: Parquet or CSV") from None
    raise ValueError(f"{path}: suffix {path.suffix!r}; allowed: .parquet, .pq, .csv")


def _renamed(path: Path, table: pa.Table) -> pa.Table:
    names = [ALIASES.get(name.lower(), name.lower()) for name in table.column_names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: more than one column is {twice[0]}; allowed: one")
    return table.rename_columns(names)


def _ids(path: Path, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(f"{path}: target_id has type {column.type}; allowed: whole numbers (int64), none missing")
    ids = column.cast(pa.int64())
    counts = pc.value_counts(ids.combine_chunks())
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        first = repeated[0].as_py()
        raise ValueError(
            f"{path}: {len(repeated)} duplicate ids, first target_id {first['values']}, {first['counts']} times; "
            "allowed: every id once"
        )
    return ids


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        example = next((value for value in column[:10].to_pylist() if value is not None), None)
        hint = " degrees, not sexagesimal" if name in ("ra_deg", "dec_deg") else ""
        raise ValueError(f"{path}: {name} has type {column.type} ({example!r}); allowed: numbers{hint}")
    return pc.fill_null(column.cast(pa.float64()), float("nan"))


def _check_depths(path: Path, columns: dict[str, pa.ChunkedArray]) -> None:
    low, high = PSFDEPTH_RANGE_MAG
    for band in BANDS:
        name = f"psfdepth_{band}_mag"
        values = columns[name].to_numpy() if name in columns else np.zeros(0)
        values = values[np.isfinite(values)]
        if len(values) and not low <= np.median(values) <= high:
            raise ValueError(
                f"{path}: {name} has median {np.median(values):.4g}; allowed: AB magnitudes, {low:g} to {high:g} "
                "(of an inverse variance: 22.5 - 2.5 log10(5 / sqrt(psfdepth)))"
            )


def _bricks(path: Path, column: pa.ChunkedArray | None, ra: np.ndarray, dec: np.ndarray) -> pa.Array:
    """Names of the list, or of the grid; empty where there is no position."""
    placed = has_position(ra, dec)
    if column is None:
        names = np.full(len(ra), "", dtype="<U8")
        names[placed] = brick_of_position(ra[placed], dec[placed])
        return pa.array(names)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ValueError(f"{path}: brickname has type {column.type}; allowed: text such as 0347m150")
    names = np.char.strip(np.asarray(pc.fill_null(column, "").to_pylist(), dtype=str))
    _check_hours(path, ra, dec, names)
    return pa.array(np.where(placed, names, ""))


def _check_hours(path: Path, ra: np.ndarray, dec: np.ndarray, names: np.ndarray) -> None:
    """RA in hours puts every galaxy into another brick than the list's own: named as such."""
    rows = np.flatnonzero(has_position(ra, dec) & (ra <= 24.0) & (names != ""))[:1000]
    if len(rows) == 0:
        return
    in_degrees = (brick_of_position(ra[rows], dec[rows]) == names[rows]).mean()
    in_hours = (brick_of_position(15.0 * ra[rows], dec[rows]) == names[rows]).mean()
    if in_hours > 0.5 > in_degrees:
        raise ValueError(
            f"{path}: ra_deg up to {np.nanmax(ra):.4f} is in hours (15 times it lies in the brick of brickname); "
            "allowed: degrees"
        )


def _names(
    path: Path, name: str, column: pa.ChunkedArray | None, allowed: tuple[str, ...], default: np.ndarray
) -> pa.Array | pa.ChunkedArray:
    if column is None:
        return pa.array([str(value) or None for value in default], pa.string())
    found = pc.unique(column.cast(pa.string())).to_pylist()
    unknown = [value for value in found if value not in allowed]
    if unknown:
        raise ValueError(f"{path}: {name} {unknown[0]!r}; allowed: {', '.join(allowed)}")
    return column.cast(pa.string())


def _splits(ra: np.ndarray, dec: np.ndarray, config: SplitConfig) -> np.ndarray:
    names = np.full(len(ra), "", dtype="<U5")
    placed = has_position(ra, dec)
    names[placed] = np.array(SPLITS)[split_of_position(ra[placed], dec[placed], config=config)]
    return names
