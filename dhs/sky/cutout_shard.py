"""One shard of a store: fetch its targets, judge them, write the good ones and all rows of the index."""

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.config.cutouts import CutoutsTask
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.sky.cutout_quality import faults
from dhs.sky.depth import depth_of_sigma
from dhs.sky.fetched import Fetched
from dhs.sky.shards import sha256_of, write_shard
from dhs.sky.store_index import index_rows, shard_path, write_parquet

Fetch = Callable[[pa.Table], Fetched]
"""Targets -> their cutouts, in order."""

RECORD_KEY = b"dhs_shard"
"""Schema metadata of a shard's index: SHA-256 and length of the tar it belongs to."""


def make_shard(task: CutoutsTask, shard: int, *, targets: pa.Table, fetch: Fetch) -> Counter[str]:
    """Write shard ``shard`` with its index (last); how many targets ended with each reason ("" is good)."""
    index_path = shard_path(task.output, shard, "parquet")
    index_path.unlink(missing_ok=True)  # from here to the end the shard is unfinished
    fetched = fetch(targets)
    _judge(fetched, task)
    psfsize = _psfsize(fetched, targets, task)
    psfdepth = _psfdepth(fetched, targets, psfsize[0])
    good = np.array([not reason for reason in fetched.reason])
    rows = np.flatnonzero(good)
    written = write_shard(
        shard_path(task.output, shard, "tar"),
        ids=targets["target_id"].to_numpy()[rows].tolist(),
        arrays={"image": fetched.images[rows], "invvar": fetched.invvar[rows], "maskbits": fetched.maskbits[rows]},
        metadata=[_metadata(targets, fetched, psfsize[0], psfdepth[0], row) for row in rows.tolist()],
    )
    table = index_rows(targets, fetched, psfsize=psfsize, psfdepth=psfdepth, shard=shard, crc32=written.crc32)
    record = json.dumps({"sha256": written.sha256, "n_bytes": written.n_bytes}, sort_keys=True)
    write_parquet(index_path, table.replace_schema_metadata({RECORD_KEY: record.encode()}))
    return Counter(fetched.reason)


def shard_record(store: Path, shard: int) -> dict[str, Any] | None:
    """SHA-256 and length of a shard's tar as its index has them; None where there is no readable index."""
    path = shard_path(store, shard, "parquet")
    try:
        return json.loads(pq.read_schema(path).metadata[RECORD_KEY])
    except FileNotFoundError:
        return None
    except (pa.ArrowInvalid, OSError, KeyError, TypeError):
        return None


def finished_reasons(store: Path, shard: int, *, verify: bool) -> Counter[str] | str | None:
    """Reasons of a finished shard; None where there is none; the damage, in words, where there is a broken one."""
    record, tar = shard_record(store, shard), shard_path(store, shard, "tar")
    if record is None:
        return None
    if not tar.is_file():
        return "its tar is gone"
    if tar.stat().st_size != record["n_bytes"]:
        return f"{tar.stat().st_size} bytes, written were {record['n_bytes']}"
    if verify and sha256_of(tar) != record["sha256"]:
        return "another SHA-256 than when it was written"
    try:
        return Counter(pq.read_table(shard_path(store, shard, "parquet"), columns=["reason"])["reason"].to_pylist())
    except (pa.ArrowInvalid, OSError) as error:
        return f"its index is not readable ({error})"


def _judge(fetched: Fetched, task: CutoutsTask) -> None:
    """Give a reason to every cutout that came but is not fit."""
    came = np.flatnonzero([not reason for reason in fetched.reason])
    if len(came) == 0:
        return
    reasons, details = faults(fetched.images[came], fetched.invvar[came], fetched.maskbits[came], quality=task.quality)
    for row, reason, detail in zip(came.tolist(), reasons, details, strict=True):
        if reason:
            fetched.fail(row, reason, detail)


def _psfsize(fetched: Fetched, targets: pa.Table, task: CutoutsTask) -> tuple[np.ndarray, list[str]]:
    """(n, B) FWHM: the brick's map, else the list's column, else (service) the configured; and where it is from."""
    size = fetched.psfsize_arcsec.copy()
    source = np.where(np.isfinite(size).all(axis=1), "map", "list").astype("<U7")
    listed = _columns(targets, "psfsize_{}_arcsec")
    size = np.where(np.isfinite(size), size, np.where(listed > 0, listed, np.nan))
    lacking = ~np.isfinite(size).all(axis=1)
    if task.source == "service":
        size = np.where(np.isfinite(size), size, np.array(task.service.psf_fwhm_arcsec, np.float32))
        source[lacking] = "default"
    else:
        for row in np.flatnonzero(lacking).tolist():
            if not fetched.reason[row]:
                what = f"brick {fetched.brick[row]}: no psfsize map, and the list has no psfsize_*_arcsec"
                fetched.fail(row, "psf_unknown", what)
    ok = [not reason for reason in fetched.reason]
    return size.astype(np.float32), [str(name) if good else "" for name, good in zip(source, ok, strict=True)]


def _psfdepth(fetched: Fetched, targets: pa.Table, psfsize_arcsec: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(n, B) 5-sigma AB depth: the list's, else from the median inverse variance of the pixels with data."""
    depth = _columns(targets, "psfdepth_{}_mag")
    source = ["list" if known else "invvar" for known in np.isfinite(depth).all(axis=1)]
    for row, reason in enumerate(fetched.reason):
        if reason:
            source[row] = ""
        elif source[row] == "invvar":
            typical = np.array([np.median(plane[plane > 0]) for plane in fetched.invvar[row]], float)
            measured = depth_of_sigma(
                typical**-0.5, fwhm_arcsec=psfsize_arcsec[row], pixel_scale_arcsec=PIXEL_SCALE_ARCSEC
            )
            depth[row] = np.where(np.isfinite(depth[row]), depth[row], measured)
    return depth.astype(np.float32), source


def _columns(targets: pa.Table, pattern: str) -> np.ndarray:
    """(n, B) float64 of the columns ``pattern`` names; NaN where the list has none."""
    names = [pattern.format(band) for band in BANDS]
    none = np.full(targets.num_rows, np.nan)
    return np.stack([targets[n].to_numpy() if n in targets.column_names else none for n in names], axis=1)


def _metadata(targets: pa.Table, fetched: Fetched, size: np.ndarray, depth: np.ndarray, row: int) -> dict[str, Any]:
    """A sample's JSON: what a reader needs who has the tar alone."""
    return {
        "target_id": targets["target_id"][row].as_py(),
        "ra_deg": targets["ra_deg"][row].as_py(),
        "dec_deg": targets["dec_deg"][row].as_py(),
        "brick": fetched.brick[row],
        "kind": targets["kind"][row].as_py(),
        "split": targets["split"][row].as_py(),
        "bands": "".join(BANDS),
        "unit": "nanomaggy",
        "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
        "psf_fwhm_arcsec": _rounded(size[row]),
        "psf_depth_mag": _rounded(depth[row]),
        "centre_arcsec": _rounded(fetched.centre_arcsec[row]),
        "invvar_source": fetched.invvar_source[row],
    }


def _rounded(values: np.ndarray) -> list[float | None]:
    return [round(float(value), 5) if math.isfinite(value) else None for value in values]
