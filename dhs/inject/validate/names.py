"""What a column of anybody's set means: one name for each quantity, and the names it goes under.

Our stamp sets carry their units in the names; the user's Gen5 Parquet does not (`theta_e`, `psfsize_r`), and one of its
names is wrong: `cosmos_hlr_arcsec` held the half-light radius of the lensed arc. It is read as what it was written for,
the source's, and the gate `hlr_is_the_sources` says whether that is so.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from dhs.constants import BANDS
from dhs.sky.depth import DEPTH_SIGMAS, mag_of_flux

KEYS: dict[str, tuple[str, ...]] = {
    "task_id": ("task_id", "stamp_id", "experiment_id"),
    "target_id": ("target_id", "targetid", "objid_unique", "galaxy_id", "object_id", "objid"),
    "pair_id": ("pair_id",),
}
"""Identities, kept as 64-bit numbers: integers as they are, text hashed."""

WORDS: dict[str, tuple[str, ...]] = {
    "split": ("split", "region_split"),
    "kind": ("kind", "type"),
    "source_kind": ("source_kind", "source_mode"),
    "reason": ("reason",),
}

NUMBERS: dict[str, tuple[str, ...]] = {
    "ra_deg": ("ra_deg", "ra"),
    "dec_deg": ("dec_deg", "dec"),
    "theta_e_arcsec": ("theta_e_arcsec", "theta_e"),
    "source_index": ("source_own_index", "cosmos_index", "source_index"),
    "source_hlr_arcsec": ("source_hlr_arcsec", "cosmos_hlr_arcsec", "src_hlr_arcsec"),
    "lensed_hlr_arcsec": ("lensed_hlr_arcsec",),
    "clumpiness": ("source_clumpiness", "cosmos_clumpiness", "clumpiness"),
    "magnification": ("magnification",),
    "arc_snr": ("arc_snr",),
    "arc_snr_sum": ("arc_snr_sum",),
    "redshift": ("redshift",),
}
for _band in BANDS:
    NUMBERS |= {
        f"source_{_band}_mag": (f"source_{_band}_mag", f"src_mag_{_band}"),
        f"arc_{_band}_mag": (f"arc_{_band}_mag", f"arc_mag_{_band}"),
        f"mag_{_band}": (f"mag_{_band}",),
        f"psfsize_{_band}_arcsec": (f"psfsize_{_band}_arcsec", f"psf_fwhm_{_band}_arcsec", f"psfsize_{_band}"),
        f"psfdepth_{_band}_mag": (f"psfdepth_{_band}_mag", f"psfdepth_{_band}"),
        f"arc_snr_{_band}": (f"arc_snr_{_band}",),
        f"arc_snr_sum_{_band}": (f"arc_snr_sum_{_band}",),
    }

LABELS = ("injected", "is_control", "label", "is_lens", "lens_model")
"""The first that is there tells injection from control."""

NO_LENS = ("control", "none", "")
"""Values of `lens_model` that say control."""

DOUBLES = ("ra_deg", "dec_deg")
"""Columns that single precision would move by arcseconds; all other numbers are float32."""

MAX_DEPTH_MAG = 40.0
"""A psfdepth above it is Tractor's inverse variance in nMgy^-2 (hundreds to thousands), not a magnitude (20 to 27)."""


def columns_read(present: Iterable[str]) -> list[str]:
    """Those of the columns ``present`` that are read, in their order."""
    known = {alias for group in (KEYS, WORDS, NUMBERS) for names in group.values() for alias in names}
    return [name for name in present if name in known or name in LABELS or name == "cutout_ok"]


def source_of(name: str, present: Iterable[str]) -> str | None:
    """The column among ``present`` that holds the quantity ``name``; None where there is none."""
    aliases = (KEYS | WORDS | NUMBERS)[name]
    here = set(present)
    return next((alias for alias in aliases if alias in here), None)


def canonical(table: pa.Table, *, split: str | None) -> dict[str, pa.Array]:
    """The columns of ``table`` under our names; ``split`` is that of the file's folder, where it says one.

    A column whose type makes no sense (text where a number belongs) is left out, as one that is not there.
    """
    names = table.column_names
    out: dict[str, pa.Array] = {}
    for name in KEYS:
        if (alias := source_of(name, names)) is not None:
            out[name] = pa.array(identities(table[alias]))
    for name in WORDS:
        if (alias := source_of(name, names)) is not None:
            out[name] = _words(table[alias])
    if split is not None:
        out["split"] = pa.DictionaryArray.from_arrays(np.zeros(len(table), np.int32), [split])
    for name in NUMBERS:
        if (alias := source_of(name, names)) is not None:
            values = numbers(table[alias])
            if values is not None:
                out[name] = pa.array(values.astype(np.float64 if name in DOUBLES else np.float32))
    for band in BANDS:
        if (depth := out.get(f"psfdepth_{band}_mag")) is not None:
            out[f"psfdepth_{band}_mag"] = pa.array(depth_mag(depth.to_numpy(zero_copy_only=False)))
    label = labels(table)
    if label is not None:
        out["injected"] = pa.array(label)
    out["cutout_ok"] = _cutout_ok(table)
    return out


def identities(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) int64: integers as they are, anything else the xxh3 hash of its text; 0 for null."""
    if pa.types.is_integer(column.type):
        return pc.fill_null(column, 0).to_numpy().astype(np.int64)
    words = pc.cast(column, pa.string()).to_pylist()
    hashes = np.array([0 if word is None else xxhash.xxh3_64_intdigest(word.encode()) for word in words], np.uint64)
    return hashes.view(np.int64)


def _words(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return pc.cast(column, pa.string()).combine_chunks().dictionary_encode()


def numbers(column: pa.ChunkedArray) -> np.ndarray | None:
    """(n,) float64, null as NaN; None where the column holds no numbers."""
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    try:
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def depth_mag(values: np.ndarray) -> np.ndarray:
    """AB magnitudes of 5-sigma point-source depths given as such, or as Tractor's inverse variances (nMgy^-2)."""
    is_invvar = values > MAX_DEPTH_MAG
    if not is_invvar.any():
        return values
    with np.errstate(invalid="ignore"):
        converted = mag_of_flux(DEPTH_SIGMAS / np.sqrt(np.maximum(values, 1e-12)))
    return np.where(is_invvar, converted, values).astype(np.float32)


def labels(table: pa.Table) -> np.ndarray | None:
    """(n,) int8: 1 injected, 0 control, -1 unknown; None where no column says so."""
    name = next((name for name in LABELS if name in table.column_names), None)
    if name is None:
        return None
    column = table[name]
    if name == "lens_model":
        words = [None if word is None else str(word).strip().lower() for word in column.to_pylist()]
        return np.array([-1 if word is None else int(word not in NO_LENS) for word in words], np.int8)
    values = numbers(column)
    if values is None:
        return None
    unknown = ~np.isfinite(values)
    truth = (values > 0.5) != (name == "is_control")
    return np.where(unknown, -1, truth).astype(np.int8)


def _cutout_ok(table: pa.Table) -> pa.Array:
    """The column, null as false; where the set has none every row with pixels counts as good."""
    if "cutout_ok" not in table.column_names:
        return pa.array(np.ones(len(table), bool))
    values = numbers(table["cutout_ok"])
    return pa.array(np.zeros(len(table), bool) if values is None else np.nan_to_num(values) > 0.5)


def split_of_path(path: str) -> str | None:
    """``train`` of ``.../split=train/part-0.parquet`` or ``.../region_split=train/...``; None where none is named."""
    found = re.findall(r"(?:^|/)(?:region_)?split=([^/]+)/", path)
    return found[-1] if found else None


def column_names_used(present: Iterable[str]) -> Mapping[str, str]:
    """Our name -> the set's own, of every quantity that was found under another name than ours."""
    here = list(present)
    pairs = {name: source_of(name, here) for name in KEYS | WORDS | NUMBERS}
    return {name: alias for name, alias in pairs.items() if alias is not None and alias != name}
