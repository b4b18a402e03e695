"""The brick grid: names of real bricks, and neighbours."""

import csv

import numpy as np
import pytest

from dhs.sky.brick_grid import brick_of_position, bricks_around


def test_every_real_dr10_galaxy_lies_in_the_brick_its_catalogue_names(shared_data):
    with (shared_data / "survey" / "dr10_lrg_parents.csv").open() as file:
        rows = list(csv.DictReader(file))
    ra, dec = np.array([float(row["RA"]) for row in rows]), np.array([float(row["DEC"]) for row in rows])
    names = np.array([row["BRICKNAME"] for row in rows])
    assert len(rows) > 5000
    assert (brick_of_position(ra, dec) == names).all()


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [(34.6552, -14.97379, "0347m150"), (0.0, 0.0, "0001p000"), (359.9999, 0.0, "3598p000"), (12.0, -90.0, "1800m900")],
)
def test_names_are_the_centres_cut_to_tenths_of_a_degree(ra, dec, name):
    assert brick_of_position(np.array([ra]), np.array([dec]))[0] == name


def test_neighbours_come_nearest_first_and_no_further_than_asked():
    inside, near_top = bricks_around(34.75, -15.0, within_deg=0.01), bricks_around(34.75, -14.876, within_deg=0.01)
    assert inside == ["0347m150"]
    assert near_top[0] == "0347m150"
    assert len(near_top) >= 2 and all(name.endswith("m147") for name in near_top[1:])
    assert len(bricks_around(34.75, -15.0, within_deg=1.0)) == 9


def test_neighbours_reach_across_ra_zero():
    assert "3598p000" in bricks_around(0.001, 0.0, within_deg=0.01)
