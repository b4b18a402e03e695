"""The columns of a mapped stamp set in memory, and what a `StampBatch` takes of them."""

import logging
from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dhs.constants import BANDS, CLASSES, SPLITS
from dhs.inject.acceptance import CUTS
from dhs.inject.measure import ArcMeasures
from dhs.inject.recipe import RecipeBatch
from dhs.inject.stampset.read import Part, StampSet
from dhs.rng import stable_hash

log = logging.getLogger("dhs")

Columns = dict[str, np.ndarray]

_SHARD = ("sample", "crc32")
_MEASURED = ("magnification", *(f"{name}_{band}" for name in ("arc_snr", "arc_snr_sum") for band in BANDS))
_CODED = ("kind", "reject_reason")
_GALAXY = tuple(pattern.format(band) for pattern in ("psfsize_{}_arcsec", "psfdepth_{}_mag") for band in BANDS)
_REJECTED = tuple(f"n_rejected_{cut}" for cut in CUTS[1:])
_ARC_MEASURES = (*(f"arc_{band}_mag" for band in BANDS), *ArcMeasures._fields[1:])
OPTIONAL = (*_REJECTED, *_ARC_MEASURES)
"""Columns that a set may lack: nothing was rejected, and nothing more was measured."""


@dataclass(frozen=True)
class StampRows:
    """What is known of N stamps beside their pixels; a `dhs.inject.supply.Galaxies` with one row a stamp."""

    columns: Columns
    """(N,) each, by the names of the set."""
    shard: np.ndarray
    """(N,) int32 number of the tar."""
    split: np.ndarray
    """(N,) int8, index into constants.SPLITS."""
    kind: np.ndarray
    """(N,) int8, index into constants.CLASSES."""
    psf_fwhm_arcsec: np.ndarray
    """(N, B) float32."""
    psf_depth_mag: np.ndarray
    """(N, B) float32."""

    def __len__(self) -> int:
        return len(self.split)

    def take(self, rows: np.ndarray) -> "StampRows":
        """The stamps ``rows``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        taken = {name: value[rows] for name, value in values.items() if name != "columns"}
        return StampRows(columns={name: value[rows] for name, value in self.columns.items()}, **taken)


def read_rows(shards: StampSet, *, max_galaxies: int | None) -> StampRows:
    """All rows with a stamp, in the set's order: train, val, test.

    ``max_galaxies``: only those of so many galaxies, the ones whose ids have the smallest hashes.
    """
    order = sorted(range(len(shards.parts)), key=lambda number: SPLITS.index(shards.parts[number].split))
    pieces = [_part_rows(shards, shards.parts[number]) for number in order]
    sizes = [len(piece["sample"]) for piece in pieces]
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    splits = [SPLITS.index(shards.parts[number].split) for number in order]
    rows = StampRows(
        shard=np.repeat(np.array(order, np.int32), sizes),
        split=np.repeat(np.array(splits, np.int8), sizes),
        kind=columns.pop("kind"),
        psf_fwhm_arcsec=_bands(columns, "psfsize_{}_arcsec"),
        psf_depth_mag=_bands(columns, "psfdepth_{}_mag"),
        columns={name: values for name, values in columns.items() if name not in _GALAXY},
    )
    left_out = Counter({"without a stamp": sum(part.n_rows for part in shards.parts) - len(rows)})
    if max_galaxies is not None:
        chosen = _some_galaxies(rows.columns["target_id"], max_galaxies)
        left_out["beyond max_galaxies"] = int((~chosen).sum())
        rows = rows.take(np.flatnonzero(chosen))
    for reason, n in left_out.items():
        if n:
            log.info("%s: %d rows left out: %s", shards.place.root, n, reason)
    return rows


def require_both_labels(rows: StampRows, *, where: str) -> None:
    """Log what each split holds; ValueError where one has no positives or no negatives."""
    for code, split in enumerate(SPLITS):
        injected = rows.columns["injected"][rows.split == code]
        n_positives, n_negatives = int(injected.sum()), int((~injected).sum())
        if n_positives == 0 or n_negatives == 0:
            raise ValueError(
                f"sky.path = {where}: split {split!r} has {n_positives} stamps with an arc and {n_negatives} without: "
                "both must be above 0; train needs all of train, val and test: make a manifest that has them"
            )
        log.info("%s: %d stamps with an arc, %d without", split, n_positives, n_negatives)


def recipes_of(columns: Columns, rows: np.ndarray, *, keys: np.ndarray) -> RecipeBatch:
    """The recipes, with ``keys`` (B, 4) of the stream instead of those the stamps were painted with."""
    named = {f"key_{name}": keys[:, i] for i, name in enumerate(("seed", "purpose", "epoch", "index"))}
    return RecipeBatch.from_columns(columns | named | {"row": rows})


def snr_of(columns: Columns, name: str) -> np.ndarray:
    """(B, bands) float32."""
    return _bands(columns, f"{name}_{{}}")


def rejected_of(columns: Columns) -> np.ndarray:
    """(B, len(CUTS)) int16; zeros where the set has none, as of a manifest."""
    out = np.zeros((len(columns["sample"]), len(CUTS)), np.int16)
    for number, name in enumerate(_REJECTED, start=1):
        if name in columns:
            out[:, number] = columns[name]
    return out


def measures_of(columns: Columns) -> ArcMeasures | None:
    """None where the set does not have all of them."""
    if any(name not in columns for name in _ARC_MEASURES):
        return None
    return ArcMeasures(_bands(columns, "arc_{}_mag"), *(columns[name] for name in ArcMeasures._fields[1:]))


def task_id_of(shards: StampSet, part: Part, sample: int) -> str:
    """Of one stamp, for a message."""
    assert shards.place.local is not None
    table = pq.read_table(shards.place.local / part.path, columns=["task_id", "sample"], partitioning=None)
    return table.filter(pc.field("sample") == sample)["task_id"][0].as_py()


def _part_rows(shards: StampSet, part: Part) -> Columns:
    """Of the rows of one shard that have a stamp."""
    assert shards.place.local is not None
    path = shards.place.local / part.path
    shards.require_whole(path, part.path, n_bytes=part.n_bytes)
    shards.require_whole(shards.place.local / str(part.tar), str(part.tar), n_bytes=part.tar_bytes)
    file = pq.ParquetFile(path)
    recipe = [name for name in _recipe_columns() if name != "row"]
    wanted = [*recipe, *_SHARD, *_MEASURED, *_CODED, *_GALAXY]
    if missing := [name for name in wanted if name not in file.schema_arrow.names]:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; sky=stamps needs a set made by task=stamps")
    optional = [name for name in OPTIONAL if name in file.schema_arrow.names]
    table = file.read(columns=[*wanted, *optional, "cutout_ok"], use_threads=False)
    table = table.filter(table["cutout_ok"]).drop_columns(["cutout_ok"])
    return {
        name: _coded(table[name], CLASSES if name == "kind" else ("", *CUTS), path, name)
        if name in _CODED
        else table[name].combine_chunks().to_numpy(zero_copy_only=False)
        for name in table.column_names
    }


def _coded(column: pa.ChunkedArray, names: tuple[str, ...], path: object, name: str) -> np.ndarray:
    """(n,) int8 index into ``names``; of `reject_reason` into CUTS, -1 for a control."""
    found = pc.index_in(column, value_set=pa.array(names))
    if found.null_count:
        stray = column.filter(pc.is_null(found))[0].as_py()
        raise ValueError(f"{path}: {name} = {stray!r}: allowed are {', '.join(filter(None, names))}")
    codes = found.to_numpy().astype(np.int8)
    return codes if name == "kind" else codes - np.int8(1)


def _recipe_columns() -> list[str]:
    """Names of `RecipeBatch.columns`."""
    names: list[str] = []
    for field in fields(RecipeBatch):
        if field.name == "key":
            names += [f"key_{part}" for part in ("seed", "purpose", "epoch", "index")]
        elif field.name in ("source_mag", "psf_fwhm_arcsec", "psf_e1", "psf_e2"):
            stem, _, unit = field.name.rpartition("_")
            names += [f"{stem}_{band}_{unit}" for band in BANDS]
        else:
            names.append(field.name)
    return names


def _some_galaxies(target_id: np.ndarray, n: int) -> np.ndarray:
    unique, inverse = np.unique(target_id, return_inverse=True)
    hashes = np.array([stable_hash(str(one), salt="max_galaxies") for one in unique.tolist()], np.uint64)
    chosen = np.zeros(len(unique), bool)
    chosen[np.argsort(hashes, kind="stable")[:n]] = True
    return chosen[inverse]


def _bands(columns: Columns, pattern: str) -> np.ndarray:
    return np.stack([columns[pattern.format(band)] for band in BANDS], axis=1).astype(np.float32)
