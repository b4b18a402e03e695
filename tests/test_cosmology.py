"""The tabulated distances against astropy, and the size of the cosmology's own uncertainty."""

import numpy as np
import pytest
from astropy.cosmology import Planck18

from dhs import cosmology

Z = np.array([0.02, 0.1, 0.3137, 0.55, 0.8, 1.5, 3.9])


def test_distances_volumes_and_moduli_are_astropys():
    reference = cosmology.cosmology()
    np.testing.assert_allclose(cosmology.comoving_distance_mpc(Z), reference.comoving_distance(Z).value, rtol=1e-5)
    np.testing.assert_allclose(cosmology.distance_modulus_mag(Z), reference.distmod(Z).value, atol=3e-5)
    np.testing.assert_allclose(
        cosmology.volume_per_redshift(Z), reference.differential_comoving_volume(Z).value, rtol=1e-4
    )


def test_the_distance_ratio_is_astropys_and_zero_for_a_source_in_front():
    reference = cosmology.cosmology()
    expected = reference.angular_diameter_distance(0.5, 1.5) / reference.angular_diameter_distance(1.5)
    assert cosmology.distance_ratio(0.5, 1.5) == pytest.approx(expected.value, rel=1e-5)
    assert cosmology.distance_ratio(0.8, 0.5) == 0


def test_planck_changes_the_ratio_by_about_one_per_cent():
    planck = Planck18.angular_diameter_distance(0.5, 1.5) / Planck18.angular_diameter_distance(1.5)
    assert cosmology.distance_ratio(0.5, 1.5) == pytest.approx(planck.value, rel=0.015)
