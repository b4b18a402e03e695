"""Stamp sets of noise, written from the format's definition: quick, and no code of the engines is in them."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import BANDS, CLASSES
from dhs.inject.stamp_batch import StampBatch
from dhs.sky.cutouts import CutoutSet

N_PX = 16
"""Small, so that a set of thousands is quick; the format knows every size."""

METADATA = {
    "schema_version": 1,
    "bands": "grz",
    "pixel_scale_arcsec": 0.262,
    "stamp_size_px": N_PX,
    "unit": "nMgy per pixel",
    "image_layout": "(band, y, x)",
    "manifest_sha256": "0" * 64,
    "configuration": {"sky": {"name": "mock"}, "seed": 1},
    "versions": {},
}


def columns(n: int, *, split: str, first: int, seed: int = 0, failed: float = 0.1) -> dict[str, Any]:
    """Columns of n rows of ``split``, numbered from ``first``."""
    rng = np.random.default_rng([seed, first + 1])
    injected = rng.random(n) < 0.4
    ok = rng.random(n) >= failed
    values: dict[str, Any] = {
        "task_id": [f"noise/{first + i:06d}/c.{i % 7}/0" for i in range(n)],
        "split": [split] * n,
        "cutout_ok": ok,
        "reason": np.where(ok, "", "too_many_bad_pixels"),
        "design": ["noise"] * n,
        "pair_id": [None if i % 3 else f"pair{i}" for i in range(n)],
        "ra_deg": rng.uniform(0, 360, n),
        "dec_deg": rng.uniform(-60, 30, n),
        "kind": np.where(injected, "lrg", rng.choice(["lrg", "spiral", "ring"], n)),
    }
    values |= {f"key_{name}": np.arange(first, first + n) for name in ("seed", "purpose", "epoch", "index")}
    values |= {"target_id": 10_000 + (first + np.arange(n)) // 2, "injected": injected}
    for name in (
        "theta_e_arcsec", "axis_ratio", "phi_rad", "gamma1", "gamma2", "lens_x_arcsec", "lens_y_arcsec", "sigma_v_km_s",
        "z_lens", "z_source", "natural_weight", "source_x_arcsec", "source_y_arcsec", "source_rotation_rad",
    ):  # fmt: skip
        values[name] = np.where(injected, 0.5 + rng.random(n), np.nan)
    values["source_index"] = np.where(injected, rng.integers(0, 100, n), -1)
    for band in BANDS:
        values[f"source_{band}_mag"] = np.where(injected, rng.uniform(22, 26, n), np.nan)
        values[f"psf_fwhm_{band}_arcsec"] = rng.uniform(1, 1.5, n)
        values |= {f"psf_{band}_e1": np.zeros(n), f"psf_{band}_e2": np.zeros(n)}
    values["magnification"] = np.where(injected, rng.uniform(3, 20, n), np.nan).astype(np.float32)
    for band in BANDS:
        for name in ("arc_snr", "arc_snr_sum"):
            values[f"{name}_{band}"] = np.where(injected, rng.uniform(1, 100, n), np.nan).astype(np.float32)
    values |= {"n_tries": injected.astype(np.int64), "reject_reason": np.where(injected, "accepted", "")}
    for name in ("arc_snr", "arc_snr_sum"):
        values[name] = np.max([values[f"{name}_{band}"] for band in BANDS], axis=0)
    for band in BANDS:
        values[f"psfsize_{band}_arcsec"] = values[f"psf_fwhm_{band}_arcsec"].astype(np.float32)
        values[f"psfdepth_{band}_mag"] = rng.uniform(23, 25, n).astype(np.float32)
        values[f"mag_{band}"] = rng.uniform(18, 21, n).astype(np.float32)
    return values | {"origin": [""] * n}


def part_table(n: int, *, split: str, first: int, size_px: int = N_PX, seed: int = 0, failed: float = 0.1) -> pa.Table:
    """n rows of noise; positives have a bright middle, so that a network can learn something."""
    values = columns(n, split=split, first=first, seed=seed, failed=failed)
    rng = np.random.default_rng([seed, first, 7])
    n_values = 3 * size_px**2
    image = (rng.standard_normal((n, 3, size_px, size_px)) * 0.003).astype(np.float32)
    middle = slice(size_px // 2 - 2, size_px // 2 + 2)
    image[values["injected"], 0, middle, middle] += 0.02
    bad = rng.random((n, n_values)) < 0.02
    missing = pa.array(~values["cutout_ok"])
    names = [*list(values)[:2], "image", "bad_pixels", *list(values)[2:]]
    packed = [np.packbits(row).tobytes() if ok else None for row, ok in zip(bad, values["cutout_ok"], strict=True)]
    pixels = {
        "image": pa.FixedSizeListArray.from_arrays(pa.array(image.reshape(-1)), n_values, mask=missing),
        "bad_pixels": pa.array(packed, pa.binary(-(-n_values // 8))),
    }
    arrays = [pixels[name] if name in pixels else pa.array(values[name]) for name in names]
    metadata = {b"dhs_stamps": json.dumps(METADATA | {"stamp_size_px": size_px}).encode()}
    return pa.table(arrays, names=names).replace_schema_metadata(metadata)


def write_set(
    folder: Path, *, sizes: dict[str, list[int]], size_px: int = N_PX, seed: int = 0, failed: float = 0.1
) -> Path:
    """A finished set: ``sizes`` are the rows of each part of each split."""
    tables = []
    first = 0
    for split, parts in sizes.items():
        for n in parts:
            tables.append((split, part_table(n, split=split, first=first, size_px=size_px, seed=seed, failed=failed)))
            first += n
    return write_tables(folder, tables)


def stamps_table(stamps: StampBatch, *, split: str, cutouts: CutoutSet, first: int = 0) -> pa.Table:
    """Painted ``stamps`` as a part of a set, numbered from ``first``; every eleventh row is said to have failed."""
    values = stamps.columns()
    rows = values.pop("row")
    n, size_px = len(stamps), stamps.images.shape[-1]
    ok = np.arange(n) % 11 != 5
    for band, i in zip(BANDS, range(3), strict=True):
        values[f"psfsize_{band}_arcsec"] = cutouts.psf_fwhm_arcsec[rows, i]
        values[f"psfdepth_{band}_mag"] = cutouts.psf_depth_mag[rows, i]
    head = {
        "task_id": [f"{split}/{first + i}" for i in range(n)],
        "split": [split] * n,
        "image": pa.FixedSizeListArray.from_arrays(
            pa.array(stamps.images.numpy().reshape(-1)), 3 * size_px**2, mask=pa.array(~ok)
        ),
        "bad_pixels": pa.array(
            [np.packbits(~good).tobytes() for good in stamps.good.numpy()], pa.binary(-(-3 * size_px**2 // 8))
        ),
        "cutout_ok": ok,
        "reason": np.where(ok, "", "planned"),
        "kind": np.array(CLASSES)[cutouts.kind[rows]],
        "arc_snr": stamps.arc_snr.max(axis=1),
        "arc_snr_sum": stamps.arc_snr_sum.max(axis=1),
    }
    metadata = {b"dhs_stamps": json.dumps(METADATA | {"stamp_size_px": size_px}).encode()}
    return pa.table(head | values).replace_schema_metadata(metadata)


def write_tables(folder: Path, tables: Iterable[tuple[str, pa.Table]]) -> Path:
    """A finished set of the given parts."""
    first = 0
    (folder / "_ledger").mkdir(parents=True)
    for number, (split, table) in enumerate(tables):
        path = folder / f"split={split}" / f"part-{number:05d}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path, compression="zstd")
        entry = {
            "path": f"split={split}/{path.name}",
            "split": split,
            "first_row": first,
            "n_rows": table.num_rows,
            "n_ok": int(np.count_nonzero(table.column("cutout_ok").to_numpy())),
            "failures": {},
            "n_bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "seconds": 0.0,
        }
        (folder / "_ledger" / f"part-{number:05d}.json").write_text(json.dumps(entry))
        first += table.num_rows
    (folder / "job.json").write_text("{}")
    (folder / "_SUCCESS.json").write_text(json.dumps({"n_rows": first}))
    return folder
