"""Intervals of counted fractions: Wilson for recall, Clopper-Pearson for rare events.

Wilson (1927) covers close to its level on average and is the interval of recall. Clopper-Pearson (1934)
never covers less than its level, at the price of width, and is the interval of false-positive rates: a
contamination must not be stated better than it is. Both through statsmodels.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
"""Level of every interval of a report; two-sided."""

Method = Literal["wilson", "clopper-pearson"]

_STATSMODELS_NAME = {"wilson": "wilson", "clopper-pearson": "beta"}


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; ``value`` is None when the sample cannot measure it, and ``note`` says why."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Denominator: how many objects of the counted kind there were."""
    k: int | None = None
    """Numerator of a counted fraction."""
    method: str = ""
    note: str = ""

    def as_dict(self) -> dict[str, float | int | str | None]:
        """Plain JSON values."""
        return asdict(self)


def not_measured(note: str, *, n: int = 0) -> Estimate:
    """An estimate that says why there is none."""
    return Estimate(value=None, low=None, high=None, n=n, note=note)


def proportion(k: int, *, n: int, method: Method = "wilson", note: str = "") -> Estimate:
    """``k`` of ``n`` with its 95% interval; None, not 0, when ``n`` is 0."""
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0, k=0, method=method, note=note or "empty")
    low, high = proportion_confint(k, n, alpha=1 - CONFIDENCE, method=_STATSMODELS_NAME[method])
    # rounding puts Wilson's low end of 0 of n at +-1e-17, and so for n of n
    low, high = (0.0 if k == 0 else low), (1.0 if k == n else high)
    return Estimate(value=k / n, low=float(low), high=float(high), n=n, k=k, method=method, note=note)


def fpr_upper_bound(n: int) -> float:
    """95% one-sided upper bound of a false-positive rate after none in ``n`` negatives: 1 - 0.05**(1/n)."""
    return float(1.0 - (1.0 - CONFIDENCE) ** (1.0 / n))


def percentile(draws: np.ndarray, *, value: float, n: int, note: str = "") -> Estimate:
    """``value`` with the 2.5 and 97.5 percentiles of its bootstrap ``draws`` (K,).

    Draws that never move (a perfectly separated sample, one object) are no interval: both ends are None.
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    if high - low < 1e-12:
        reason = "no interval: the statistic does not vary between bootstrap resamples"
        return Estimate(
            value=value, low=None, high=None, n=n, method="bootstrap", note="; ".join(filter(None, (note, reason)))
        )
    return Estimate(value=value, low=float(low), high=float(high), n=n, method="bootstrap", note=note)
