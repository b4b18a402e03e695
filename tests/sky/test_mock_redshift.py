"""Photometric redshifts of the mock survey: the colours' own, with a catalogue's scatter."""

import numpy as np
import pytest

from dhs.constants import CLASSES
from dhs.cosmology import distance_modulus_mag
from dhs.early_types import EVOLUTION_MAG_PER_REDSHIFT, G_R, K_ZR, R_Z, REDSHIFT
from dhs.rng import Purpose, keyed_rng
from dhs.sky.cutouts import CutoutSet
from dhs.sky.mock_redshift import draw_photometric_redshift, redshift_of_mags


def early_type(redshift: float, *, absolute: float) -> np.ndarray:
    """g, r, z of the template itself."""
    z_mag = absolute + distance_modulus_mag(redshift) - EVOLUTION_MAG_PER_REDSHIFT * redshift
    z_mag = float(z_mag + np.interp(redshift, REDSHIFT, K_ZR))
    r_mag = z_mag + np.interp(redshift, REDSHIFT, R_Z)
    return np.array([r_mag + np.interp(redshift, REDSHIFT, G_R), r_mag, z_mag])


@pytest.mark.parametrize("redshift", [0.15, 0.3, 0.45, 0.6, 0.75])
def test_the_redshift_of_a_template_comes_back(redshift):
    for absolute in (-21.5, -22.5):
        assert redshift_of_mags(early_type(redshift, absolute=absolute)) == pytest.approx(redshift, abs=0.04)


def test_draws_scatter_as_photometric_redshifts_do():
    mags = early_type(0.5, absolute=-22.0)
    drawn = [draw_photometric_redshift(keyed_rng(1, Purpose.MOCK_SKY, 0, i), mags=mags) for i in range(2000)]
    assert np.std(drawn) == pytest.approx(0.02 * 1.5, rel=0.06)
    assert np.mean(drawn) == pytest.approx(redshift_of_mags(mags), abs=0.003)


def test_the_surveys_lrgs_lie_where_lrgs_lie_and_redder_means_farther(mock_set: CutoutSet) -> None:
    lrg = mock_set.take(np.flatnonzero(mock_set.kind == CLASSES.index("lrg")))
    assert np.quantile(lrg.redshift, [0.05, 0.5, 0.95]) == pytest.approx([0.3, 0.48, 0.68], abs=0.06)
    assert np.corrcoef(lrg.mag[:, 1] - lrg.mag[:, 2], lrg.redshift)[0, 1] > 0.85
    assert np.corrcoef(lrg.mag[:, 2], lrg.redshift)[0, 1] > 0.2
