"""Negatives matched to positives in depth, exposures, seeing and type, so that none of them tells the label.

Cells are quantile bins of the positives in each variable, times the Tractor type. A class keeps at most ``ratio``
negatives a positive in every cell, with the largest ratio that the cells of ``coverage`` of the positives can afford; a
hash of the id decides which. Types that a class does not have (no edge-on disc is a DEV) cannot be matched: those
positives are set aside for that class, and the table says how far the types stay apart. Control LRGs need no matching:
a hash of the id makes them, so they are a random half of the hosts.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from dhs.config.targets import Matching
from dhs.rng import stable_fraction

MIN_PER_CELL = 10
"""Bins are made fewer until a class has this many negatives a cell on average."""

REPORTED = tuple(
    f"{name}_{band}{unit}"
    for name, unit in (("psfdepth", "_mag"), ("psfsize", "_arcsec"), ("nobs", ""))
    for band in ("g", "r", "z")
)
"""Columns of the match table; `type` is added to them."""

Columns = dict[str, np.ndarray]
"""Columns of the target table: target_id, kind, role, type and REPORTED, (N,) each."""


@dataclass(frozen=True)
class MatchRow:
    """One variable of one class, before and after: medians and Kolmogorov-Smirnov distances to the positives.

    For `type` the medians are NaN and the distance is the total variation, half the sum of |share differences|.
    """

    kind: str
    variable: str
    positives_median: float
    before_median: float
    after_median: float
    before_distance: float
    after_distance: float


@dataclass(frozen=True)
class MatchReport:
    rows: list[MatchRow]
    classes: dict[str, dict[str, Any]]
    """Class -> n_before, n_after, n_bins, ratio (negatives a positive), positives_without_type (share), ks_noise: a
    distance that 5% of equal samples of this size exceed (1.36 sqrt((n + m) / nm))."""

    def as_json(self) -> dict[str, Any]:
        return {"classes": self.classes, "table": [asdict(row) for row in self.rows]}


def match_negatives(columns: Columns, *, config: Matching) -> tuple[np.ndarray, MatchReport]:
    """(N,) bool, False for negatives to leave out, and the table that shows the match.

    With ``config.enabled`` False nothing is left out and the table shows how things stand.
    """
    keep = np.ones(len(columns["target_id"]), bool)
    positives = np.flatnonzero(columns["role"] == "injection")
    report = MatchReport([], {})
    for kind in sorted(set(columns["kind"][columns["role"] == "negative"].tolist())):
        mine = np.flatnonzero((columns["role"] == "negative") & (columns["kind"] == kind))
        kept, about = mine, {"n_bins": None, "ratio": None, "positives_without_type": None}
        if config.enabled and len(positives):
            kept, about = _match_class(columns, positives, mine, kind=kind, config=config)
            keep[mine] = False
            keep[kept] = True
        noise = _ks_noise(len(positives), len(kept))
        report.classes[kind] = {"n_before": len(mine), "n_after": len(kept), **about, "ks_noise": noise}
        report.rows.extend(_compare(columns, positives, mine, kept, kind=kind))
    return keep, report


def _match_class(
    columns: Columns, positives: np.ndarray, negatives: np.ndarray, *, kind: str, config: Matching
) -> tuple[np.ndarray, dict[str, Any]]:
    """Rows of the negatives to keep, and what was done."""
    target = positives
    if config.match_type:
        target = positives[np.isin(columns["type"][positives], np.unique(columns["type"][negatives]))]
    about: dict[str, Any] = {"positives_without_type": 1.0 - len(target) / len(positives)}
    if len(target) == 0:
        return negatives[:0], {**about, "n_bins": 0, "ratio": 0.0}
    n_bins = _affordable_bins(columns, target, n_negatives=len(negatives), config=config)
    cells = _cells(columns, target, np.concatenate([target, negatives]), n_bins=n_bins, config=config)
    n_cells = int(cells.max()) + 1
    n_positives = np.bincount(cells[: len(target)], minlength=n_cells)
    n_negatives = np.bincount(cells[len(target) :], minlength=n_cells)
    ratio = affordable_ratio(n_positives, n_negatives, coverage=config.coverage)
    quota = np.array(
        [
            int(ratio * n + stable_fraction(f"{kind}:{cell}", salt="match"))
            for cell, n in enumerate(n_positives.tolist())
        ]
    )
    taken = _first_of_each_cell(columns["target_id"][negatives], cells[len(target) :], quota=quota)
    return negatives[taken], {**about, "n_bins": n_bins, "ratio": ratio}


def affordable_ratio(n_positives: np.ndarray, n_negatives: np.ndarray, *, coverage: float) -> float:
    """Largest ratio r so that cells holding ``coverage`` of the positives have at least r negatives a positive."""
    occupied = n_positives > 0
    weights = n_positives[occupied]
    ratios = n_negatives[occupied] / weights
    order = np.argsort(-ratios, kind="stable")
    covered = np.cumsum(weights[order]) / weights.sum()
    return float(ratios[order][np.searchsorted(covered, coverage - 1e-12)])


def _affordable_bins(columns: Columns, target: np.ndarray, *, n_negatives: int, config: Matching) -> int:
    n_types = len(np.unique(columns["type"][target])) if config.match_type else 1
    n_bins = config.n_bins
    while n_bins > 1 and n_negatives < MIN_PER_CELL * n_types * n_bins ** len(config.variables):
        n_bins -= 1
    return n_bins


def _cells(columns: Columns, target: np.ndarray, rows: np.ndarray, *, n_bins: int, config: Matching) -> np.ndarray:
    """(len(rows),) cell number of each row: bins at quantiles of ``target``, times type."""
    cell = np.zeros(len(rows), np.int64)
    for name in config.variables:
        edges = np.unique(np.quantile(columns[name][target], np.linspace(0, 1, n_bins + 1)[1:-1]))
        cell = cell * (len(edges) + 1) + np.searchsorted(edges, columns[name][rows], side="right")
    if config.match_type:
        names, codes = np.unique(columns["type"][rows], return_inverse=True)
        cell = cell * len(names) + codes
    return cell


def _first_of_each_cell(ids: np.ndarray, cells: np.ndarray, *, quota: np.ndarray) -> np.ndarray:
    """Positions of the ``quota[cell]`` lowest hashes of each cell, ascending."""
    order_key = np.array([stable_fraction(str(i), salt="match") for i in ids.tolist()])
    order = np.lexsort((order_key, cells))
    sorted_cells = cells[order]
    starts = np.searchsorted(sorted_cells, np.arange(len(quota)))
    rank = np.arange(len(order)) - starts[sorted_cells]
    return np.sort(order[rank < quota[sorted_cells]])


def _compare(
    columns: Columns, positives: np.ndarray, before: np.ndarray, after: np.ndarray, *, kind: str
) -> list[MatchRow]:
    rows = []
    for name in REPORTED:
        reference, first, last = (columns[name][index].astype(float) for index in (positives, before, after))
        rows.append(
            MatchRow(
                kind,
                name,
                _median(reference),
                _median(first),
                _median(last),
                _ks(reference, first),
                _ks(reference, last),
            )
        )
    types = columns["type"]
    distances = [_total_variation(types[positives], types[index]) for index in (before, after)]
    return [*rows, MatchRow(kind, "type", np.nan, np.nan, np.nan, distances[0], distances[1])]


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _ks(a: np.ndarray, b: np.ndarray) -> float:
    return float(ks_2samp(a, b, method="asymp").statistic) if len(a) and len(b) else float("nan")


def _ks_noise(n: int, m: int) -> float:
    return min(1.0, float(1.36 * np.sqrt((n + m) / (n * m)))) if n and m else float("nan")


def _total_variation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) == 0 or len(b) == 0:
        return float("nan")
    names = np.unique(np.concatenate([a, b]))
    return 0.5 * float(sum(abs((a == name).mean() - (b == name).mean()) for name in names))
