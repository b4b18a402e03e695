"""Does a threshold reach the false-positive rate that it was set for?

The threshold lets k of n calibration negatives pass; if test negatives are of the same kind, the chance that one passes
is Beta(k + 1, n - k) distributed (the distribution of an order statistic), and the number m of N that pass is
beta-binomial: exact for any k, with the noise of both samples in it.
"""

from scipy import stats


def drift_p_value(k: int, n: int, *, passed: int, n_test: int) -> float:
    """Two-sided p of ``passed`` of ``n_test`` test negatives above the (k+1)-th highest of ``n`` calibration ones."""
    expected = stats.betabinom(n_test, k + 1, n - k)
    return float(min(1.0, 2 * min(expected.cdf(passed), expected.sf(passed - 1))))
