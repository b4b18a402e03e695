"""Completeness of the lenses that nature offers: cells weighted with p(theta_E) and with the sky's own conditions.

Completeness runs straight between the Einstein radii of the grid, so its integral over the natural p(theta_E)
(`dhs.lens.population`, cut to the grid's range) is a weighted sum: weight i is the integral of p times the hat function
of node i. Seeing and depth are weighted with the share of host galaxies of the test sky that have them.

The interval is the Bayesian bootstrap over galaxies (Rubin 1981, Ann. Stat. 9, 130): every galaxy gets an exponential
weight, with which both the completeness of its cells and the share of its conditions are drawn again. It holds the
binomial scatter of the injections too, since that is part of how galaxies differ. No cell can lose its last galaxy.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dhs.evaluate.intervals import Estimate, percentile
from dhs.evaluate.selection.cells import Completeness, Injections
from dhs.evaluate.selection.clusters import effective_number, wilson

POINTS_PER_INTERVAL = 129
"""Of the trapezoid rule between two nodes: 1e-5 of the integral for a density without kinks."""
CHUNK = 200
"""Resamples at once."""

Density = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Natural:
    """What of nature's lenses is found, under the conditions of the test sky."""

    overall: Estimate
    by_theta: list[Estimate]
    """(T,) at each theta_E, over the conditions."""
    binomial_error: float
    """One standard deviation of ``overall`` from the injections alone: the cells' binomial errors, propagated."""


def theta_weights(theta_e_arcsec: np.ndarray, *, density: Density) -> np.ndarray:
    """(T,) weights of sum 1: integrals of ``density`` times the hat function of each node."""
    if len(theta_e_arcsec) == 1:
        return np.ones(1)
    weights = np.zeros(len(theta_e_arcsec))
    share = np.linspace(0.0, 1.0, POINTS_PER_INTERVAL)
    for i, (low, high) in enumerate(zip(theta_e_arcsec[:-1], theta_e_arcsec[1:], strict=True)):
        theta = low + (high - low) * share
        p = density(theta)
        weights[i] += np.trapezoid(p * (1 - share), theta)
        weights[i + 1] += np.trapezoid(p * share, theta)
    return weights / weights.sum()


def condition_shares(injections: Injections) -> np.ndarray:
    """(P D,) share of the hosts of the test sky under each condition of the grid; 0 where there are none."""
    available = hosts_by_condition(injections)
    return available / available.sum()


def hosts_by_condition(injections: Injections) -> np.ndarray:
    """(P D,) lens galaxies of the test sky under each condition of the grid."""
    available = np.zeros(injections.grid.shape[1] * injections.grid.shape[2])
    available[injections.conditions] = injections.hosts_available
    return available


def injection_weights(injections: Injections, *, theta_weight: np.ndarray) -> np.ndarray:
    """(N,) of sum 1: with them the injections are nature's lenses under the conditions of the test sky."""
    n = np.bincount(injections.cell, minlength=injections.grid.n_cells)
    share = condition_shares(injections)[injections.conditions]
    return theta_weight[injections.theta] * share / n[injections.cell]


def natural_completeness(
    injections: Injections,
    cells: Completeness,
    *,
    found: np.ndarray,
    theta_weight: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
) -> Natural:
    """Of nature's lenses, from (N,) bool ``found`` and its ``cells``."""
    weight = injection_weights(injections, theta_weight=theta_weight)
    draws = _draws_by_theta(injections, found=found, resamples=resamples, rng=rng)
    share = condition_shares(injections)
    values = np.einsum("tc,c->t", np.nan_to_num(cells.value.reshape(len(theta_weight), -1)), share)
    rho = cells.rho or 0.0

    def estimate(value: float, sample: np.ndarray, rows: np.ndarray) -> Estimate:
        return _estimate(value, sample, n=int(rows.sum()), weight=weight[rows], host=injections.host[rows], rho=rho)

    by_theta = [estimate(float(value), draws[:, t], injections.theta == t) for t, value in enumerate(values)]
    everything = np.ones(len(injections), bool)
    p, trials = (a.reshape(len(theta_weight), -1) for a in (np.nan_to_num(cells.value), np.maximum(cells.n, 1)))
    error = np.sqrt(p * (1 - p) / trials) * theta_weight[:, None] * share
    return Natural(
        overall=estimate(float(theta_weight @ values), draws @ theta_weight, everything),
        by_theta=by_theta,
        binomial_error=float(np.sqrt((error**2).sum())),
    )


def _draws_by_theta(
    injections: Injections, *, found: np.ndarray, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """(K, T) completeness at each theta_E over the conditions, galaxies weighted anew in each of K resamples."""
    n_theta, n_conditions = injections.grid.shape[0], injections.grid.shape[1] * injections.grid.shape[2]
    parts = []
    groups = [_HostCounts.of(injections, found=found, condition=c, n_theta=n_theta) for c in range(n_conditions)]
    groups = [group for group in groups if group.available]
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        total, mass = np.zeros((size, n_theta)), np.zeros((size, 1))
        for group in groups:
            host_weight = rng.standard_exponential((size, len(group.n)))
            of_group = host_weight.sum(axis=1, keepdims=True)
            unused = group.available - len(group.n)
            if unused > 0:  # galaxies of these conditions that no cell needed: they count in the share alone
                of_group = of_group + rng.gamma(unused, size=(size, 1))
            total += of_group * (host_weight @ group.k) / (host_weight @ group.n)
            mass += of_group
        parts.append(total / mass)
    return np.concatenate(parts)


@dataclass(frozen=True)
class _HostCounts:
    """Injections ``n`` and found ones ``k`` of the H hosts of one condition, (H, T)."""

    n: np.ndarray
    k: np.ndarray
    available: int

    @classmethod
    def of(cls, injections: Injections, *, found: np.ndarray, condition: int, n_theta: int) -> "_HostCounts":
        mine = injections.conditions == condition
        if not mine.any():
            return cls(np.zeros((0, n_theta)), np.zeros((0, n_theta)), 0)
        hosts, number = np.unique(injections.host[mine], return_inverse=True)
        place = number * n_theta + injections.theta[mine]
        size = len(hosts) * n_theta
        n = np.bincount(place, minlength=size).reshape(-1, n_theta).astype(float)
        k = np.bincount(place, weights=found[mine], minlength=size).reshape(-1, n_theta)
        return cls(n, k, int(injections.hosts_available[mine].max()))


def _estimate(value: float, draws: np.ndarray, *, n: int, weight: np.ndarray, host: np.ndarray, rho: float) -> Estimate:
    """``value`` with the interval of its bootstrap; Wilson's on the effective number where it cannot vary (0 or 1)."""
    measured = percentile(draws, value=value, n=n)
    if measured.low is not None:
        return measured
    trials = effective_number(np.zeros(n, np.int64), n_groups=1, weight=weight, host=host, rho=rho)
    low, high = wilson(np.array([value]), n=trials)
    return Estimate(value=value, low=float(low[0]), high=float(high[0]), n=n, method="wilson, effective number")
