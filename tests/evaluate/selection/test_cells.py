"""Completeness of cells: intervals that cover, repeats of galaxies that count, empty cells that stay empty."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from dhs.evaluate.selection.cells import completeness
from dhs.evaluate.selection.clusters import effective_number, intraclass_correlation, wilson
from dhs.rng import Purpose, keyed_rng
from tests.evaluate.selection.grids import GRID, HOSTS, injections, truth


def rng(index: int) -> np.random.Generator:
    return keyed_rng(17, Purpose.BENCHMARK, 1, index)


def test_counts_and_empty_cells_are_those_of_the_injections():
    made, _ = injections(rng(0))
    cells = completeness(made, found=made.logit > 0)
    empty = np.broadcast_to(HOSTS == 0, GRID.shape)
    assert np.array_equal(np.isnan(cells.value), empty)
    for values in (cells.low, cells.high, cells.error):
        assert np.array_equal(np.isnan(values), empty)
    assert (cells.n[~empty] == 60).all() and (cells.n[empty] == 0).all()
    assert np.array_equal(cells.n_hosts, np.broadcast_to(HOSTS, GRID.shape))
    one = (made.cell == 0) & (made.logit > 0)
    assert cells.k.flat[0] == one.sum() and cells.value.flat[0] == one.sum() / 60


def test_the_interval_of_unrepeated_galaxies_is_that_of_statsmodels():
    made, _ = injections(rng(1), per_cell=20, hosts=np.full((2, 3), 20))
    cells = completeness(made, found=made.logit > 0)
    low, high = proportion_confint(cells.k, cells.n_effective, method="wilson")
    assert np.allclose(cells.low, np.clip(low, 0, 1), atol=1e-12)
    assert np.allclose(cells.high, np.clip(high, 0, 1), atol=1e-12)
    alone = completeness(
        made.__class__(**{**vars(made), "host": np.arange(len(made))}), found=made.logit > 0
    )  # every injection a galaxy of its own
    low, high = proportion_confint(alone.k, alone.n, method="wilson")
    assert np.allclose(alone.n_effective, alone.n) and alone.rho is None
    assert np.allclose(alone.low, np.clip(low, 0, 1), atol=1e-12)
    assert np.allclose(alone.error, (alone.high - alone.low) / 3.92, rtol=1e-4)


def coverage(*, host_scatter: float, effective: bool, rounds: int) -> float:
    """Share of filled cells whose interval holds the completeness that infinitely many galaxies would give."""
    theta, psf, depth = np.meshgrid(*GRID.nodes, indexing="ij")
    effects = np.random.default_rng(1).normal(0, host_scatter, 4000)
    expected = truth(theta[..., None], psf[..., None], depth[..., None], effects).mean(axis=-1)
    hits = []
    for index in range(rounds):
        made, _ = injections(rng(100 + index), host_scatter=host_scatter)
        cells = completeness(made, found=made.logit > 0)
        some = cells.n > 0
        low, high = cells.low[some], cells.high[some]
        if not effective:
            low, high = proportion_confint(cells.k[some], cells.n[some], method="wilson")
        hits.append((low <= expected[some]) & (expected[some] <= high))
    return float(np.mean(hits))


def test_the_interval_covers_93_to_97_percent_over_cells():
    assert 0.93 <= coverage(host_scatter=0.0, effective=True, rounds=200) <= 0.97


def test_where_galaxies_differ_only_the_effective_number_keeps_the_level():
    assert coverage(host_scatter=1.5, effective=False, rounds=60) < 0.85
    assert 0.92 <= coverage(host_scatter=1.5, effective=True, rounds=60) <= 0.98


def test_the_correlation_within_galaxies_is_recovered():
    generator = rng(2)
    host = np.repeat(np.arange(4000), 10)
    shared = generator.beta(2.0, 6.0, 4000)[host]  # variance p (1 - p) / (a + b + 1): rho = 1 / 9
    found = generator.random(40_000) < shared
    nothing = np.zeros(40_000, np.int64)
    rho = intraclass_correlation(found, host=host, conditions=nothing, theta=nothing)
    assert rho == pytest.approx(1 / 9, abs=0.016)
    independent = intraclass_correlation(
        generator.random(40_000) < 0.25, host=host, conditions=nothing, theta=np.arange(40_000) % 5
    )
    assert independent is not None and 0 <= independent < 0.006


def test_galaxies_that_come_once_tell_no_correlation():
    nothing = np.zeros(50, np.int64)
    assert intraclass_correlation(np.arange(50) % 2 == 0, host=np.arange(50), conditions=nothing, theta=nothing) is None


def test_the_effective_number_is_kishs():
    equal = effective_number(np.zeros(60, np.int64), n_groups=2, weight=np.ones(60), host=np.arange(60) % 6, rho=0.2)
    assert np.allclose(equal, [60 / (1 + 9 * 0.2), 0])  # ten a galaxy
    weight = rng(3).uniform(0.1, 2, 40)
    alone = effective_number(np.zeros(40, np.int64), n_groups=1, weight=weight, host=np.arange(40), rho=0.7)
    assert alone[0] == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    together = effective_number(np.zeros(40, np.int64), n_groups=1, weight=weight, host=np.zeros(40), rho=1.0)
    assert together[0] == pytest.approx(1.0)


def test_none_and_all_found_have_intervals_that_end_at_0_and_1():
    low, high = wilson(np.array([0.0, 1.0, np.nan]), n=np.array([40.0, 12.5, 0.0]))
    assert low[0] == 0 and 0 < high[0] < 0.12 and high[1] == 1 and 0.7 < low[1] < 1
    assert np.isnan(low[2]) and np.isnan(high[2])
