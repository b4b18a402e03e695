"""Which galaxies make the bank."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dhs.config.bank_build import Strata
from dhs.source.sampling import cells, keyed_order, share_alike


def test_the_order_is_a_permutation_keyed_by_the_seed():
    order = keyed_order(500, seed=7, max_tries=500)
    assert sorted(order) == list(range(500))
    np.testing.assert_array_equal(order[:50], keyed_order(500, seed=7, max_tries=50))
    assert not np.array_equal(order, keyed_order(500, seed=8, max_tries=500))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(1, 90))
def test_cells_share_the_bank_as_evenly_as_they_can_and_their_first_members_come_first(members, n):
    cell = np.array(members)
    chosen = share_alike(cell, n=n)
    assert len(chosen) == min(n, len(cell)) == len(set(chosen)) and list(chosen) == sorted(chosen)
    taken, there = np.bincount(cell[chosen], minlength=6), np.bincount(cell, minlength=6)
    not_exhausted = taken < there
    if not_exhausted.any():
        assert taken.max() <= taken[not_exhausted].min() + 1
    for number in range(6):
        np.testing.assert_array_equal(chosen[cell[chosen] == number], np.flatnonzero(cell == number)[: taken[number]])


def test_a_galaxy_of_unknown_redshift_has_a_cell_of_its_own():
    strata = Strata()
    known = {"hlr_arcsec": np.full(3, 0.25), "clumpiness": np.full(3, 0.07), "strata": strata}
    numbers = cells(zphot=np.array([0.2, 5.0, np.nan]), **known)
    assert len(set(numbers)) == 3
    one_cell = Strata(zphot=(), half_light_radius_arcsec=(), clumpiness=())
    assert len(set(cells(zphot=np.array([0.2, 5.0, 0.9]), **(known | {"strata": one_cell})))) == 1


def test_sharing_makes_rare_kinds_as_many_as_common_ones():
    rng = np.random.default_rng(1)
    cell = (rng.random(3000) < 0.05).astype(int)
    assert abs(np.mean(cell[share_alike(cell, n=200)]) - 0.5) < 0.01
