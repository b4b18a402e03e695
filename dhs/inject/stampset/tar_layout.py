"""Tar shards of finished stamps: records of one length, so that stamp i of a shard is read by its offset.

A sample is three members: `<key>.image.npy` (B,N,N) float32 nMgy, `<key>.bad_pixels.npy` uint8 (np.packbits of the
pixels that may not be used, over (band, y, x)) and `<key>.json` (task_id, label and what else a reader of the tar alone
needs). The key is the split and the row in it, `train-0000000123`: a task id may hold dots, and a key may not.
`webdataset` reads the same file: `WebDataset("part-{00000..00009}.tar", shardshuffle=False).decode()`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dhs.constants import BANDS
from dhs.inject.stampset.pixels import n_bad_bytes
from dhs.sky.mapped import ShardMaps
from dhs.sky.shards import Member, RecordLayout

JSON_COLUMNS = (
    "task_id", "split", "target_id", "kind", "design", "ra_deg", "dec_deg", "theta_e_arcsec", "magnification",
    "arc_snr", "arc_snr_sum", "psfsize_g_arcsec", "psfsize_r_arcsec", "psfsize_z_arcsec",
)  # fmt: skip
"""Columns that a sample's JSON repeats, beside `label`; those that a set does not have are left out."""


class StampLayout(RecordLayout):
    """A stamp of ``size_px``."""

    def __init__(self, size_px: int) -> None:
        super().__init__(
            {
                "image": Member("image.npy", (len(BANDS), size_px, size_px), np.dtype("<f4")),
                "bad_pixels": Member("bad_pixels.npy", (n_bad_bytes(size_px),), np.dtype("u1")),
            }
        )


def map_shard(path: Path, layout: RecordLayout) -> dict[str, np.ndarray]:
    """(n, ...) views of one shard's members, mapped and read-only."""
    maps = ShardMaps([path], layout=layout)
    return {name: maps.view(0, name) for name in layout.members}


def sample_key(split: str, row: int) -> str:
    """Of row ``row`` of ``split``."""
    return f"{split}-{row:010d}"


def sample_metadata(columns: pa.Table) -> list[dict[str, Any]]:
    """A sample's JSON for each row; what is NaN or null is null."""
    names = [name for name in JSON_COLUMNS if name in columns.column_names]
    label = columns.column("injected").to_numpy(zero_copy_only=False).astype(int).tolist()
    values = {name: columns.column(name).to_pylist() for name in names}
    return [{"label": one} | {name: _plain(values[name][row]) for name in names} for row, one in enumerate(label)]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.10g}") if np.isfinite(value) else None
    return value
