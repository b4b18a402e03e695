"""Priors: each quantity where SCIENCE puts it."""

import numpy as np
import pytest

from dhs.config.base import Range
from dhs.config.colour import PopulationColour, SeedSedColour
from dhs.config.lens import GridLens, UniformLens
from dhs.inject.colour import draw_magnitudes
from dhs.inject.prior import Geometry, draw_geometry
from dhs.inject.strength import Galaxies, build_strength
from dhs.lens.sie import radial_caustics
from dhs.rng import Purpose, keyed_rng
from dhs.source.base import choose_uniformly

LENS, COLOUR = UniformLens(name="uniform"), PopulationColour(name="population")


def geometry(n: int = 3000, *, lens=LENS, light: tuple[float, float] = (float("nan"), float("nan"))) -> Geometry:
    return draw_geometry(
        [keyed_rng(1, Purpose.TRAIN, 0, i) for i in range(n)],
        galaxies=Galaxies(*(np.full(n, value) for value in (*light, 0.0, 0.0, np.nan, np.nan))),
        lens=lens,
        strength=build_strength(lens),
        choose_source=lambda u: choose_uniformly(u, n_sources=50),
    )


def magnitudes(n: int = 3000, *, colour=COLOUR) -> np.ndarray:
    rngs = [keyed_rng(1, Purpose.TRAIN, 0, i) for i in range(n)]
    return draw_magnitudes(rngs, colour=colour, n_draws=1, z_source=np.full(n, np.nan), own_mag=None)[:, 0]


def test_uniform_and_grid_einstein_radii():
    theta = geometry().theta_e_arcsec
    assert theta.min() >= 0.5
    assert theta.max() <= 2.5
    assert theta.mean() == pytest.approx(1.5, abs=0.05)
    grid = set(geometry(lens=GridLens(name="grid")).theta_e_arcsec.tolist())
    assert grid == {0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5}


def test_shear_is_half_normal_and_isotropic():
    some = geometry()
    assert np.hypot(some.gamma1, some.gamma2).mean() == pytest.approx(0.05 * np.sqrt(2 / np.pi), rel=0.06)
    assert abs(some.gamma1.mean()) < 0.003


def test_the_mass_follows_the_light_where_it_is_known():
    known = geometry(light=(0.7, 1.0))
    assert known.axis_ratio.mean() == pytest.approx(0.7, abs=0.02)
    assert np.degrees(known.phi_rad.std()) == pytest.approx(10, rel=0.1)
    unknown = geometry()
    assert unknown.axis_ratio.min() >= 0.5
    assert unknown.axis_ratio.max() <= 1.0
    free = geometry(light=(0.2, 1.0), lens=UniformLens(name="uniform", follow_light=False))
    assert free.axis_ratio.min() >= 0.5


def test_sources_fill_the_caustic_uniformly_in_area():
    lens = UniformLens(name="uniform", theta_e_arcsec=Range(low=1.0, high=1.0), shear_sigma=0.0, centre_jitter_arcsec=0)
    some = geometry(4000, lens=lens, light=(1.0, 0.0))
    some = some.take(np.flatnonzero(some.axis_ratio == 1.0))
    radius = np.hypot(some.source_x_arcsec, some.source_y_arcsec)
    assert radius.max() <= 1.0
    assert np.mean(radius < 0.5) == pytest.approx(0.25, abs=0.03)
    disc = geometry(lens=UniformLens(name="uniform", source_offset="fraction", shear_sigma=0.0))
    offset = np.hypot(disc.source_x_arcsec - disc.lens_x_arcsec, disc.source_y_arcsec - disc.lens_y_arcsec)
    assert (offset / disc.theta_e_arcsec).max() == pytest.approx(0.5, abs=0.01)


def test_the_source_offset_accounts_for_shear_at_a_displaced_centre():
    some = geometry(200, lens=UniformLens(name="uniform", centre_jitter_arcsec=1.0, shear_sigma=0.3))
    x, y = some.lens_x_arcsec, some.lens_y_arcsec
    dx = some.source_x_arcsec - (x - some.gamma1 * x - some.gamma2 * y)
    dy = some.source_y_arcsec - (y - some.gamma2 * x + some.gamma1 * y)
    polygons = radial_caustics(some.theta_e_arcsec, axis_ratio=some.axis_ratio, phi_rad=some.phi_rad)
    assert (np.hypot(dx, dy) <= np.hypot(polygons[..., 0], polygons[..., 1]).max(axis=1) + 1e-9).all()


def test_magnitudes_are_faint_blue_and_follow_the_counts():
    mags = magnitudes()
    r = mags[:, 1]
    assert r.min() >= 22.5
    assert r.max() <= 26
    # p ~ 10^(0.3 m): the last magnitude holds (1 - 10^-0.3) / (1 - 10^-1.05) of them.
    assert np.mean(r > 25) == pytest.approx((1 - 10**-0.3) / (1 - 10**-1.05), abs=0.03)
    g_r = mags[:, 0] - r
    assert np.median(g_r) == pytest.approx(0.36, abs=0.05)
    assert np.mean(g_r > 0.9) == pytest.approx(0.15 * 0.79 + 0.85 * 0.008, abs=0.03)


def test_the_seeds_sed_is_one_offset_by_redshift():
    mags = magnitudes(200, colour=SeedSedColour(name="seed_sed"))
    g_r = mags[:, 0] - mags[:, 1]
    assert g_r.min() >= -0.39 - 1e-9
    assert g_r.max() <= -0.30 + 1e-9


def test_every_source_is_used():
    assert set(geometry().source_index.tolist()) == set(range(50))
