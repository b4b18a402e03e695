"""How many independent injections there are where one galaxy carries several: the design effect.

Five hundred arcs in three galaxies are not 500 trials: a galaxy that the finder likes is liked under every arc.
With an intraclass correlation rho of the found/missed of one host, the weighted mean of N injections has the variance
of ``(sum w)^2 / ((1 - rho) sum w^2 + rho sum_h W_h^2)`` independent ones, W_h the weights of host h together
(Kish 1965, Survey Sampling, section 5.4, and with weights Kish 1987). Wilson's interval with that number in the place
of N keeps its level on clustered counts (Dean & Pagano 2015, J. Surv. Stat. Methodol. 3, 484).
"""

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from dhs.evaluate.intervals import CONFIDENCE

Z = 1.959963984540054
"""Two-sided 95% of a normal distribution."""


def intraclass_correlation(
    found: np.ndarray, *, host: np.ndarray, conditions: np.ndarray, theta: np.ndarray
) -> float | None:
    """rho of (N,) bool ``found``, hosts compared under the same ``conditions`` (N,); None where nothing tells it.

    Two-way analysis of variance, theta_E (N,) ``theta`` and host, pooled over conditions (Searle, Casella & McCulloch
    1992, section 3.6): the between-host sum of squares of what is left after each theta_E's mean. Never below 0.
    """
    between = within = df_between = df_within = expected = 0.0
    for number in np.unique(conditions):
        mine = conditions == number
        _, h = np.unique(host[mine], return_inverse=True)
        _, t = np.unique(theta[mine], return_inverse=True)
        n, n_h, n_t = len(h), np.bincount(h), np.bincount(t)
        if len(n_h) < 2 or n <= len(n_h) + len(n_t) - 1:
            continue
        rest = found[mine] - (np.bincount(t, weights=found[mine]) / n_t)[t]
        mean = np.bincount(h, weights=rest) / n_h
        between += float((n_h * mean**2).sum())
        within += float(((rest - mean[h]) ** 2).sum())
        df_between += len(n_h) - 1
        df_within += n - len(n_h) - len(n_t) + 1
        expected += n - float((n_h.astype(float) ** 2).sum()) / n
    if not df_within:
        return None
    variance_within = within / df_within
    variance_between = max((between - df_between * variance_within) / expected, 0.0)
    total = variance_within + variance_between
    return variance_between / total if total > 0 else 0.0


def effective_number(
    groups: np.ndarray, *, n_groups: int, weight: np.ndarray, host: np.ndarray, rho: float
) -> np.ndarray:
    """(G,) independent injections in each group of (N,) ``groups`` numbers 0 to G - 1; 0 in an empty one."""
    _, number = np.unique(host, return_inverse=True)
    pair, place = np.unique(groups * (number.max(initial=0) + 1) + number, return_inverse=True)
    of_host = np.bincount(place, weights=weight, minlength=len(pair))
    group_of_pair = pair // (number.max(initial=0) + 1)
    total = np.bincount(groups, weights=weight, minlength=n_groups)
    alone = np.bincount(groups, weights=weight**2, minlength=n_groups)
    together = np.bincount(group_of_pair, weights=of_host**2, minlength=n_groups)
    spread = (1 - rho) * alone + rho * together
    return np.divide(total**2, spread, out=np.zeros(n_groups), where=spread > 0)


def wilson(value: np.ndarray, *, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G,) low and high end of the 95% interval of proportions of ``n`` trials, whole or effective; NaN for none."""
    low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
    some = n > 0
    low[some], high[some] = proportion_confint(value[some] * n[some], n[some], alpha=1 - CONFIDENCE, method="wilson")
    low[some & (value == 0)], high[some & (value == 1)] = 0.0, 1.0  # not +-1e-17
    return low, high
