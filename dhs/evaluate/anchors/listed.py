"""The table of all anchors of a list, counting or not, kept beside the scores: the report names every one of them."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from dhs.evaluate.anchors.sample import AnchorSample, Provenance
from dhs.evaluate.anchors.simulate import Published
from dhs.evaluate.audit_report import audit_rows

SCHEMA = pa.schema(
    [
        ("provenance", pa.string()),
        ("origin", pa.string()),
        ("name", pa.string()),
        ("survey", pa.string()),
        ("kind", pa.string()),
        ("ra_deg", pa.float64()),
        ("dec_deg", pa.float64()),
        ("theta_e_arcsec", pa.float64()),
        ("r_mag", pa.float64()),
        ("grade", pa.string()),
        ("grade_by_hand", pa.bool_()),
        ("assumed", pa.string()),
        ("failed", pa.bool_()),
        ("reason", pa.string()),
    ]
)
"""One row an anchor; ``reason`` is '' where it counts, ``failed`` says that a check was made and not passed."""


@dataclass(frozen=True)
class Listed:
    """Every anchor of a list and what became of it."""

    provenance: Provenance
    origin: str
    rows: list[dict[str, Any]]

    @property
    def n_counting(self) -> int:
        return sum(row["reason"] == "" for row in self.rows)

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """Those that do not count: failures first."""
        return sorted((row for row in self.rows if row["reason"]), key=lambda row: not row["failed"])

    @property
    def statement(self) -> str:
        """How many are in the denominators, and what became of the others."""
        n, counting = len(self.rows), self.n_counting
        verb = "built" if self.provenance == "simulated" else "audited and count"
        words = f"{counting} of the {n} objects of {self.origin} were {verb}; every denominator is of these."
        failed = sum(row["failed"] for row in self.rows)
        if self.provenance != "simulated" and n > counting:
            words += (
                f" {failed} failed a check and {n - counting - failed} were not fully checked or are something else."
            )
        return words

    @property
    def commonest_reason(self) -> str:
        """Why most of those that do not count do not."""
        reasons = Counter(row["reason"] for row in self.rows if row["reason"])
        return reasons.most_common(1)[0][0] if reasons else ""


def sample_table(sample: AnchorSample) -> pa.Table:
    """Of an audited list."""
    rows = audit_rows(sample.anchors, sample.found, graded=sample.graded)
    for i, row in enumerate(rows):
        row |= {
            "provenance": sample.provenance,
            "origin": sample.anchors.origin,
            "assumed": "" if row["theta_e_is_published"] or row["theta_e_arcsec"] is None else "theta_E from sigma_v",
            "failed": bool(sample.found.failed[i]),
            "reason": str(sample.reason[i]),
        }
    return pa.Table.from_pylist([{name: row[name] for name in SCHEMA.names} for row in rows], schema=SCHEMA)


def published_table(lenses: Published) -> pa.Table:
    """Of the published lenses that are simulated."""
    anchors = lenses.anchors
    rows = [
        {
            "provenance": "simulated",
            "origin": anchors.origin,
            "name": str(anchors.name[i]),
            "survey": str(anchors.survey[i]),
            "kind": str(anchors.kind[i]),
            "ra_deg": float(anchors.ra_deg[i]),
            "dec_deg": float(anchors.dec_deg[i]),
            "theta_e_arcsec": _number(lenses.theta_e_arcsec[i]),
            "r_mag": _number(lenses.mags[i, 1]),
            "grade": "",
            "grade_by_hand": False,
            "assumed": str(lenses.assumed[i]),
            "failed": False,
            "reason": str(lenses.reason[i]),
        }
        for i in range(len(anchors))
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_listed(table: pa.Table) -> Listed:
    """The inverse of both."""
    rows = table.to_pylist()
    return Listed(cast(Provenance, rows[0]["provenance"]), rows[0]["origin"], rows)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
