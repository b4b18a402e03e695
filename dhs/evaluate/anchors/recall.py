"""Recall of N lenses at several thresholds, all and in strata, each with its interval. Arrays in, numbers out.

Clopper-Pearson (1934): with some tens of lenses a recall must not be stated better than it is. Where one published
lens was simulated several times its stamps are not independent: then the interval is Korn & Graubard's (1998, Survey
Methodology 24, 193), Clopper-Pearson with the number of independent trials that the scatter between lenses leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from dhs.evaluate.binned import THETA_E_OVER_PSF_EDGES, Cell
from dhs.evaluate.intervals import CONFIDENCE, Estimate, proportion
from dhs.evaluate.targets import MIN_RECALL_REAL, least_hits, smallest_sample
from dhs.evaluate.visibility import GRADES, UNGRADED


@dataclass(frozen=True)
class Lenses:
    """N scored lenses, every one audited (or simulated)."""

    lens: np.ndarray
    """(N,) str: the published lens; rows of one lens are its realisations."""
    survey: np.ndarray
    grade: np.ndarray
    """(N,) str of GRADES, or UNGRADED."""
    theta_e_over_psf: np.ndarray
    """(N,) NaN where theta_E is unknown."""
    logit: np.ndarray
    probability: np.ndarray
    """(N,) calibrated."""

    def __len__(self) -> int:
        return len(self.lens)

    @property
    def visible(self) -> np.ndarray:
        """(N,) bool: grade A."""
        return self.grade == "A"


@dataclass(frozen=True)
class Flagged:
    """Which lenses a threshold finds."""

    name: str
    """For metrics.csv: `fpr_0.01`, `p_half`."""
    words: str
    hit: np.ndarray
    """(N,) bool."""
    note: str = ""


def flag(lenses: Lenses, *, thresholds: Sequence[tuple[float, float, str]]) -> list[Flagged]:
    """At each (FPR, logit, note) of ``thresholds``, strictly above it, and at calibrated p > 0.5."""
    found = [Flagged(f"fpr_{fpr:g}", f"FPR {fpr:g}", lenses.logit > logit, note) for fpr, logit, note in thresholds]
    return [*found, Flagged("p_half", "p > 0.5", lenses.probability > 0.5)]


def strata(lenses: Lenses) -> dict[str, dict[str, np.ndarray]]:
    """Masks (N,) by what divides them and name of the stratum; every lens is in one stratum of each division."""
    edges = THETA_E_OVER_PSF_EDGES
    ratio = lenses.theta_e_over_psf
    bins = {
        (f">= {low:g}" if np.isinf(high) else f"{low:g} - {high:g}"): (ratio >= low) & (ratio < high)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    }
    if (~np.isfinite(ratio)).any():
        bins["unknown"] = ~np.isfinite(ratio)
    return {
        "theta_e/fwhm_r": bins,
        "survey": {str(name) or "not said": lenses.survey == name for name in np.unique(lenses.survey)},
        "grade": {name: lenses.grade == name for name in (*GRADES, UNGRADED)},
    }


def recall(hit: np.ndarray, *, lens: np.ndarray, empty: str = "no lenses") -> Estimate:
    """Recall of (N,) ``hit`` with its 95% interval; Korn & Graubard's where a ``lens`` (N,) is there more than once.

    ``n`` counts lenses; ``k`` the hits among stamps (of lenses, where each is there once).
    """
    names, cluster = np.unique(lens, return_inverse=True)
    n, m = len(hit), len(names)
    if m == n:
        return proportion(int(hit.sum()), n=n, method="clopper-pearson", note="" if n else empty)
    value = float(hit.mean())
    trials = independent_trials(hit, cluster=cluster, n_clusters=m)
    low, high = proportion_confint(value * trials, trials, alpha=1 - CONFIDENCE, method="beta")
    low, high = (0.0 if value == 0 else float(low)), (1.0 if value == 1 else float(high))
    note = f"{n:,} stamps of {m} lenses, worth {trials:.0f} independent ones"
    return Estimate(value, low, high, n=m, k=int(hit.sum()), method="korn-graubard", note=note)


def independent_trials(hit: np.ndarray, *, cluster: np.ndarray, n_clusters: int) -> float:
    """Effective number of (N,) ``hit`` in clusters numbered 0 to n_clusters - 1, between n_clusters' worth and N.

    ``p (1 - p) / var(p)``, var(p) by linearisation between clusters, times Korn & Graubard's
    ``(t_{N-1} / t_{m-1})^2`` for the degrees of freedom. One trial a cluster where all agree or there is one.
    """
    n, value = len(hit), float(hit.mean())
    if value in (0.0, 1.0) or n_clusters < 2:
        return float(n_clusters)
    size = np.bincount(cluster, minlength=n_clusters)
    residual = np.bincount(cluster, weights=hit, minlength=n_clusters) - value * size
    variance = n_clusters / (n_clusters - 1) * float((residual**2).sum()) / n**2
    tail = 1 - (1 - CONFIDENCE) / 2
    shrink = float((stats.t.ppf(tail, n - 1) / stats.t.ppf(tail, n_clusters - 1)) ** 2)
    if variance == 0:
        return float(n) * shrink
    return min(value * (1 - value) / variance, float(n)) * shrink


def cells(flagged: Flagged, *, masks: Mapping[str, np.ndarray], lens: np.ndarray) -> list[Cell]:
    """Recall in each stratum; an empty one says so."""
    return [Cell(name, recall(flagged.hit[mask], lens=lens[mask])) for name, mask in masks.items()]


def provable_words(n: int, *, target: float = MIN_RECALL_REAL) -> str:
    """Whether ``n`` lenses can prove a recall above ``target``."""
    needed = least_hits(n, above=target)
    if needed is None:
        return f"no: {n} lenses cannot; {smallest_sample(above=target)} are the least, and all must be found"
    return f"yes, with at least {needed} of {n} found"
