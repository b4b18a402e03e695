"""The summary as a long table: one row per number, for metrics.csv and the report's appendix.

quantity,subset,value,low,high,n,note
auroc,visible,0.9459,0.9367,0.9551,571,"against 4,000 negatives"
"""

import csv
import io
from typing import Any, NamedTuple

Summary = dict[str, Any]


class Row(NamedTuple):
    """One number with its interval; empty fields where it was not measured, the reason in ``note``."""

    quantity: str
    subset: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str


def summary_rows(summary: Summary) -> list[Row]:
    """Every number of ``summary`` in the order of the report."""
    rows = [row for name in ("visible", "all") for row in _subset_rows(summary[name], subset=name)]
    rows.append(_row("fpr_at_operating_point", "negatives", summary["operating_point"]["fpr_on_test"]))
    for key, subset in (("by_theta_e_over_psf", "theta_e/fwhm_r"), ("by_arc_snr_sum", "arc_snr_sum")):
        rows += [_row("recall_at_operating_point", f"{subset} {cell['name']}", cell) for cell in summary[key]]
    return rows


def rows_as_csv(rows: list[Row]) -> str:
    """CSV text with a header; None is an empty field."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    return buffer.getvalue()


def _subset_rows(section: Summary, *, subset: str) -> list[Row]:
    rows = [_row("auroc", subset, section["auroc"]), _row("partial_auroc", subset, section["partial_auroc"])]
    rows += [_row(f"tpr_at_fpr_{entry['fpr']:g}", subset, entry) for entry in section["tpr_at_fpr"]]
    rows += [_row(name, subset, section[name]) for name in ("tpr0", "tpr10")]
    rows.append(_row("recall_at_p_half", subset, section["recall_at_half"]))
    for entry in section["recall_calibrated"]:
        row = _row(f"recall_at_calibrated_fpr_{entry['fpr']:g}", subset, entry)
        rows.append(row._replace(note=f"threshold from {entry['threshold_from']}"))
    return rows


def _row(quantity: str, subset: str, entry: Summary) -> Row:
    return Row(quantity, subset, entry["value"], entry["low"], entry["high"], entry["n"], entry["note"])
