"""Is a probability what it says? Reliability diagram and expected calibration error, in bins of equal number.

Arrays in, numbers out: ``p`` (N,) in [0, 1], ``label`` (N,) 0 or 1. The expected calibration error (Naeini+2015, AAAI
29) is the mean distance between what is said and what is so; it is above 0 for a perfect forecast too, because bins are
finite, so it is given with what a perfect forecast of the same probabilities would have.
"""

from dataclasses import dataclass

import numpy as np

from dhs.evaluate.bootstrap import resampled_weights
from dhs.evaluate.intervals import Estimate, proportion

NORMAL_95 = 1.959964
"""Standard deviations of a normal distribution that hold 95% of it on both sides of its mean."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Stamps whose probabilities are neighbours."""

    mean_p: float
    observed: Estimate
    """Share of lenses among them, Wilson."""


def bin_of(p: np.ndarray, *, bins: int) -> np.ndarray:
    """(N,) number of the bin: edges at the quantiles, equal values always together (scikit-learn's "quantile")."""
    edges = np.percentile(p, np.linspace(0, 1, bins + 1) * 100)
    return np.searchsorted(edges[1:-1], p)


def reliability(p: np.ndarray, label: np.ndarray, *, bins: int) -> list[ReliabilityBin]:
    """The bins that hold any stamp, by rising probability."""
    number = bin_of(p, bins=bins)
    return [
        ReliabilityBin(
            float(p[number == one].mean()),
            proportion(int(label[number == one].sum()), n=int((number == one).sum())),
        )
        for one in np.unique(number)
    ]


def expected_calibration_error(p: np.ndarray, label: np.ndarray, *, bins: int) -> float:
    """Mean over stamps of |mean probability - share of lenses| of their bin."""
    return float(_errors(p, label[None].astype(np.float64), np.ones((1, len(p))), bins=bins)[0])


def ece_estimate(
    p: np.ndarray,
    label: np.ndarray,
    *,
    galaxy_id: np.ndarray,
    bins: int,
    resamples: int,
    rng: np.random.Generator,
) -> Estimate:
    """The expected calibration error; its interval is normal, bias corrected (Davison & Hinkley 1997, section 5.2)."""
    value = expected_calibration_error(p, label, bins=bins)
    # one stratum: how many lenses there are is part of what a probability must foresee
    together = np.ones(len(p), dtype=np.int64)
    chunks = resampled_weights(together, galaxy_id=galaxy_id, resamples=resamples, rng=rng)
    draws = np.concatenate([_errors(p, label[None].astype(np.float64), weights, bins=bins) for weights in chunks])
    # A resample has its own noise on top of the sample's, and both raise the error: that bias comes off the interval,
    # not the value. It covers 91-94% (docs/evaluation.md); percentiles 69-97%, reflected percentiles 90-94%.
    spread, centre = NORMAL_95 * float(draws.std(ddof=1)), 2 * value - float(draws.mean())
    if spread < 1e-12:
        return Estimate(value, None, None, n=len(p), method="bootstrap", note="no interval: resamples do not differ")
    low, high = max(centre - spread, 0.0), max(centre + spread, 0.0)
    note = "normal interval, the bootstrap's bias off"
    return Estimate(value, low, high, n=len(p), method="bootstrap", note=note)


def perfect_error(p: np.ndarray, *, bins: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws,) errors of a forecast that is right: labels drawn with the probabilities themselves."""
    label = (rng.random((draws, len(p))) < p).astype(np.float64)
    return _errors(p, label, np.ones((1, len(p))), bins=bins)


def _errors(p: np.ndarray, label: np.ndarray, weights: np.ndarray, *, bins: int) -> np.ndarray:
    """(K,) errors of (K or 1, N) labels under (K or 1, N) weights, in the bins of ``p``."""
    number = bin_of(p, bins=bins)
    member = (number[:, None] == np.unique(number)).astype(np.float64)
    gap = ((p - label) * weights) @ member
    return np.asarray(np.abs(gap).sum(axis=1) / np.broadcast_to(weights, (len(gap), len(p))).sum(axis=1))


def at_share(p: np.ndarray, *, fitted: float, wanted: float) -> np.ndarray:
    """Probabilities for another share of lenses among the stamps (Saerens+2002, Neural Comput. 14 21, equation 2.4)."""
    lens, other = p * wanted / fitted, (1 - p) * (1 - wanted) / (1 - fitted)
    return np.asarray(lens / (lens + other))
