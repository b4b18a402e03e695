"""A judged bank as plain numbers (JSON) and as a table in the terminal."""

import json
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dhs.source.check.run import BankReport
from dhs.source.check.verdict import Check

WORST = 12
"""Sources named, and shown, for each check that did not pass."""
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "absent": "dim"}
FIGURES = (
    "hlr_arcsec",
    "hlr_of_circle_arcsec",
    "pedestal",
    "frame_flux",
    "galaxy_light",
    "speckle",
    "box_fill",
    "lowest",
    "clumpiness",
    "snr",
    "centroid_arcsec",
    "support_arcsec",
)
"""Fields of `Measured` whose quantiles are written."""


def claim(report: BankReport) -> str:
    """The verdict in one sentence."""
    n = report.evidence.bank.n_sources
    if report.passed:
        warned = sum(check.outcome == "warn" for check in report.checks)
        return f"PASS: these {n:,} sources are galaxies" + (f", with advice on {warned}." if warned else ".")
    return f"FAIL: no bank of clean galaxies ({len(report.failed)} of {len(report.checks)} checks failed)."


def reasons(report: BankReport) -> list[str]:
    """What failed, then what to look at; nothing when all passed."""
    told = [check for outcome in ("fail", "warn") for check in report.checks if check.outcome == outcome]
    return [f"{c.outcome}: {c.quantity}: {c.measured} (allowed {c.allowed}). {c.meaning}" for c in told]


def worst_rows(check: Check) -> list[int]:
    """Rows of the worst sources of a check that did not pass, worst first."""
    if check.outcome in ("pass", "absent") or check.badness is None:
        return []
    known = np.flatnonzero(np.isfinite(check.badness))
    order = known[np.argsort(-check.badness[known], kind="stable")]
    return [int(row) for row in order[: min(WORST, max(1, check.beyond))]]


def summary(report: BankReport) -> dict[str, Any]:
    """Verdict, checks, quantiles, references, limits: what `check.json` holds."""
    evidence = report.evidence
    bank, index = evidence.bank, evidence.bank.meta["index"]
    return {
        "verdict": "pass" if report.passed else "fail",
        "claim": claim(report),
        "bank": {
            "path": str(bank.path),
            "n_sources": bank.n_sources,
            "n_channels": bank.n_channels,
            "stamp_size_px": bank.size_px,
            "pixel_scale_arcsec": bank.pixel_scale_arcsec,
            "dtype": bank.dtype.name,
            "columns": sorted(bank.meta),
            "attributes": dict(bank.attributes),
        },
        "checks": [
            {
                "key": check.key,
                "quantity": check.quantity,
                "measured": check.measured,
                "allowed": check.allowed,
                "outcome": check.outcome,
                "meaning": check.meaning,
                "n_beyond": check.beyond,
                "worst": [{"row": row, "index": int(index[row])} for row in worst_rows(check)],
            }
            for check in report.checks
        ],
        "quantiles": {"at": list(QUANTILES), **{key: _quantiles(report, key) for key in FIGURES}},
        "references": {
            "empty_box_hlr_arcsec": evidence.noise.hlr_arcsec,
            "noise_clumpiness": evidence.noise.clumpiness,
            "n_matched_sersic": 0 if evidence.sersic is None else len(evidence.sersic.rows),
        },
        "limits": evidence.limits.model_dump(),
    }


def summary_json(report: BankReport) -> str:
    """`summary` as text; numbers that are not finite become null."""
    return json.dumps(_finite(summary(report)), indent=1, allow_nan=False) + "\n"


def _quantiles(report: BankReport, key: str) -> list[float]:
    values = getattr(report.evidence.measured, key)
    known = values[np.isfinite(values)]
    return [float(value) for value in np.quantile(known, QUANTILES)] if len(known) else [np.nan] * len(QUANTILES)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def print_report(report: BankReport, console: Console) -> None:
    """Verdict and one line a check; nothing is read as rich markup."""
    bank = report.evidence.bank
    title = f"{bank.path.name}: {bank.n_sources:,} sources of {bank.size_px} px, {bank.pixel_scale_arcsec:g} arcsec/px"
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("", "quantity", "measured", "allowed"):
        table.add_column(name)
    for check in report.checks:
        style = STYLES[check.outcome]
        table.add_row(Text(check.outcome, style=style), Text(check.quantity), Text(check.measured), Text(check.allowed))
    console.print(table)
    for line in reasons(report):
        console.print(Text(line, style="dim"))
    console.print(Text(claim(report), style="bold green" if report.passed else "bold red"))
