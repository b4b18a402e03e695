"""`sky=store`: the `CutoutSet` of a store that `inject.py task=cutouts` made.

Only rows with `cutout_ok` are in the set; how many were left out, and why, is logged. Pixels stay in the shards and are
mapped (workers share the machine's page cache), or are read into memory at the start (`resident`). With `verify` every
cutout is read, compared with its checksum and judged again; damaged ones are left out and counted.
"""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dhs.config.cutouts import CutoutQuality
from dhs.config.sky import StoreSky
from dhs.constants import BANDS, CLASSES, SPLITS
from dhs.sky.cutout_quality import faults
from dhs.sky.cutouts import CutoutSet, PixelRows
from dhs.sky.depth import mag_of_flux
from dhs.sky.mapped import MappedRows, ShardMaps
from dhs.sky.shards import SampleLayout, checksum_of
from dhs.sky.splits import split_of_position
from dhs.sky.store_index import SCHEMA_VERSION, shard_path

_LOG = logging.getLogger(__name__)

REDSHIFT_COLUMNS = ("redshift", "z_spec", "z_phot", "z_phot_median")
"""The first that the list has is the galaxy's redshift."""

FLUX_COLUMNS = ("flux_{}_nmgy", "flux_{}")
"""As task=targets names them, and as Tractor does."""

READ_AT_ONCE = 256


def load_store_sky(config: StoreSky, *, max_galaxies: int | None = None) -> CutoutSet:
    """The good cutouts of ``config.path``, the first ``max_galaxies`` of them (null: all), in the store's order.

    ValueError (one line) where the store is unfinished, damaged, of another version, or lacks what every galaxy needs.
    """
    store = config.folder
    card = _card(store)
    index = _index(store)
    _require_columns(store, index, config)
    _log_left_out(store, index)
    index = index.filter(index["cutout_ok"])
    if max_galaxies is not None:
        index = index.slice(0, max_galaxies)
    if index.num_rows == 0:
        raise ValueError(f"sky.path = {store}: no cutout in it is fit for use; ledger.csv says why for each")
    _require_known(store, index, config)
    maps = _maps(store, card)
    if config.verify:
        index = index.filter(pa.array(_verified(store, maps, index)))
    pixels = {name: _pixels(maps, name, index, resident=config.resident) for name in ("image", "invvar", "maskbits")}
    return CutoutSet(
        images=pixels["image"],
        invvar=pixels["invvar"],
        maskbits=pixels["maskbits"],
        split=_split(index, config),
        **catalogue_columns(index),
    )


def catalogue_columns(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns of a `CutoutSet`, pixels and split left out, of a checked list of targets or a store's index.

    NaN where ``table`` has no such column.
    """
    return {
        "target_id": _column(table, "target_id", np.int64),
        "psf_fwhm_arcsec": _bands(table, "psfsize_{}_arcsec"),
        "psf_depth_mag": _bands(table, "psfdepth_{}_mag"),
        "ra_deg": _column(table, "ra_deg", np.float64),
        "dec_deg": _column(table, "dec_deg", np.float64),
        "kind": _codes(table["kind"], CLASSES),
        "mag": _magnitudes(table),
        "axis_ratio": _column(table, "axis_ratio", np.float32),
        "position_angle_rad": _column(table, "position_angle_rad", np.float32),
        "redshift": _redshift(table),
        "centre_x_arcsec": _column(table, "centre_x_arcsec", np.float32),
        "centre_y_arcsec": _column(table, "centre_y_arcsec", np.float32),
    }


def _card(store: Path) -> dict[str, Any]:
    path = store / "store.json"
    if not path.is_file():
        raise ValueError(
            f"sky.path = {store}: no finished store (no store.json); run `inject.py task=cutouts` to its end"
        )
    card = json.loads(path.read_text())
    if card["schema_version"] != SCHEMA_VERSION or card["bands"] != "".join(BANDS):
        raise ValueError(
            f"sky.path = {store}: version {card['schema_version']} with bands {card['bands']}; allowed: version "
            f"{SCHEMA_VERSION} with {''.join(BANDS)}; make it again"
        )
    return card


def _index(store: Path) -> pa.Table:
    try:
        return pq.read_table(store / "index.parquet")
    except (pa.ArrowInvalid, OSError) as error:
        remedy = "run `inject.py task=cutouts` again: it writes a new one from the shards"
        raise ValueError(f"{store / 'index.parquet'}: not readable ({error}); {remedy}") from None


def _require_columns(store: Path, index: pa.Table, config: StoreSky) -> None:
    """What has no default: who, where, what kind, which pixels, the seeing."""
    needed = ["target_id", "ra_deg", "dec_deg", "kind", "cutout_ok", "reason", "shard", "sample"]
    needed += [f"psfsize_{band}_arcsec" for band in BANDS]
    needed += ([] if config.split else ["split"]) + (["crc32"] if config.verify else [])
    missing = [name for name in needed if name not in index.column_names]
    if missing:
        raise ValueError(
            f"{store / 'index.parquet'}: has no column {', '.join(missing)}, which every galaxy needs; make the store "
            "again with `inject.py task=cutouts` from a list that has it"
        )


def _require_known(store: Path, index: pa.Table, config: StoreSky) -> None:
    """Every galaxy's class and split are ones there are, its seeing is a number above 0."""
    wanted = {"kind": CLASSES} | ({} if config.split else {"split": SPLITS})
    for name, allowed in wanted.items():
        for value in pc.unique(index[name]).to_pylist():
            if value not in allowed:
                raise ValueError(f"{store / 'index.parquet'}: {name} = {value}: must be one of {', '.join(allowed)}")
    bad = np.any(~(_bands(index, "psfsize_{}_arcsec") > 0), axis=1)
    if bad.any():
        raise ValueError(
            f"{store / 'index.parquet'}: psfsize is not known for {bad.sum()} of {len(bad)} galaxies, first target_id "
            f"{index['target_id'][int(bad.argmax())]}; give the list psfsize_g_arcsec, psfsize_r_arcsec, "
            "psfsize_z_arcsec"
        )


def _maps(store: Path, card: dict[str, Any]) -> ShardMaps:
    """The shards, their lengths compared with the card's."""
    layout = SampleLayout(card["stamp_size_px"])
    paths = [shard_path(store, number, "tar") for number in range(len(card["shards"]))]
    for path, record in zip(paths, card["shards"], strict=True):
        n_bytes = path.stat().st_size if path.is_file() else 0
        if n_bytes != record["n_bytes"]:
            raise ValueError(
                f"{path}: {n_bytes} bytes, written were {record['n_bytes']}; run `inject.py task=cutouts` again: it "
                "makes the damaged shards anew"
            )
    return ShardMaps(paths, layout=layout)


def _log_left_out(store: Path, index: pa.Table) -> None:
    reasons = Counter(index["reason"].to_pylist())
    good = reasons.pop("", 0)
    left_out = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common()) or "none"
    _LOG.info("%s: %d cutouts of %d targets; left out: %s", store, good, index.num_rows, left_out)


def _pixels(maps: ShardMaps, name: str, index: pa.Table, *, resident: bool) -> PixelRows:
    rows = MappedRows(maps, name, shard=_column(index, "shard", np.int32), sample=_column(index, "sample", np.int32))
    return rows[:] if resident else rows


def _verified(store: Path, maps: ShardMaps, index: pa.Table) -> np.ndarray:
    """True where a cutout's pixels have their checksum and are still fit."""
    images, invvar, maskbits = (_pixels(maps, name, index, resident=False) for name in ("image", "invvar", "maskbits"))
    quality = CutoutQuality.model_validate(json.loads((store / "job.json").read_text())["quality"])
    wanted, ids = index["crc32"].to_numpy(), index["target_id"].to_numpy()
    fine = np.ones(index.num_rows, bool)
    for first in range(0, index.num_rows, READ_AT_ONCE):
        rows = slice(first, min(first + READ_AT_ONCE, index.num_rows))
        part = images[rows], invvar[rows], maskbits[rows]
        found = [checksum_of(*sample) for sample in zip(*part, strict=True)]
        reasons, _ = faults(*part, quality=quality)
        fine[rows] = [crc == want and not why for crc, want, why in zip(found, wanted[rows], reasons, strict=True)]
    if not fine.all():
        bad = ids[~fine]
        _LOG.warning("%s: %d damaged cutouts left out, first target_id %d", store, len(bad), bad[0])
    return fine


def _column(index: pa.Table, name: str, dtype: Any) -> np.ndarray:
    """A column as numpy, NaN where the index has none."""
    if name not in index.column_names:
        return np.full(index.num_rows, np.nan, dtype)
    return index[name].to_numpy().astype(dtype)


def _bands(index: pa.Table, pattern: str) -> np.ndarray:
    return np.stack([_column(index, pattern.format(band), np.float32) for band in BANDS], axis=1)


def _codes(column: pa.ChunkedArray, names: tuple[str, ...]) -> np.ndarray:
    return pc.index_in(column, value_set=pa.array(names)).to_numpy().astype(np.int8)


def _split(index: pa.Table, config: StoreSky) -> np.ndarray:
    if config.split is None:
        return _codes(index["split"], SPLITS)
    return split_of_position(index["ra_deg"].to_numpy(), index["dec_deg"].to_numpy(), config=config.split)


def _magnitudes(index: pa.Table) -> np.ndarray:
    """(N, B) AB magnitude, as observed, of the list's fluxes (nMgy), else its magnitudes; NaN where it has none."""
    for pattern in FLUX_COLUMNS:
        if pattern.format(BANDS[0]) in index.column_names:
            flux = _bands(index, pattern)
            return mag_of_flux(np.where(flux > 0, flux, np.nan)).astype(np.float32)
    return _bands(index, "mag_{}")


def _redshift(index: pa.Table) -> np.ndarray:
    for name in REDSHIFT_COLUMNS:
        if name in index.column_names:
            values = _column(index, name, np.float32)
            return np.where(values > 0, values, np.nan).astype(np.float32)
    return np.full(index.num_rows, np.nan, np.float32)
