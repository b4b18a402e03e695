"""One part of a stamp set as an Arrow table: finished stamps beside the rows of the manifest that asked for them.

    task_id, split       of the manifest
    image                float32[bands N N] in (band, y, x) order, nMgy per pixel; null where the row failed
    bad_pixels           np.packbits of the pixels that may not be used, same order; null where the row failed
    cutout_ok, reason    whether the row has a stamp; why not ("" where it has)
    ...                  every other column of the manifest, unchanged
    ...                  GRADED_, MEASURED_ and GALAXY_COLUMNS, but for those that the manifest has already

What is measured is NaN, -1 or "" where it has no meaning: of a control, of a row that failed.
Schema metadata b"dhs_stamps": JSON (`stamps_metadata`). Nothing in a part tells when or where it was made.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.stampset.pixels import (
    StampPixels,
    good_of,
    n_bad_bytes,
    n_values,
    pixel_columns,
    pixels_of,
)
from dhs.inject.stampset.read import METADATA_KEY, SCHEMA_VERSION
from dhs.sky.cutouts import CutoutSet
from dhs.source.base import Source
from dhs.source.task_choice import kind_and_index

ImageType = Literal["list", "tensor"]
"""Arrow type of `image`: fixed_size_list<float32>, or fixed_shape_tensor of (bands, N, N)."""

_SNR = {f"{name}_{band}": pa.float32() for name in ("arc_snr", "arc_snr_sum") for band in BANDS}

GRADED_COLUMNS: dict[str, pa.DataType] = {
    "magnification": pa.float32(),
    **_SNR,
    "n_tries": pa.int64(),
    "reject_reason": pa.string(),
    "arc_snr": pa.float32(),
    "arc_snr_sum": pa.float32(),
    "source_kind": pa.string(),
    "source_own_index": pa.int64(),
}
"""Of every stamp. `arc_snr` and `arc_snr_sum` are the largest over the bands; `source_*` say what a mixture drew."""

MEASURED_COLUMNS: dict[str, pa.DataType] = {
    **{f"arc_{band}_mag": pa.float32() for band in BANDS},
    "lensed_hlr_arcsec": pa.float32(),
    "source_hlr_arcsec": pa.float32(),
    "image_count": pa.int16(),
}
"""Of the arc, with task.measure."""

GALAXY_COLUMNS: dict[str, pa.DataType] = {
    **{f"psfsize_{band}_arcsec": pa.float32() for band in BANDS},
    **{f"psfdepth_{band}_mag": pa.float32() for band in BANDS},
    **{f"mag_{band}": pa.float32() for band in BANDS},
    "redshift": pa.float32(),
    "origin": pa.string(),
}
"""Of the galaxy, as its sky has them."""

OWN_COLUMNS = ("image", "bad_pixels", "cutout_ok", "reason")
"""A manifest may not have these."""


class Stamps(NamedTuple):
    """A part read back."""

    images: torch.Tensor
    """(n, B, N, N) float32 nMgy; zeros where the row failed."""
    good: torch.Tensor
    """(n, B, N, N) bool; False where the row failed."""
    ok: np.ndarray
    """(n,) bool."""
    columns: dict[str, np.ndarray]
    """Everything but the pixels."""


def part_schema(
    manifest: pa.Schema, *, size_px: int, image_type: ImageType, measure: bool, metadata: Mapping[str, Any]
) -> pa.Schema:
    """Schema of every part of a set of ``size_px`` stamps made from ``manifest``.

    Raises:
        ValueError: the manifest has no task_id or split, or a column of OWN_COLUMNS.
    """
    known = set(manifest.names)
    if absent := [name for name in ("task_id", "split") if name not in known]:
        raise ValueError(f"manifest: column {absent[0]!r} is missing; make one with `inject.py task=manifest`")
    if taken := [name for name in OWN_COLUMNS if name in known]:
        raise ValueError(f"manifest: has a column {taken[0]!r}, which a stamp set writes itself; rename it")
    image: pa.DataType = pa.list_(pa.float32(), n_values(size_px))
    if image_type == "tensor":
        image = pa.fixed_shape_tensor(pa.float32(), (len(BANDS), size_px, size_px), dim_names=("band", "y", "x"))
    computed = GRADED_COLUMNS | (MEASURED_COLUMNS if measure else {}) | GALAXY_COLUMNS
    fields = [
        manifest.field("task_id"),
        manifest.field("split"),
        pa.field("image", image),
        pa.field("bad_pixels", pa.binary(n_bad_bytes(size_px))),
        pa.field("cutout_ok", pa.bool_()),
        pa.field("reason", pa.string()),
        *(field for field in manifest if field.name not in ("task_id", "split", "row")),
        *(pa.field(name, kind) for name, kind in computed.items() if name not in known),
    ]
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})


def stamps_metadata(*, size_px: int, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a part says of itself; ``provenance``: manifest_sha256, configuration, versions, ..."""
    return {
        "schema_version": SCHEMA_VERSION,
        "bands": "".join(BANDS),
        "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
        "stamp_size_px": size_px,
        "unit": "nMgy per pixel",
        "image_layout": "(band, y, x)",
        **provenance,
    }


def part_table(
    rows: pa.Table,
    *,
    stamps: StampBatch | None,
    where: np.ndarray,
    reason: np.ndarray,
    sky_row: np.ndarray,
    cutouts: CutoutSet,
    source: Source,
    schema: pa.Schema,
) -> pa.Table:
    """A table of ``schema`` from n manifest ``rows``, of which those at ``where`` (m,) have the m ``stamps``.

    ``reason`` (n,) says why the others failed; ``sky_row`` (n,) is each one's row in ``cutouts``, -1 for none.
    """
    n = rows.num_rows
    ok = np.zeros(n, bool)
    ok[where] = True
    computed = _graded(stamps, where=where, n=n, source=source) | _galaxy(cutouts, sky_row)
    image, bad = _pixels(stamps, ok, size_px=cutouts.stamp_size_px, schema=schema)
    own = {"image": image, "bad_pixels": bad, "cutout_ok": ok, "reason": np.where(ok, "", reason)}
    arrays = []
    for field in schema:
        if field.name in own:
            value = own[field.name]
            arrays.append(value if isinstance(value, pa.Array) else pa.array(value, field.type))
        elif field.name in rows.column_names:
            arrays.append(rows[field.name])
        else:
            arrays.append(pa.array(computed[field.name], field.type))
    return pa.table(arrays, schema=schema)


def read_stamps(table: pa.Table, *, where: str = "table") -> Stamps:
    """The inverse of `part_table`. ``where`` names the file in errors; ValueError where the columns are no stamps."""
    size_px = int(json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}")).get("stamp_size_px", 0))
    if size_px == 0:
        raise ValueError(f"{where}: no stamps of dhs (no {METADATA_KEY.decode()} in its schema)")
    pixels = pixels_of(table, size_px=size_px, where=where)
    columns = {name: table[name].to_numpy() for name in table.column_names if name not in ("image", "bad_pixels")}
    return Stamps(
        images=torch.from_numpy(pixels.image.reshape(-1, len(BANDS), size_px, size_px)),
        good=torch.from_numpy(good_of(pixels.bad, size_px=size_px)),
        ok=pixels.ok,
        columns=columns,
    )


def _pixels(stamps: StampBatch | None, ok: np.ndarray, *, size_px: int, schema: pa.Schema) -> tuple[pa.Array, pa.Array]:
    image = np.zeros((len(ok), n_values(size_px)), np.float32)
    bad = np.full((len(ok), n_bad_bytes(size_px)), 0xFF, np.uint8)
    if stamps is not None:
        flat = stamps.images.numpy().reshape(len(stamps), -1)
        packed = np.packbits(~stamps.good.numpy().reshape(len(stamps), -1), axis=1)
        if ok.all():
            image, bad = flat, packed
        else:
            image[ok], bad[ok] = flat, packed
    return pixel_columns(
        StampPixels(image, bad, ok), image_type=schema.field("image").type, bad_type=schema.field("bad_pixels").type
    )


def _graded(stamps: StampBatch | None, *, where: np.ndarray, n: int, source: Source) -> dict[str, np.ndarray]:
    """(n,) GRADED_COLUMNS and, where they were taken, MEASURED_COLUMNS."""
    kinds = GRADED_COLUMNS | MEASURED_COLUMNS
    out = {name: _nothing(n, kind) for name, kind in kinds.items()}
    if stamps is None:
        return out
    values = stamps.columns() | {
        "arc_snr": stamps.arc_snr.max(axis=1),
        "arc_snr_sum": stamps.arc_snr_sum.max(axis=1),
    }
    for name in out:
        if name in values:
            out[name][where] = values[name]
    injected = np.flatnonzero(stamps.recipes.injected)
    kind, own_index = kind_and_index(source, stamps.recipes.source_index[injected])
    out["source_kind"][where[injected]], out["source_own_index"][where[injected]] = kind, own_index
    return out


def _galaxy(cutouts: CutoutSet, sky_row: np.ndarray) -> dict[str, np.ndarray]:
    """(n,) GALAXY_COLUMNS."""
    there = np.flatnonzero(sky_row >= 0)
    rows = sky_row[there]
    values: dict[str, np.ndarray] = {"redshift": cutouts.redshift[rows]}
    for band, name in enumerate(BANDS):
        values[f"psfsize_{name}_arcsec"] = cutouts.psf_fwhm_arcsec[rows, band]
        values[f"psfdepth_{name}_mag"] = cutouts.psf_depth_mag[rows, band]
        values[f"mag_{name}"] = cutouts.mag[rows, band]
    if cutouts.origin is not None:
        values["origin"] = cutouts.origin[rows]
    out = {name: _nothing(len(sky_row), kind) for name, kind in GALAXY_COLUMNS.items()}
    for name, column in values.items():
        out[name][there] = column
    return out


def _nothing(n: int, kind: pa.DataType) -> np.ndarray:
    """(n,) NaN, -1 or "", as the type has it."""
    if pa.types.is_floating(kind):
        return np.full(n, np.nan, kind.to_pandas_dtype())
    return np.full(n, "", object) if pa.types.is_string(kind) else np.full(n, -1, kind.to_pandas_dtype())
