"""theta_E priors: what each draws, and the weight that turns its draws into nature's."""

from dataclasses import replace

import numpy as np
import pytest

from dhs.config.base import Range
from dhs.config.lens import GridLens, NaturalLens, PhotometricLens, UniformLens
from dhs.inject.strength import Galaxies, Strength, build_strength, galaxies_of, require_known
from dhs.lens.velocity_dispersion import einstein_radius_arcsec
from dhs.sky.cutouts import CutoutSet

N = 20_000


def galaxies(n: int = N, *, z_mag: float = 19.2, redshift: float = 0.45) -> Galaxies:
    return Galaxies(*(np.full(n, value) for value in (0.8, 0.3, 0.0, 0.0, z_mag, redshift)))


def draw(lens, some: Galaxies | None = None) -> Strength:
    some = galaxies() if some is None else some
    prior, rng, n = build_strength(lens), np.random.default_rng(4), len(some.z_mag)
    u = rng.random((n, 1 + prior.n_uniforms))
    return prior.draw(u[:, 0], u[:, 1:], rng.standard_normal((n, prior.n_normals)), galaxies=some)


def test_weighted_uniform_and_grid_draws_have_the_natural_distribution():
    natural = draw(NaturalLens(name="natural"))
    uniform = draw(UniformLens(name="uniform"))
    grid = draw(GridLens(name="grid", theta_e_arcsec=tuple(np.arange(0.5, 2.501, 0.02))))
    assert (natural.natural_weight == 1).all()
    expected = [natural.theta_e_arcsec.mean(), np.mean(natural.theta_e_arcsec > 1.21)]
    for some in (uniform, grid):
        weight = some.natural_weight
        assert weight.mean() == pytest.approx(1, abs=0.03)
        got = [np.average(some.theta_e_arcsec, weights=weight), np.average(some.theta_e_arcsec > 1.21, weights=weight)]
        assert got == pytest.approx(expected, rel=0.05)
        assert np.isnan(some.sigma_v_km_s).all()
        assert (some.z_lens == 0.45).all()


def test_natural_columns_belong_together():
    some = draw(NaturalLens(name="natural"))
    again = einstein_radius_arcsec(some.sigma_v_km_s, z_lens=some.z_lens, z_source=some.z_source)
    np.testing.assert_allclose(some.theta_e_arcsec, again, rtol=1e-9)


def test_a_photometric_lens_follows_its_galaxys_luminosity_and_redshift():
    """M_r of z = 19.2 at 0.45 is -22.0: sigma 184 km/s; one magnitude brighter 232."""
    wide = Range(low=0.05, high=6.0)
    lens = PhotometricLens(name="photometric", theta_e_arcsec=wide, sigma_scatter_dex=0.07)
    faint, bright = draw(lens), draw(lens, galaxies(z_mag=18.2))
    assert np.median(faint.sigma_v_km_s) == pytest.approx(184, rel=0.03)
    assert np.median(bright.sigma_v_km_s) == pytest.approx(232, rel=0.03)
    assert np.log10(faint.sigma_v_km_s).std() == pytest.approx(0.07, rel=0.05)
    assert (faint.z_source > 0.45).all()
    again = einstein_radius_arcsec(faint.sigma_v_km_s, z_lens=faint.z_lens, z_source=faint.z_source)
    np.testing.assert_allclose(faint.theta_e_arcsec, again)
    without = draw(PhotometricLens(name="photometric", theta_e_arcsec=wide, sigma_scatter_dex=0.0))
    assert np.unique(without.sigma_v_km_s).size == 1


def test_redraws_put_theta_e_into_its_interval_and_the_weight_undoes_what_they_change():
    """Weighted sums over redrawn lenses equal theta_E^2-weighted sums over plain draws inside the interval."""
    limits = Range(low=0.8, high=1.5)
    plain = draw(PhotometricLens(name="photometric", theta_e_arcsec=Range(low=0.05, high=6.0), redraws=1))
    inside = (plain.theta_e_arcsec >= 0.8) & (plain.theta_e_arcsec <= 1.5)
    few = draw(PhotometricLens(name="photometric", theta_e_arcsec=limits, redraws=1))
    many = draw(PhotometricLens(name="photometric", theta_e_arcsec=limits, redraws=16))
    share = [np.mean((s.theta_e_arcsec >= 0.8) & (s.theta_e_arcsec <= 1.5)) for s in (few, many)]
    assert share[0] < 0.5 * share[1]
    for some in (few, many):
        outside = (some.theta_e_arcsec < 0.8) | (some.theta_e_arcsec > 1.5)
        assert (some.natural_weight[outside] == 0).all()
        assert some.natural_weight.mean() == pytest.approx((plain.natural_weight * inside).mean(), rel=0.06)
        got = np.average(some.theta_e_arcsec, weights=some.natural_weight)
        want = np.average(plain.theta_e_arcsec, weights=plain.natural_weight * inside)
        assert got == pytest.approx(want, rel=0.01)


def test_unknown_galaxies_are_uniform_only_when_asked():
    unknown = galaxies(redshift=np.nan)
    some = draw(PhotometricLens(name="photometric", unknown="uniform"), unknown)
    assert some.theta_e_arcsec.mean() == pytest.approx(1.5, abs=0.02)
    assert np.isnan(some.natural_weight).all()
    assert np.isnan(some.sigma_v_km_s).all()


def test_galaxies_without_redshift_are_refused_by_name(small_injector):
    cutouts: CutoutSet = small_injector.cutouts
    hosts = np.arange(10)
    lens = PhotometricLens(name="photometric")
    require_known(lens, cutouts, hosts=hosts)
    redshift = np.array(cutouts.redshift)
    redshift[:3] = np.nan
    blind = replace(cutouts, redshift=redshift)
    with pytest.raises(ValueError, match=r"lens = photometric: 3 of 10 host galaxies .* lens\.unknown=uniform"):
        require_known(lens, blind, hosts=hosts)
    require_known(PhotometricLens(name="photometric", unknown="uniform"), blind, hosts=hosts)
    require_known(UniformLens(name="uniform"), blind, hosts=hosts)


def test_an_unknown_centre_is_the_stamps(small_injector):
    cutouts = small_injector.cutouts
    rows = np.arange(6)
    assert (galaxies_of(cutouts, rows).x_arcsec == cutouts.centre_x_arcsec[:6]).all()
    bare = replace(cutouts, centre_x_arcsec=None, centre_y_arcsec=np.full(len(cutouts), np.nan, np.float32))
    assert (galaxies_of(bare, rows).x_arcsec == 0).all()
    assert (galaxies_of(bare, rows).y_arcsec == 0).all()
