"""The score table: one row per stamp of the held-out split, the only thing the claims are computed from.

Everything after scoring (metrics, figures, report) reads this table, so a claim can be recomputed from
`scores.parquet` alone, without the network or the pixels:

    table = read_scores(Path("scores.parquet"))
    visible = visible_mask(table)
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.constants import BANDS, CLASSES, VISIBLE_MIN_ARC_SNR_SUM_G, VISIBLE_MIN_THETA_E_OVER_PSF
from dhs.display import write_atomically

ARC_COLUMNS = ("theta_e_arcsec", "magnification", "source_mag_r", "arc_snr", "arc_snr_sum", "arc_snr_sum_g")
"""Columns that describe an injected arc: NaN for negatives."""

PSF_COLUMNS = tuple(f"psf_fwhm_{band}_arcsec" for band in BANDS)
DEPTH_COLUMNS = tuple(f"psf_depth_{band}_mag" for band in BANDS)

SCORE_SCHEMA = pa.schema(
    [("target_id", pa.int64()), ("label", pa.int8()), ("kind", pa.string()), ("logit", pa.float32())]
    + [(name, pa.float32()) for name in (*ARC_COLUMNS, *PSF_COLUMNS, *DEPTH_COLUMNS)]
)
"""Columns of `scores.parquet`: label 1 = injected; kind = class of the galaxy (constants.CLASSES);
arc_snr = highest per pixel, arc_snr_sum = sum(signal) / sqrt(sum(1 / invvar)), both in the best band."""


def column(table: pa.Table, name: str) -> np.ndarray:
    """Column ``name`` as a numpy array of (N,); numbers in float64 so that thresholds compare exactly."""
    values = table.column(name).to_numpy()
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def theta_e_over_psf(table: pa.Table) -> np.ndarray:
    """(N,) float64 theta_E / FWHM_r; NaN for negatives."""
    return column(table, "theta_e_arcsec") / column(table, "psf_fwhm_r_arcsec")


def visible_mask(table: pa.Table) -> np.ndarray:
    """(N,) bool: injected, theta_E > 1.2 FWHM_r and g-band integrated arc S/N > 25 (Rojas+2023)."""
    resolved = theta_e_over_psf(table) > VISIBLE_MIN_THETA_E_OVER_PSF
    bright = column(table, "arc_snr_sum_g") > VISIBLE_MIN_ARC_SNR_SUM_G
    return (column(table, "label") == 1) & resolved & bright


def read_scores(path: Path) -> pa.Table:
    """Read and check a score table; ValueError of one line says what is wrong with it."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; evaluate.py writes scores.parquet") from None
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
    return validate_scores(table, where=str(path))


def write_scores(table: pa.Table, *, path: Path) -> None:
    """Check ``table`` and write it atomically as Parquet."""
    sink = pa.BufferOutputStream()
    pq.write_table(validate_scores(table, where=str(path)), sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def validate_scores(table: pa.Table, *, where: str) -> pa.Table:
    """Return ``table`` with the columns of SCORE_SCHEMA in order, or raise ValueError naming ``where``."""
    table = _with_schema(table, where=where)
    label, logit = column(table, "label"), column(table, "logit")
    if stray := sorted(set(np.unique(label).tolist()) - {0, 1}):
        raise ValueError(f"{where}: label = {stray[0]}: allowed are 0 (control) and 1 (injected)")
    for value, name in ((0, "negatives"), (1, "positives")):
        if not (label == value).any():
            raise ValueError(
                f"{where}: no {name} (label = {value}) in {len(label)} rows; a score table needs both labels"
            )
    if bad := np.count_nonzero(~np.isfinite(logit)):
        raise ValueError(
            f"{where}: logit: {bad} of {len(logit)} are NaN or infinite; score in float32 and look for NaN stamps"
        )
    if unknown := sorted(set(table.column("kind").to_pylist()) - set(CLASSES)):
        raise ValueError(f"{where}: kind = {unknown[0]!r}: allowed are {', '.join(CLASSES)}")
    _require_arcs(table, where=where)
    return table


def _with_schema(table: pa.Table, *, where: str) -> pa.Table:
    missing = [name for name in SCORE_SCHEMA.names if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{where}: missing column(s) {', '.join(missing)}; a score table has {', '.join(SCORE_SCHEMA.names)}"
        )
    selected = table.select(SCORE_SCHEMA.names)
    for field in SCORE_SCHEMA:
        if selected.schema.field(field.name).type != field.type:
            found = selected.schema.field(field.name).type
            raise ValueError(f"{where}: column {field.name} is {found}: must be {field.type}")
        if selected.column(field.name).null_count:
            raise ValueError(f"{where}: column {field.name} has nulls; what has no meaning is NaN, not null")
    return selected.cast(SCORE_SCHEMA)


def _require_arcs(table: pa.Table, *, where: str) -> None:
    """A positive without its arc's properties would silently count as not visible."""
    injected = column(table, "label") == 1
    for name in (*ARC_COLUMNS, "psf_fwhm_r_arcsec"):
        if bad := np.count_nonzero(~np.isfinite(column(table, name)[injected])):
            raise ValueError(
                f"{where}: {name}: {bad} of {injected.sum()} positives are NaN or infinite; every arc needs it"
            )
    if (column(table, "psf_fwhm_r_arcsec")[injected] <= 0).any():
        raise ValueError(f"{where}: psf_fwhm_r_arcsec: must be above 0 arcsec for every positive")
