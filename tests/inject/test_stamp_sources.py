"""Sources of several kinds, and with an image per band, through the whole injection."""

import csv

import galsim
import numpy as np
import pytest

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.config.source import StampBands, StampsSource
from dhs.inject.build import build_injector
from dhs.inject.renderer import build_renderer
from dhs.inject.sheet import injection_sheet
from dhs.rng import Purpose
from dhs.source.stamps import build_stamps_bank

G, R, Z = range(3)


def stamp(profile, seed):
    """(y, x) on 0.05 arcsec/px with a little noise."""
    noise = np.random.default_rng([seed, 9]).normal(0, 0.004, (100, 100))
    return profile.drawImage(nx=100, ny=100, scale=0.05).array + noise


@pytest.fixture(scope="module")
def gradient_bank(tmp_path_factory):
    """A bank of one galaxy: a ring in g, the same light everywhere in r, a core in z."""
    folder = tmp_path_factory.mktemp("gradient")
    ring = galsim.Gaussian(fwhm=0.9, flux=500) - galsim.Gaussian(fwhm=0.6, flux=200)
    core = galsim.Gaussian(fwhm=0.25, flux=200)
    both = galsim.Gaussian(fwhm=0.7, flux=300)
    np.savez(
        folder / "mine.npz",
        images=np.stack([stamp(profile, seed) for seed, profile in enumerate((ring, both, core))])[None],
        bands=["F435W", "F606W", "F814W"],
        pixscale_arcsec=0.05,
    )
    config = StampsSource(
        name="stamps",
        bank=folder / "mine.h5",
        files=[str(folder / "mine.npz")],
        bands=StampBands(g="F435W", r="F606W", z="F814W"),
    )
    build_stamps_bank(config)
    return config.bank


@pytest.fixture(scope="module")
def inject_config(cache_dir):
    def make(*overrides):
        small = ["sky.n_galaxies=256", f"paths.cache_dir={cache_dir}", "inject.acceptance.min_arc_snr_sum=0"]
        return compose_job("inject", [*small, *overrides], schema=InjectRoot)

    return make


@pytest.fixture(scope="module")
def arcs(inject_config, gradient_bank):
    """Twelve arcs of the gradient galaxy (B, bands, N, N), their recipes, and the injector."""
    injector = build_injector(inject_config("source=stamps", f"source.bank={gradient_bank}"))
    indices = np.array(injector.injected_indices(np.arange(64), purpose=Purpose.SHEET)[:12])
    stamps = injector.stamps(indices, purpose=Purpose.SHEET)
    return stamps.images.numpy() - injector.cutouts.images[stamps.recipes.row], stamps.recipes, injector


def spread_about_lens(arc, recipes, i):
    """RMS width in radius, arcsec, of the light of (N, N) ``arc`` about its lens."""
    axis = (np.arange(arc.shape[-1]) - (arc.shape[-1] - 1) / 2) * 0.262
    radius = np.hypot(axis[None, :] - recipes.lens_x_arcsec[i], axis[:, None] - recipes.lens_y_arcsec[i])
    mean = (arc * radius).sum() / arc.sum()
    return np.sqrt((arc * (radius - mean) ** 2).sum() / arc.sum())


def test_a_ring_in_g_and_a_core_in_z_give_arcs_with_a_colour_gradient(arcs):
    images, recipes, _ = arcs
    widths = np.array([[spread_about_lens(arc[band], recipes, i) for band in (G, Z)] for i, arc in enumerate(images)])
    assert np.median(widths[:, 0] / widths[:, 1]) > 1.15
    for arc in images:
        shape = arc / arc.sum(axis=(1, 2), keepdims=True)
        assert np.abs(shape[G] - shape[Z]).sum() > 0.3


def test_each_band_is_lensed_from_its_own_image_as_lenstronomy_does(arcs, inject_config, gradient_bank):
    pytest.importorskip("lenstronomy")
    _, recipes, injector = arcs
    config = inject_config("source=stamps", f"source.bank={gradient_bank}", "psf.convention=optical")
    few = recipes.take(np.arange(3))
    unit = {}
    for name in ("fast", "lenstronomy"):
        settings = compose_job("inject", [f"renderer={name}"], schema=InjectRoot).renderer
        renderer = build_renderer(settings, source=injector.source, psf=config.psf, size_px=64)
        unit[name] = renderer.observe(renderer.trace(few), recipes=few).numpy()
    peak = unit["lenstronomy"].max(axis=(2, 3), keepdims=True)
    assert (np.abs(unit["fast"] - unit["lenstronomy"]) / peak).max() < 1e-4


def test_the_sheet_of_a_mixture_says_what_each_source_is(inject_config, tmp_path):
    small = [f"source.components.{kind}.source.n_sources=30" for kind in ("sersic", "clumpy")]
    injector = build_injector(inject_config("source=mixture", *small))
    injection_sheet(injector, n_stamps=16, path=tmp_path / "sheet.png")
    rows = list(csv.DictReader((tmp_path / "sheet.csv").read_text().splitlines()))
    assert {row["source_kind"] for row in rows} == {"sersic", "clumpy"}
    for row in rows:
        offset = 30 if row["source_kind"] == "clumpy" else 0
        assert int(row["source_index"]) == offset + int(row["source_own_index"])
