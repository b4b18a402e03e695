"""Priors: each quantity where SCIENCE puts it."""

import numpy as np
import pytest

from dhs.config.base import Range
from dhs.config.injection import GridLens, PopulationColour, SeedSedColour, UniformLens
from dhs.inject.prior import ArcDraw, Host, draw_arc
from dhs.lens.sie import radial_caustic
from dhs.rng import Purpose, keyed_rng

UNKNOWN = Host(float("nan"), float("nan"))
LENS, COLOUR = UniformLens(name="uniform"), PopulationColour(name="population")


def draws(n: int = 3000, *, lens=LENS, colour=COLOUR, host: Host = UNKNOWN) -> list[ArcDraw]:
    return [
        draw_arc(keyed_rng(1, Purpose.TRAIN, 0, i), host=host, lens=lens, colour=colour, n_sources=50) for i in range(n)
    ]


def test_uniform_and_grid_einstein_radii():
    theta = np.array([d.theta_e_arcsec for d in draws()])
    assert theta.min() >= 0.5
    assert theta.max() <= 2.5
    assert theta.mean() == pytest.approx(1.5, abs=0.05)
    grid = {d.theta_e_arcsec for d in draws(lens=GridLens(name="grid"))}
    assert grid == {0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5}


def test_shear_is_half_normal_and_isotropic():
    some = draws()
    gamma = np.hypot([d.gamma1 for d in some], [d.gamma2 for d in some])
    assert gamma.mean() == pytest.approx(0.05 * np.sqrt(2 / np.pi), rel=0.06)
    assert abs(np.mean([d.gamma1 for d in some])) < 0.003


def test_the_mass_follows_the_light_where_it_is_known():
    known = draws(host=Host(0.7, 1.0))
    assert np.mean([d.axis_ratio for d in known]) == pytest.approx(0.7, abs=0.02)
    assert np.degrees(np.std([d.phi_rad for d in known])) == pytest.approx(10, rel=0.1)
    unknown = np.array([d.axis_ratio for d in draws()])
    assert unknown.min() >= 0.5
    assert unknown.max() <= 1.0


def test_sources_fill_the_caustic_uniformly_in_area():
    lens = UniformLens(name="uniform", theta_e_arcsec=Range(low=1.0, high=1.0), shear_sigma=0.0, centre_jitter_arcsec=0)
    some = [d for d in draws(4000, lens=lens, host=Host(1.0, 0.0)) if d.axis_ratio == 1.0]
    radius = np.hypot([d.source_x_arcsec for d in some], [d.source_y_arcsec for d in some])
    assert radius.max() <= 1.0
    assert np.mean(radius < 0.5) == pytest.approx(0.25, abs=0.03)


def test_the_source_offset_accounts_for_shear_at_a_displaced_centre():
    lens = UniformLens(name="uniform", centre_jitter_arcsec=1.0, shear_sigma=0.3)
    for d in draws(200, lens=lens):
        x, y = d.lens_x_arcsec, d.lens_y_arcsec
        centre = np.array([x - d.gamma1 * x - d.gamma2 * y, y - d.gamma2 * x + d.gamma1 * y])
        offset = np.array([d.source_x_arcsec, d.source_y_arcsec]) - centre
        polygon = radial_caustic(d.theta_e_arcsec, axis_ratio=d.axis_ratio, phi_rad=d.phi_rad)
        assert np.hypot(*offset) <= np.hypot(*polygon.T).max() + 1e-9


def test_magnitudes_are_faint_blue_and_follow_the_counts():
    mags = np.array([d.source_mag for d in draws()])
    r = mags[:, 1]
    assert r.min() >= 22.5
    assert r.max() <= 26
    # p ~ 10^(0.3 m): the last magnitude holds (1 - 10^-0.3) / (1 - 10^-1.05) of them.
    assert np.mean(r > 25) == pytest.approx((1 - 10**-0.3) / (1 - 10**-1.05), abs=0.03)
    g_r = mags[:, 0] - r
    assert np.median(g_r) == pytest.approx(0.36, abs=0.05)
    assert np.mean(g_r > 0.9) == pytest.approx(0.15 * 0.79 + 0.85 * 0.008, abs=0.03)


def test_the_seeds_sed_is_one_offset_by_redshift():
    mags = np.array([d.source_mag for d in draws(200, colour=SeedSedColour(name="seed_sed"))])
    g_r = mags[:, 0] - mags[:, 1]
    assert g_r.min() >= -0.39 - 1e-9
    assert g_r.max() <= -0.30 + 1e-9


def test_every_source_is_used():
    assert {d.source_index for d in draws()} == set(range(50))
