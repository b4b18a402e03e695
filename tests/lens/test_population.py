"""The natural law against a brute-force Monte Carlo with astropy's distances."""

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import kstest

from dhs.config.base import Range
from dhs.config.lens import LensPopulation
from dhs.cosmology import cosmology
from dhs.lens.population import NaturalLaw, SourceRedshifts

POPULATION = LensPopulation()
LIMITS = Range(low=0.5, high=2.5)


@pytest.fixture(scope="module")
def law() -> NaturalLaw:
    return NaturalLaw(POPULATION, theta_e_arcsec=LIMITS)


def brute_force(n: int) -> tuple[np.ndarray, ...]:
    """theta_E, sigma, z_l, z_s and weight of flat draws of all three, inside the limits; astropy's distances."""
    rng = np.random.default_rng(5)
    astropy = cosmology()
    nodes = np.linspace(0.01, 4.0, 4000)
    distance, volume = astropy.comoving_distance(nodes).value, astropy.differential_comoving_volume(nodes).value
    z_lens, z_source, sigma = rng.uniform(0.1, 0.9, n), rng.uniform(0.1, 4.0, n), rng.uniform(60, 600, n)
    ratio = np.maximum(1 - np.interp(z_lens, nodes, distance) / np.interp(z_source, nodes, distance), 0)
    theta = 4 * np.pi * (sigma / 299792.458) ** 2 * ratio * 206264.806
    vdf = (sigma / 161.0) ** 2.32 * np.exp(-((sigma / 161.0) ** 2.67)) / sigma
    n_source = z_source**2 * np.exp(-((z_source * 1.412 / 1.1) ** 1.5))
    weight = np.interp(z_lens, nodes, volume) * n_source * vdf * theta**2
    weight[(theta < 0.5) | (theta > 2.5)] = 0
    return theta, sigma, z_lens, z_source, weight


def test_draws_follow_the_law_that_a_monte_carlo_gives(law):
    *values, weight = brute_force(1_500_000)
    drawn = law.draw(np.random.default_rng(1).random((40_000, 4)))
    for got, value in zip(drawn, values, strict=True):
        order = np.argsort(value)
        cumulative = np.cumsum(weight[order]) / weight.sum()
        expected = np.interp([0.1, 0.25, 0.5, 0.75, 0.9], cumulative, value[order])
        np.testing.assert_allclose(np.quantile(got, [0.1, 0.25, 0.5, 0.75, 0.9]), expected, rtol=0.02)


def test_the_density_is_that_of_the_draws_and_integrates_to_one(law):
    theta = law.draw(np.random.default_rng(2).random((20_000, 4))).theta_e_arcsec
    assert theta.min() >= 0.5
    assert theta.max() <= 2.5
    grid = np.linspace(0.5, 2.5, 2001)
    cumulative = integrate.cumulative_trapezoid(law.density(grid), grid, initial=0)
    assert cumulative[-1] == pytest.approx(1, abs=1e-3)
    assert kstest(theta, lambda x: np.interp(x, grid, cumulative)).pvalue > 1e-3


def test_every_source_is_behind_its_lens(law):
    drawn = law.draw(np.random.default_rng(3).random((20_000, 4)))
    assert (drawn.z_source > drawn.z_lens).all()
    assert drawn.z_source.max() <= 4.0


def test_source_redshifts_have_the_median_asked_for_and_lie_beyond_the_lens():
    sources = SourceRedshifts(POPULATION)
    u = (np.arange(10_000) + 0.5) / 10_000
    assert np.median(sources.draw_beyond(u, redshift=np.zeros(10_000))) == pytest.approx(1.1, rel=0.01)
    assert sources.draw_beyond(u, redshift=np.full(10_000, 1.3)).min() >= 1.3
    assert sources.beyond(np.array([0.0, 4.0])) == pytest.approx([1.0, 0.0])
    nodes = np.linspace(1e-6, 4.0, 8001)
    density = sources.density(nodes)
    share = np.trapezoid(density[nodes > 1.5], nodes[nodes > 1.5]) / np.trapezoid(density, nodes)
    assert sources.beyond(np.array(1.5)) == pytest.approx(share, abs=1e-3)
