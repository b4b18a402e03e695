"""Completeness of nature's lenses: weights against numerical integration, intervals that cover."""

import numpy as np
import pytest
from scipy.integrate import quad

from dhs.config.base import Range
from dhs.config.lens import LensPopulation
from dhs.evaluate.selection.analysis import natural_theta_weights
from dhs.evaluate.selection.cells import completeness
from dhs.evaluate.selection.natural import condition_shares, injection_weights, natural_completeness, theta_weights
from dhs.lens.population import NaturalLaw
from dhs.rng import Purpose, keyed_rng
from tests.evaluate.selection.grids import GRID, HOSTS, injections, truth

POPULATION = LensPopulation()


def rng(index: int) -> np.random.Generator:
    return keyed_rng(23, Purpose.BENCHMARK, 2, index)


def test_the_weighted_sum_is_the_integral_of_completeness_over_the_natural_law():
    theta = GRID.theta_e_arcsec
    values = np.array([0.05, 0.4, 0.7, 0.9])
    law = NaturalLaw(POPULATION, theta_e_arcsec=Range(low=0.5, high=2.5))
    integral = sum(
        quad(
            lambda x: float(law.density(x)) * np.interp(x, theta, values),
            low,
            high,
            limit=400,
            epsabs=1e-6,
            epsrel=1e-6,
        )[0]
        for low, high in zip(theta[:-1], theta[1:], strict=True)
    )
    weights = natural_theta_weights(theta, population=POPULATION)
    assert weights.sum() == pytest.approx(1)
    assert weights @ values == pytest.approx(integral, rel=2e-4)


def test_a_flat_law_gives_the_trapezoid_rule():
    weights = theta_weights(np.array([0.0, 1.0, 3.0]), density=np.ones_like)
    assert np.allclose(weights, [0.5 / 3, 1.5 / 3, 1.0 / 3])
    assert theta_weights(np.array([1.0]), density=np.ones_like).tolist() == [1.0]


def test_the_weights_of_injections_are_those_of_theta_and_of_the_skys_conditions():
    made, _ = injections(rng(0))
    theta = np.array([0.4, 0.3, 0.2, 0.1])
    weight = injection_weights(made, theta_weight=theta)
    assert weight.sum() == pytest.approx(1)
    assert np.allclose(np.bincount(made.theta, weights=weight), theta)
    assert np.allclose(np.bincount(made.conditions, weights=weight, minlength=6), (HOSTS / HOSTS.sum()).ravel())
    assert np.allclose(condition_shares(made), (HOSTS / HOSTS.sum()).ravel())


def test_the_interval_covers_the_truth_where_galaxies_differ():
    theta = natural_theta_weights(GRID.theta_e_arcsec, population=POPULATION)
    places = np.meshgrid(*GRID.nodes, indexing="ij")
    effects = np.random.default_rng(2).normal(0, 1.0, 4000)
    cells = truth(*(place[..., None] for place in places), effects).mean(axis=-1)
    expected = np.einsum("t,tpd,pd->", theta, cells, HOSTS / HOSTS.sum())
    hits, rounds = 0, 150
    for index in range(rounds):
        made, _ = injections(rng(100 + index), host_scatter=1.0, per_cell=40)
        found = made.logit > 0
        natural = natural_completeness(
            made,
            completeness(made, found=found),
            found=found,
            theta_weight=theta,
            resamples=200,
            rng=rng(1000 + index),
        )
        hits += natural.overall.low <= expected <= natural.overall.high
    assert 0.90 <= hits / rounds <= 0.99  # 95 within three sigma of 150 rounds


def test_the_value_is_the_mean_over_conditions_and_theta():
    made, _ = injections(rng(1))
    found = made.logit > 0
    theta = np.array([0.1, 0.2, 0.3, 0.4])
    cells = completeness(made, found=found)
    natural = natural_completeness(made, cells, found=found, theta_weight=theta, resamples=100, rng=rng(2))
    by_hand = sum(theta[t] * HOSTS[p, d] / HOSTS.sum() * cells.value[t, p, d] for t, p, d in np.argwhere(cells.n > 0))
    assert natural.overall.value == pytest.approx(by_hand)
    weights = injection_weights(made, theta_weight=theta)
    assert natural.overall.value == pytest.approx(weights[found].sum())
    assert theta @ [estimate.value for estimate in natural.by_theta] == pytest.approx(by_hand)
    binomial = sum(
        (theta[t] * HOSTS[p, d] / HOSTS.sum()) ** 2 * cells.value[t, p, d] * (1 - cells.value[t, p, d]) / 60
        for t, p, d in np.argwhere(cells.n > 0)
    )
    assert natural.binomial_error == pytest.approx(np.sqrt(binomial))


def test_a_finder_that_finds_nothing_has_an_upper_bound_and_not_none():
    made, _ = injections(rng(3))
    found = np.zeros(len(made), bool)
    natural = natural_completeness(
        made, completeness(made, found=found), found=found, theta_weight=np.full(4, 0.25), resamples=100, rng=rng(4)
    )
    assert natural.overall.value == 0 and natural.overall.low == 0 and 0 < natural.overall.high < 0.02


def test_galaxies_that_no_cell_needed_count_in_the_conditions_share():
    made, _ = injections(rng(5))
    more = np.where(made.conditions == 0, 1000, made.hosts_available)
    weighted = made.__class__(**{**vars(made), "hosts_available": more})
    assert condition_shares(weighted)[0] == pytest.approx(1000 / (1000 + HOSTS.sum() - HOSTS[0, 0]))
    found = made.conditions == 0
    natural = natural_completeness(
        weighted,
        completeness(weighted, found=found),
        found=found,
        theta_weight=np.full(4, 0.25),
        resamples=400,
        rng=rng(6),
    )
    share = 1000 / (1000 + HOSTS.sum() - HOSTS[0, 0])
    spread = np.sqrt(share * (1 - share) / (1000 + HOSTS.sum()))  # of a share counted in so many galaxies
    assert natural.overall.value == pytest.approx(share)
    assert (natural.overall.high - natural.overall.low) / (2 * 1.96) == pytest.approx(spread, rel=0.2)
