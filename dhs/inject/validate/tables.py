"""The tables of the seeds' quality reviews, split by split: what is in a set."""

from typing import Any

import numpy as np

from dhs.constants import BANDS
from dhs.inject.validate.arcs import claimed_snr, claimed_snr_sum
from dhs.inject.validate.evidence import Evidence

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ABOVE = (1, 10, 50)
"""S/N above which the share of arcs is given, as the seeds did."""

DISTRIBUTION_HEAD = ("quantity", "split", "n", "min", "P5", "P25", "median", "P75", "P95", "max", "mean", "std")

VARIABLES: tuple[tuple[str, str, bool], ...] = (
    ("theta_e_arcsec", "theta_E (arcsec)", True),
    ("magnification", "magnification", True),
    ("lensed_hlr_arcsec", "half-light radius of the lensed arc (arcsec)", True),
    ("source_hlr_arcsec", "half-light radius of the source (arcsec)", True),
    ("clumpiness", "clumpiness of the source", True),
    ("source_r_mag", "source r (mag)", True),
    ("arc_r_mag", "arc r (mag)", True),
    ("mag_r", "galaxy r (mag)", False),
    ("psfsize_r_arcsec", "seeing r (arcsec)", False),
    ("psfdepth_r_mag", "depth r (mag, 5 sigma)", False),
    ("redshift", "redshift of the galaxy", False),
)
"""Column, how it is called, and whether it is of injections alone."""


def overview(e: Evidence) -> dict[str, dict[str, Any]]:
    """Split -> counts and shares; None where the set does not say."""
    return {split: _of_split(e, e.split_codes == e.names["split"].index(split), split) for split in e.splits} or {
        "all": _of_split(e, np.ones(e.n_rows, bool), None)
    }


def _of_split(e: Evidence, here: np.ndarray, split: str | None) -> dict[str, Any]:
    ok = e.keys["cutout_ok"]
    n = int(here.sum())
    out: dict[str, Any] = {"rows": n, "cutout_ok": float(ok[here].mean()) if n else None}
    injected = e.keys.get("injected")
    arcs = np.zeros(e.n_rows, bool) if injected is None else here & ok & (injected == 1)
    if injected is not None:
        controls = int((here & ok & (injected == 0)).sum())
        out |= {"injected": int(arcs.sum()), "controls": controls}
        out["controls_per_injection"] = controls / arcs.sum() if arcs.any() else None
    out["galaxies"] = len(np.unique(e.keys["galaxy"][here])) if "galaxy" in e.keys else None
    read = here & (e.keys["image_hash"] != 0)
    out |= {"stamps_looked_at": int(read.sum()), "distinct_stamps": len(np.unique(e.keys["image_hash"][read]))}
    out |= _sources(e, arcs)
    for name, values in (("arc_snr", claimed_snr(e)), ("arc_snr_sum", claimed_snr_sum(e))):
        known = values[e.injections & e.in_split(split) & np.isfinite(values)]
        for limit in ABOVE:
            out[f"{name}_above_{limit}"] = float((known > limit).mean()) if len(known) else None
    return out


def _sources(e: Evidence, arcs: np.ndarray) -> dict[str, Any]:
    """Distinct sources of the rows ``arcs`` and the share of the most frequent one."""
    if "source_index" not in e.keys or not arcs.any():
        return {"sources": None, "most_frequent_source": None}
    index = e.keys["source_index"][arcs]
    known = np.isfinite(index) & (index >= 0)
    kind = e.keys["source_kind"][arcs][known].astype(np.int64) if "source_kind" in e.keys else 0
    _, counts = np.unique(kind * (1 << 40) + index[known].astype(np.int64), return_counts=True)
    return {
        "sources": len(counts),
        "most_frequent_source": float(counts.max() / counts.sum()) if len(counts) else None,
    }


def distributions(e: Evidence) -> list[dict[str, Any]]:
    """One record for every quantity and split: n, quantiles, mean, standard deviation."""
    quantities = [("arc S/N of the brightest pixel", claimed_snr(e), True)]
    quantities.append(("arc S/N, integrated", claimed_snr_sum(e), True))
    quantities += [(title, e.rows[name].astype(np.float64), arcs) for name, title, arcs in VARIABLES if e.has(name)]
    for blue, red in (("g", "r"), ("r", "z")):
        if e.has(f"arc_{blue}_mag", f"arc_{red}_mag"):
            colour = e.rows[f"arc_{blue}_mag"].astype(np.float64) - e.rows[f"arc_{red}_mag"]
            quantities.append((f"arc {blue} - {red} (mag)", colour, True))
    for band in BANDS:
        if e.has(f"ring_sigma_{band}"):
            sigma = e.rows[f"ring_sigma_{band}"].astype(np.float64)
            quantities.append((f"noise in the ring, {band} (nMgy)", sigma, False))
    records = []
    for title, values, arcs in quantities:
        for split in e.splits or (None,):
            chosen = e.in_split(split) & np.isfinite(values) & (e.injections if arcs else e.rows["cutout_ok"])
            if chosen.any():
                records.append({"quantity": title, "split": split or "all"} | _statistics(values[chosen]))
    return records


def _statistics(values: np.ndarray) -> dict[str, float]:
    p5, p25, p50, p75, p95 = np.quantile(values, QUANTILES)
    return {
        "n": len(values),
        "min": float(values.min()),
        "p5": float(p5),
        "p25": float(p25),
        "median": float(p50),
        "p75": float(p75),
        "p95": float(p95),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std()),
    }


OVERVIEW_TITLES = {
    "rows": "rows",
    "cutout_ok": "cutout ok",
    "injected": "injections",
    "controls": "controls",
    "controls_per_injection": "controls per injection",
    "galaxies": "distinct galaxies",
    "stamps_looked_at": "stamps whose pixels were read",
    "distinct_stamps": "distinct among them",
    "sources": "distinct sources",
    "most_frequent_source": "share of the most frequent source",
    **{f"arc_snr_above_{n}": f"arc S/N of the brightest pixel > {n}" for n in ABOVE},
    **{f"arc_snr_sum_above_{n}": f"arc S/N integrated > {n}" for n in ABOVE},
}
PERCENT = ("cutout_ok", "most_frequent_source", *(name for name in OVERVIEW_TITLES if "above" in name))


def overview_rows(found: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """As text, a line a quantity, a column a split."""
    return [
        (title, *(_cell(name, values.get(name)) for values in found.values()))
        for name, title in OVERVIEW_TITLES.items()
        if any(values.get(name) is not None for values in found.values())
    ]


def distribution_rows(records: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """As text under DISTRIBUTION_HEAD; a quantity's name stands once."""
    lines, last = [], ""
    for record in records:
        name = "" if record["quantity"] == last else record["quantity"]
        last = record["quantity"]
        numbers = [f"{value:.3g}" for key, value in record.items() if key not in ("quantity", "split", "n")]
        lines.append((name, record["split"], f"{record['n']:,}", *numbers))
    return lines


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in PERCENT:
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
