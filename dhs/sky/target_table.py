"""The target table: one Parquet row a galaxy, its columns, units and how they come from catalogue rows.

Fluxes and `mag_*` are as observed (what the pixels show); divide by `mw_transmission_*` for the light above the dust.
`target_id` is DESI's TARGETID (RELEASE, BRICKID, OBJID in 16, 20 and 22 bits), so DESI's spectra join by it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import BANDS, CLASSES, SPLITS
from dhs.rng import stable_fraction
from dhs.sky.catalogue_checks import depth_mag
from dhs.sky.lrg_cuts import magnitude
from dhs.sky.negatives import sersic_index
from dhs.sky.sweeps import Rows
from dhs.sky.tractor_shapes import axis_ratio_and_angle

ROLES = ("injection", "control", "negative")
"""injection: a host that gets arcs; control: a host that never does; negative: a galaxy of another class."""

NEEDED_COLUMNS = (
    *("RELEASE", "BRICKID", "BRICKNAME", "OBJID", "TYPE", "RA", "DEC", "EBV", "MASKBITS", "FITBITS"),
    *(f"{name}_{band}" for name in ("FLUX", "MW_TRANSMISSION") for band in ("G", "R", "Z", "W1")),
    *(f"{name}_{band}" for name in ("NOBS", "PSFSIZE", "PSFDEPTH", "GALDEPTH") for band in ("G", "R", "Z")),
    *("SHAPE_R", "SHAPE_E1", "SHAPE_E2", "SERSIC"),
)
"""Columns of a sweep or Tractor file that are read."""

SCHEMA = pa.schema(
    [
        ("target_id", pa.int64()),
        ("ra_deg", pa.float64()),
        ("dec_deg", pa.float64()),
        ("release", pa.int16()),
        ("brickid", pa.int32()),
        ("brickname", pa.string()),
        ("objid", pa.int32()),
        ("kind", pa.string()),
        ("subclass", pa.string()),
        ("split", pa.string()),
        ("role", pa.string()),
        ("lrg_cuts", pa.int8()),
        ("type", pa.string()),
        *((f"flux_{band}_nmgy", pa.float32()) for band in (*BANDS, "w1")),
        *((f"mw_transmission_{band}", pa.float32()) for band in (*BANDS, "w1")),
        *((f"mag_{band}", pa.float32()) for band in BANDS),
        *((f"psfsize_{band}_arcsec", pa.float32()) for band in BANDS),
        *((f"psfdepth_{band}_mag", pa.float32()) for band in BANDS),
        *((f"galdepth_{band}_mag", pa.float32()) for band in BANDS),
        *((f"nobs_{band}", pa.int16()) for band in BANDS),
        ("ebv", pa.float32()),
        ("maskbits", pa.int32()),
        ("fitbits", pa.int32()),
        ("shape_r_arcsec", pa.float32()),
        ("shape_e1", pa.float32()),
        ("shape_e2", pa.float32()),
        ("axis_ratio", pa.float32()),
        ("position_angle_rad", pa.float32()),
        ("sersic", pa.float32()),
        ("z_phot", pa.float32()),
    ],
    metadata={"dhs_schema": "targets/1"},
)
"""kind: constants.CLASSES; subclass: the rule that took a negative; lrg_cuts: bit k = cut v(k+1) passed; depths AB,
5 sigma; NaN: unknown (no positive flux, REX has no shape, no photometric redshift)."""


def target_id(release: np.ndarray, brickid: np.ndarray, objid: np.ndarray) -> np.ndarray:
    """DESI's TARGETID, (N,) int64: OBJID in bits 0-21, BRICKID in 22-41, RELEASE in 42-57."""
    for name, values, bits in (("RELEASE", release, 16), ("BRICKID", brickid, 20), ("OBJID", objid, 22)):
        if len(values) and (values.min() < 0 or values.max() >= 1 << bits):
            raise ValueError(f"{name} from {values.min()} to {values.max()}: allowed are 0 to {(1 << bits) - 1}")
    return (release.astype(np.int64) << 42) | (brickid.astype(np.int64) << 22) | objid.astype(np.int64)


def gets_arc(target_ids: np.ndarray, *, control_fraction: float = 0.5) -> np.ndarray:
    """(N,) bool: the host's id says injection, for ever; about ``control_fraction`` of the hosts are controls.

    The one rule of streams, manifests and target tables; a smaller fraction turns some controls into hosts of arcs.
    """
    limit = 1.0 - control_fraction
    return np.array([stable_fraction(str(i), salt="control") < limit for i in target_ids.tolist()], dtype=bool)


def build_table(
    rows: Rows, *, kind: np.ndarray, subclass: np.ndarray, split: np.ndarray, lrg: np.ndarray, z_phot: np.ndarray
) -> pa.Table:
    """Targets of catalogue ``rows``; ``kind`` and ``split`` index constants.CLASSES and SPLITS, ``lrg`` holds bits."""
    ids = target_id(rows["RELEASE"], rows["BRICKID"], rows["OBJID"])
    is_host = kind == CLASSES.index("lrg")
    role = np.full(len(rows), ROLES.index("negative"))
    role[is_host] = np.where(gets_arc(ids[is_host]), ROLES.index("injection"), ROLES.index("control"))
    tractor_type = rows["TYPE"]
    has_shape = np.isin(tractor_type, ("DEV", "EXP", "SER"))
    ratio, angle = axis_ratio_and_angle(rows["SHAPE_E1"], rows["SHAPE_E2"], has_shape=has_shape)
    columns: dict[str, np.ndarray] = {
        "target_id": ids,
        "ra_deg": rows["RA"],
        "dec_deg": rows["DEC"],
        "brickname": rows["BRICKNAME"],
        "kind": np.array(CLASSES)[kind],
        "subclass": subclass,
        "split": np.array(SPLITS)[split],
        "role": np.array(ROLES)[role],
        "lrg_cuts": lrg,
        "type": tractor_type,
        "shape_r_arcsec": rows["SHAPE_R"],
        "axis_ratio": ratio,
        "position_angle_rad": angle,
        "sersic": sersic_index(tractor_type, rows["SERSIC"]),
        "z_phot": z_phot,
    }
    for name in ("release", "brickid", "objid", "ebv", "maskbits", "fitbits", "shape_e1", "shape_e2"):
        columns[name] = rows[name.upper()]
    for band in (*BANDS, "w1"):
        columns[f"flux_{band}_nmgy"] = rows[f"FLUX_{band.upper()}"]
        columns[f"mw_transmission_{band}"] = rows[f"MW_TRANSMISSION_{band.upper()}"]
    for band in BANDS:
        columns[f"mag_{band}"] = magnitude(rows[f"FLUX_{band.upper()}"])
        columns[f"psfsize_{band}_arcsec"] = rows[f"PSFSIZE_{band.upper()}"]
        columns[f"psfdepth_{band}_mag"] = depth_mag(rows[f"PSFDEPTH_{band.upper()}"])
        columns[f"galdepth_{band}_mag"] = depth_mag(rows[f"GALDEPTH_{band.upper()}"])
        columns[f"nobs_{band}"] = rows[f"NOBS_{band.upper()}"]
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def read_targets(path: Path, *, columns: Sequence[str] | None = None) -> pa.Table:
    """The target table at ``path`` (a file, or the output_dir of task=targets); ValueError where it is none."""
    file = path / "targets.parquet" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; `python inject.py task=targets sky.sweep_dir=...` writes it")
    metadata = pq.read_schema(file).metadata or {}
    if metadata.get(b"dhs_schema") != b"targets/1":
        raise ValueError(f"{file}: not a target table of this version (dhs_schema targets/1); run task=targets")
    return pq.read_table(file, columns=None if columns is None else list(columns))
