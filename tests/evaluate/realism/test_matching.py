"""Matching: nearest, once, inside the caliper; the balance says what is left."""

import numpy as np
import pytest

from dhs.evaluate.realism.matching import balance, match


def test_every_match_is_the_nearest_that_is_left():
    real = np.array([[0.0], [1.0], [5.0]])
    pool = np.array([[0.9], [1.05], [5.2], [40.0]])
    pairs = match(real, pool, pool_object=np.arange(4), caliper_sigma=1.0)
    assert dict(map(tuple, pairs.tolist())) == {0: 0, 1: 1, 2: 2}
    assert pairs[0].tolist() == [1, 1]  # nearest first


def test_a_lens_without_an_injection_like_it_stays_out():
    pairs = match(
        np.array([[0.0], [1.0], [90.0]]), np.array([[0.1], [1.1]]), pool_object=np.arange(2), caliper_sigma=0.5
    )
    assert sorted(pairs[:, 0].tolist()) == [0, 1]


def test_no_galaxy_is_used_twice():
    rng = np.random.default_rng(1)
    real, pool, owner = rng.normal(size=(30, 2)), rng.normal(size=(200, 2)), rng.integers(0, 25, 200)
    pairs = match(real, pool, pool_object=owner, caliper_sigma=2.0)
    assert len(np.unique(pairs[:, 0])) == len(pairs) == len(np.unique(owner[pairs[:, 1]])) <= 25


def test_an_unknown_theta_e_is_left_out_of_the_distance():
    real = np.array([[18.0, np.nan], [19.0, 1.0]])
    pool = np.array([[18.02, 2.5], [19.0, 1.01], [18.0, np.nan]])
    assert match(real, pool, pool_object=np.arange(3), caliper_sigma=1.0).tolist() == [[1, 1], [0, 0]]


def test_matching_removes_the_difference_that_it_is_told_of():
    rng = np.random.default_rng(2)
    real = np.column_stack([rng.normal(17.5, 0.6, 60), rng.normal(0, 1, 60)])
    pool = np.column_stack([rng.normal(19.0, 1.0, 3000), rng.normal(0.8, 1, 3000)])
    pairs = match(real[:, :1], pool[:, :1], pool_object=np.arange(3000), caliper_sigma=0.5)
    one, other = balance(real[pairs[:, 0]], pool[pairs[:, 1]], pool, names=("r_mag", "other"))
    assert abs(one.before) > 1.5 and abs(one.after) < 0.1
    assert other.after == pytest.approx(-0.8, abs=0.4)  # what was not matched stays, and is said
    sd = np.sqrt((real[pairs[:, 0], 0].var(ddof=1) + pool[:, 0].var(ddof=1)) / 2)
    assert one.before == pytest.approx((real[pairs[:, 0], 0].mean() - pool[:, 0].mean()) / sd)


def test_nothing_to_match_is_no_pair():
    assert match(np.zeros((0, 2)), np.ones((3, 2)), pool_object=np.arange(3), caliper_sigma=1).shape == (0, 2)
    assert match(np.ones((3, 2)), np.full((3, 2), np.nan), pool_object=np.arange(3), caliper_sigma=1).shape == (0, 2)
