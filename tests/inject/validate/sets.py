"""Small sets of stamps to validate: arcs of the real injector on the mock sky, written as Gen5 Parquet or as ours.

The 256 mock galaxies are used in four orientations, as galaxies of their own at places of their own: many stamps for
the drawing of 256. Every host carries one arc and every other galaxy is a control once. Each stamp's galaxy is kept
beside it, so that sets with wrong arcs are made by arithmetic.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.config.root import TrainConfig
from dhs.config.sky import SplitConfig
from dhs.constants import BANDS, CLASSES, SPLITS
from dhs.inject.build import build_painter
from dhs.inject.injector import Injector
from dhs.inject.painter import Painter
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.stampset.pixels import StampPixels, n_bad_bytes, n_values, pixel_columns
from dhs.inject.stampset.schema import METADATA_KEY, stamps_metadata
from dhs.rng import Purpose
from dhs.sky.cutouts import CutoutSet
from dhs.sky.splits import split_of_position

ORIENTATIONS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda image: image,
    lambda image: image[..., ::-1, :],
    lambda image: image[..., ::-1],
    lambda image: image[..., ::-1, ::-1],
)
SEVERAL = 256


@dataclass(frozen=True)
class StampRows:
    """A set in memory."""

    images: np.ndarray
    """(n, 3, N, N) float32."""
    galaxies: np.ndarray
    """(n, 3, N, N) float32: the same without arcs."""
    bad: np.ndarray
    """(n, 3, N, N) bool."""
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def injected(self) -> np.ndarray:
        return self.columns["injected"]

    def take(self, rows: np.ndarray) -> "StampRows":
        columns = {name: values[rows] for name, values in self.columns.items()}
        return StampRows(self.images[rows], self.galaxies[rows], self.bad[rows], columns)

    def where(self, chosen: np.ndarray) -> "StampRows":
        return self.take(np.flatnonzero(chosen))

    def with_columns(self, **columns: np.ndarray) -> "StampRows":
        return replace(self, columns=self.columns | columns)

    def without(self, *names: str) -> "StampRows":
        return replace(self, columns={k: v for k, v in self.columns.items() if k not in names})

    def with_images(self, images: np.ndarray) -> "StampRows":
        return replace(self, images=images.astype(np.float32))

    def mixed(self) -> "StampRows":
        """In no order: a manifest does not list all its arcs first."""
        return self.take(np.random.default_rng(5).permutation(len(self)))


def joined(parts: list[StampRows]) -> StampRows:
    arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "galaxies", "bad")]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return StampRows(*arrays, columns)


def make_rows(config: TrainConfig) -> StampRows:
    """Stamps of ``config``: an arc in every host, every control once; a third of the classes that are no LRGs."""
    painter = build_painter(config)
    sky = four_orientations(painter.cutouts)
    inject = config.inject.model_copy(update={"n_val_positives": 1})
    injector = Injector(
        sky,
        renderer=painter._renderer,
        source=painter.source,
        seed=config.seed,
        lens=config.lens,
        colour=config.colour,
        inject=inject,
    )
    n_hosts = len(injector.pool(Purpose.VAL).hosts)
    injector.inject = inject.model_copy(update={"n_val_positives": n_hosts})
    n = injector.n_stamps(Purpose.VAL)
    batches = [
        injector.stamps(np.arange(start, min(start + SEVERAL, n)), purpose=Purpose.VAL, measure=True)
        for start in range(0, n, SEVERAL)
    ]
    rows = joined([rows_of(batch, injector.painter) for batch in batches])
    other_kinds = np.flatnonzero(rows.columns["kind"] != "lrg")
    return rows.take(np.setdiff1d(np.arange(len(rows)), other_kinds[other_kinds % 3 > 0])).mixed()


def four_orientations(sky: CutoutSet) -> CutoutSet:
    """Each galaxy four times, with ids and places of their own; nearly all "val", which the injector lists in full."""
    n = len(sky)
    rng = np.random.default_rng(3)
    pixels = {
        name: np.concatenate([turn(np.asarray(getattr(sky, name))) for turn in ORIENTATIONS])
        for name in ("images", "invvar", "maskbits")
    }
    whole = sky.take(np.tile(np.arange(n), len(ORIENTATIONS)))
    split = np.full(len(whole), SPLITS.index("val"), np.int8)
    lrgs = np.flatnonzero(whole.kind == CLASSES.index("lrg"))
    for spare, name in enumerate(("train", "test")):
        split[lrgs[40 * spare : 40 * (spare + 1)]] = SPLITS.index(name)
    unknown = np.full(len(whole), np.nan, np.float32)
    return replace(
        whole,
        **pixels,
        split=split,
        target_id=np.arange(len(whole)) + 10_000,
        ra_deg=rng.uniform(0, 360, len(whole)),
        dec_deg=np.degrees(np.arcsin(rng.uniform(-0.9, 0.5, len(whole)))),
        axis_ratio=unknown,
        position_angle_rad=unknown,
        centre_x_arcsec=None,
        centre_y_arcsec=None,
    )


def rows_of(batch: StampBatch, painter: Painter) -> StampRows:
    """Columns of the contract, of a batch and its sky."""
    sky = painter.cutouts
    columns = {name: values for name, values in batch.columns().items() if name != "row"}
    row = batch.recipes.row
    columns |= {name: getattr(sky, name)[row] for name in ("ra_deg", "dec_deg", "redshift")}
    split = split_of_position(columns["ra_deg"], columns["dec_deg"], config=SplitConfig())
    columns["split"] = np.array(SPLITS)[split]
    columns["kind"] = np.array(CLASSES)[sky.kind[row]]
    columns["task_id"] = np.array([f"test/{target}/arc" for target in sky.target_id[row]])
    for i, band in enumerate(BANDS):
        columns[f"psfsize_{band}_arcsec"] = sky.psf_fwhm_arcsec[row, i]
        columns[f"psfdepth_{band}_mag"] = sky.psf_depth_mag[row, i]
        columns[f"mag_{band}"] = sky.mag[row, i]
    columns["arc_snr"] = batch.arc_snr.max(axis=1)
    columns["arc_snr_sum"] = batch.arc_snr_sum.max(axis=1)
    columns["cutout_ok"] = np.ones(len(batch), bool)
    columns["reason"] = np.full(len(batch), "")
    columns["source_kind"] = np.where(batch.recipes.injected, "clumpy", "")
    columns["source_own_index"] = columns["source_index"]
    return StampRows(batch.images.numpy(), painter.pixels(row).images.numpy(), ~batch.good.numpy(), columns)


def paired(rows: StampRows) -> StampRows:
    """Injections, each with its own galaxy as a control."""
    arcs = rows.where(rows.injected)
    bare = arcs.with_images(arcs.galaxies)
    bare = bare.with_columns(
        injected=np.zeros(len(bare), bool),
        task_id=np.array([name.replace("arc", "control") for name in bare.columns["task_id"]]),
        **{
            name: np.full(len(bare), np.nan) for name in bare.columns if name.startswith(("arc_", "theta_e", "source_"))
        },
    )
    bare.columns["source_own_index"] = np.full(len(bare), -1)
    bare.columns["source_index"] = np.full(len(bare), -1)
    bare.columns["source_kind"] = np.full(len(bare), "")
    return joined([arcs, bare]).mixed()


def arcs_times(rows: StampRows, factor: np.ndarray | float) -> StampRows:
    """The same galaxies with arcs ``factor`` times as bright (a number, or (n, 3, 1, 1))."""
    return rows.with_images(rows.galaxies + (rows.images - rows.galaxies) * factor)


def one_colour(rows: StampRows, *, g_r: float = -0.32, r_z: float = 0.23) -> StampRows:
    """Every arc's light spread over the bands in one way, its r kept, and its S/N. The defaults are Gen5's."""
    light = (rows.images - rows.galaxies).sum(axis=(-2, -1))
    wanted = np.stack([light[:, 1] * 10 ** (-0.4 * g_r), light[:, 1], light[:, 1] * 10 ** (0.4 * r_z)], axis=1)
    factor = np.divide(wanted, light, out=np.ones_like(light), where=light != 0)
    snr = {
        f"{name}_{band}": rows.columns[f"{name}_{band}"] * factor[:, i].astype(np.float32)
        for name in ("arc_snr", "arc_snr_sum")
        for i, band in enumerate(BANDS)
    }
    for name in ("arc_snr", "arc_snr_sum"):
        snr[name] = np.maximum.reduce([snr[f"{name}_{band}"] for band in BANDS])
    return arcs_times(rows, factor[:, :, None, None]).with_columns(**snr)


def one_colour_columns(rows: StampRows, *, g_r: float = -0.32, r_z: float = 0.23) -> StampRows:
    """The columns of `one_colour`."""
    columns = {}
    for stem in ("arc", "source"):
        r = rows.columns[f"{stem}_r_mag"]
        columns |= {f"{stem}_g_mag": r + g_r, f"{stem}_z_mag": r - r_z}
    return rows.with_columns(**columns)


def write_stamps(rows: StampRows, folder: Path, *, rows_per_part: int = 200, compression: str = "zstd") -> Path:
    """A finished stamp set: parts of one split each, ledger and _SUCCESS.json."""
    size = rows.images.shape[-1]
    number = 0
    for split in SPLITS:
        here = rows.where(rows.columns["split"] == split)
        for first in range(0, len(here), rows_per_part):
            part = here.take(np.arange(first, min(first + rows_per_part, len(here))))
            name = f"split={split}/part-{number:05d}.parquet"
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(stamp_table(part, size), path, compression=compression, row_group_size=100)
            n_ok = int(part.columns["cutout_ok"].sum())
            ledger = {"path": name, "split": split, "first_row": 0, "n_rows": len(part), "n_ok": n_ok, "failures": {}}
            ledger["n_bytes"] = path.stat().st_size
            ledger["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            (folder / "_ledger").mkdir(exist_ok=True)
            (folder / "_ledger" / f"part-{number:05d}.json").write_text(json.dumps(ledger))
            number += 1
    (folder / "job.json").write_text("{}")
    (folder / "_SUCCESS.json").write_text(json.dumps({"n_rows": len(rows), "n_parts": number}))
    return folder


def stamp_table(rows: StampRows, size_px: int) -> pa.Table:
    """In the form of a part."""
    pixels = StampPixels(
        rows.images.reshape(len(rows), -1),
        np.packbits(rows.bad.reshape(len(rows), -1), axis=1),
        rows.columns["cutout_ok"],
    )
    image, bad = pixel_columns(
        pixels, image_type=pa.list_(pa.float32(), n_values(size_px)), bad_type=pa.binary(n_bad_bytes(size_px))
    )
    table = pa.table({name: pa.array(values) for name, values in rows.columns.items()})
    table = table.append_column("image", image).append_column("bad_pixels", bad)
    metadata = stamps_metadata(size_px=size_px, provenance={"manifest_sha256": "0"})
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()})


GEN5_NAMES = {
    "task_id": "task_id",
    "split": "region_split",
    "target_id": "targetid",
    "ra_deg": "ra",
    "dec_deg": "dec",
    "theta_e_arcsec": "theta_e",
    "arc_snr": "arc_snr",
    "arc_snr_sum": "arc_snr_sum",
    "source_own_index": "cosmos_index",
    "lensed_hlr_arcsec": "lensed_hlr_arcsec",
    "psfsize_r_arcsec": "psfsize_r",
    "psfdepth_r_mag": "psfdepth_r",
    "source_r_mag": "src_mag_r",
    "cutout_ok": "cutout_ok",
    "mag_r": "mag_r",
}
"""What the user's tables have, and what they call it."""

SEEDS_NAMES = {
    ours: theirs
    for ours, theirs in GEN5_NAMES.items()
    if ours in ("task_id", "split", "theta_e_arcsec", "arc_snr", "source_own_index", "psfsize_r_arcsec", "cutout_ok")
} | {"lensed_hlr_arcsec": "cosmos_hlr_arcsec"}
"""Only what the seeds' documents name, the half-light radius under its wrong name."""


def blob(image: np.ndarray, *, save: Callable[..., None] = np.savez) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **{f"image_{band}": plane for band, plane in zip(BANDS, image, strict=True)})
    return buffer.getvalue()


def write_gen5(
    rows: StampRows,
    folder: Path,
    *,
    blobs: Mapping[int, bytes | None] | None = None,
    names: Mapping[str, str] = GEN5_NAMES,
) -> Path:
    """As `region_split=.../part.parquet` with `stamp_npz`; ``blobs`` replaces those of some rows."""
    columns = {names[name]: rows.columns[name] for name in names if name in rows.columns}
    columns["is_control"] = (~rows.injected).astype(np.int8)
    stamps: list[bytes | None] = [blob(image) for image in rows.images]
    for row, other in (blobs or {}).items():
        stamps[row] = other
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    table = table.append_column("stamp_npz", pa.array(stamps, pa.binary()))
    for split in np.unique(rows.columns["split"]):
        here = table.filter(pa.array(rows.columns["split"] == split)).drop_columns(["region_split"])
        target = folder / f"region_split={split}"
        target.mkdir(parents=True)
        pq.write_table(here, target / "part-0000.parquet", compression="gzip", row_group_size=100)
    return folder
