"""Luminosity -> sigma_v -> theta_E, against published figures and lenstronomy."""

import numpy as np
import pytest

from dhs.lens.velocity_dispersion import einstein_radius_arcsec, log_sigma_of_luminosity


@pytest.mark.parametrize(("sigma", "theta_e"), [(180, 0.53), (220, 0.79), (280, 1.28), (320, 1.68)])
def test_einstein_radii_of_the_science_contract(sigma, theta_e):
    assert einstein_radius_arcsec(sigma, z_lens=0.5, z_source=1.5) == pytest.approx(theta_e, abs=0.006)


def test_einstein_radii_are_lenstronomys():
    pytest.importorskip("lenstronomy")
    from lenstronomy.Cosmo.lens_cosmo import LensCosmo

    from dhs.cosmology import cosmology

    for z_lens, z_source, sigma in ((0.2, 0.7, 260.0), (0.44, 2.3, 190.0), (0.8, 1.1, 300.0)):
        expected = LensCosmo(z_lens, z_source, cosmo=cosmology()).sis_sigma_v2theta_E(sigma)
        got = einstein_radius_arcsec(sigma, z_lens=z_lens, z_source=z_source)
        assert got == pytest.approx(expected, rel=1e-4)


def test_the_relation_agrees_with_the_other_published_one():
    """Bernardi+2003: log sigma = 2.203 - 0.102 (M_r + 21.15); within 0.05 dex from -21 to -23.5 (scatter is 0.07)."""
    magnitude = np.linspace(-23.5, -21, 11)
    bernardi = 2.203 - 0.102 * (magnitude + 21.15)
    assert np.abs(log_sigma_of_luminosity(magnitude) - bernardi).max() < 0.05


def test_a_slacs_like_lens_has_a_slacs_like_einstein_radius():
    """SLACS: M_r near -22.7 at z 0.2, sources at 0.6, median sigma 250 km/s and theta_E 1.2 arcsec (Bolton+2008)."""
    sigma = 10 ** log_sigma_of_luminosity(np.array(-22.9))
    assert sigma == pytest.approx(240, rel=0.1)
    assert einstein_radius_arcsec(sigma, z_lens=0.2, z_source=0.6) == pytest.approx(1.1, abs=0.2)
