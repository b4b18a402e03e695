"""Timing: interleaved rounds, medians, ratios within a round."""

import statistics
import time
from collections.abc import Callable
from typing import Any

Rows = list[dict[str, Any]]


def interleaved(candidates: dict[str, Callable[[], int]], *, rounds: int) -> dict[str, list[float]]:
    """Items per second of each candidate, one measurement a round, all candidates in every round."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for work in candidates.values():
        work()
    for _ in range(rounds):
        for name, work in candidates.items():
            started = time.perf_counter()
            items = work()
            rates[name].append(items / (time.perf_counter() - started))
    return rates


def rows_from(rates: dict[str, list[float]], *, part: str, unit: str, against: str | None = None) -> Rows:
    """One row a candidate: median, minimum, maximum, and the median of the per-round ratio to ``against``."""
    rows = []
    for name, values in rates.items():
        row = {
            "part": part,
            "what": name,
            "unit": unit,
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "rounds": len(values),
        }
        if against:
            row["ratio"] = statistics.median(a / b for a, b in zip(values, rates[against], strict=True))
            row["ratio_to"] = against
        rows.append(row)
    return rows
