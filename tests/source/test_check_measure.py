"""The figures of the bank check against GalSim, against known noise, and against what must not change them."""

import galsim
import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import brentq

from dhs.source import measure
from dhs.source.check.duplicates import exact_copies, near_copies
from dhs.source.check.figures import NOISE_SPECKLE
from dhs.source.check.measure import Ruler, joined, thumbnails
from dhs.source.check.read import BankFile
from dhs.source.check.reference import match_sersic, noise_reference, sersic_index_of
from tests.source.bank_families import SCALE, acs_noise, parametric, seeds_recipe

RULER = Ruler(96, pixel_scale_arcsec=SCALE)


def measured(images: np.ndarray):
    return RULER.measure(np.asarray(images, float)[:, None])


def bank_like(images: np.ndarray, tmp_path, *, kind: str) -> BankFile:
    attributes = {"galaxy_kind": kind}
    return BankFile(tmp_path, len(images), 1, images.shape[-1], SCALE, images.dtype, attributes, {})


def sersic(n: float, *, hlr: float, q: float, fwhm: float) -> np.ndarray:
    profile = galsim.Sersic(n, half_light_radius=hlr).shear(q=q, beta=0.4 * galsim.radians)
    galaxy = galsim.Convolve(profile, galsim.Gaussian(fwhm=fwhm))
    return galaxy.drawImage(nx=96, ny=96, scale=SCALE).array.astype(float)


def test_the_noise_reference_has_the_clumpiness_of_galsims_cosmos_noise(catalog_dir, tmp_path):
    noise = acs_noise(24, catalog_dir=catalog_dir, variances=np.ones(24), seed=3)
    oracle = np.array([measure.clumpiness(seeds_recipe(image)) for image in noise])
    reference = noise_reference(bank_like(noise, tmp_path, kind="real"), seed=1)
    assert reference.clumpiness == pytest.approx(np.median(oracle), rel=0.03)
    assert reference.hlr_arcsec == pytest.approx(1.149, abs=1e-3)


def test_speckle_of_clipped_noise_is_where_the_page_shades_it(catalog_dir):
    white = np.random.default_rng(2).normal(size=(24, 96, 96))
    correlated = acs_noise(24, catalog_dir=catalog_dir, variances=np.ones(24), seed=4)
    for noise in (white, correlated):
        speckle = measured([seeds_recipe(image) for image in noise]).speckle
        assert NOISE_SPECKLE[0] < speckle.min() and speckle.max() < NOISE_SPECKLE[1]


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0])
def test_the_sersic_index_of_a_concentration_is_galsims(n):
    profile = galsim.Sersic(n, half_light_radius=1.0)
    concentration = brentq(lambda radius: profile.calculateIntegratedFlux(radius) - 0.8, 1, 20)
    assert sersic_index_of(concentration) == pytest.approx(n, rel=0.01)


def test_a_concentration_beyond_the_range_of_indices_gives_its_end():
    assert sersic_index_of(1.0) == 0.3 and sersic_index_of(50.0) == 6.0


@pytest.mark.parametrize(("n", "hlr", "q"), [(1.0, 0.30, 0.5), (1.0, 0.15, 1.0), (2.0, 0.25, 0.8), (0.5, 0.40, 0.4)])
def test_the_smooth_twin_of_a_sersic_galaxy_is_as_clumpy_as_itself(n, hlr, q, tmp_path):
    image = sersic(n, hlr=hlr, q=q, fwhm=0.10)[None]
    image /= image.sum()
    bank = bank_like(image, tmp_path, kind="real")
    clumpiness = np.array([measure.clumpiness(image[0])])
    noise = noise_reference(bank, seed=1)
    twin = match_sersic(bank, rows=np.arange(1), images=image, clumpiness=clumpiness, noise=noise)
    assert twin.r_e_arcsec[0] == pytest.approx(hlr, rel=0.08)
    assert twin.clumpiness[0] == pytest.approx(clumpiness[0], abs=0.012)
    assert abs(twin.noise_likeness[0]) < 0.02


def test_the_sn_of_the_rim_is_that_of_the_noise_put_in_correlated_or_not():
    galaxy = sersic(1.0, hlr=0.3, q=0.7, fwhm=0.1)
    galaxy /= galaxy.sum()
    for smoothing, sigma in ((0.0, 3e-4), (0.8, 3e-4)):
        noise = np.random.default_rng(5).normal(scale=sigma, size=(40, 96, 96))
        noise = ndimage.gaussian_filter(noise, (0, smoothing, smoothing), mode="wrap")
        found = measured(galaxy + noise)
        aperture = np.pi * (2 * found.hlr_arcsec / SCALE) ** 2
        truth = 1 / (sigma * np.sqrt(np.minimum(aperture, 96**2)))  # smoothing keeps the noise of sums
        assert found.snr_from_rim.all()
        assert np.median(found.snr / truth) == pytest.approx(1, abs=0.25)


def test_the_sn_from_the_grain_follows_the_stored_one_on_real_galaxies(example_bank):
    import h5py

    with h5py.File(example_bank[0].bank) as file:
        images, stored = file["images"][()], file["meta/snr"][()]
    found = measured(images)
    assert not found.snr_from_rim.any()
    assert np.corrcoef(np.log(found.snr), np.log(stored))[0, 1] > 0.8
    assert np.median(found.snr / stored) == pytest.approx(1, abs=0.25)


def test_a_galaxy_cut_by_its_picture_fills_its_rectangle_and_an_ellipse_does_not():
    galaxy = sersic(1.0, hlr=0.4, q=0.6, fwhm=0.1)
    cut = np.zeros_like(galaxy)
    cut[30:66, 24:72] = galaxy[30:66, 24:72]
    whole, rectangle = measured([galaxy, cut]).box_fill
    assert whole < 0.85 < rectangle


def test_turned_mirrored_and_repeated_galaxies_are_found_and_others_are_not():
    images = parametric("clumpy", n=40).astype(float)
    with_copies = np.concatenate([images, [np.rot90(images[3]), images[8][:, ::-1], images[20]]])
    found = measured(with_copies)
    assert list(np.flatnonzero(near_copies(found))) == [40, 41, 42]
    assert list(np.flatnonzero(exact_copies(found))) == [42]
    assert not near_copies(measured(parametric("sersic", n=200))).any()


@pytest.mark.parametrize("size", [16, 33, 64, 96, 97, 101, 128])
def test_a_turned_image_has_a_turned_thumbnail_at_any_size(size):
    image = np.random.default_rng(6).random((1, size, size))
    small = thumbnails(image)[0]
    assert small.shape[0] <= 26 and np.linalg.norm(small) == pytest.approx(1)
    np.testing.assert_allclose(thumbnails(np.rot90(image, axes=(1, 2)))[0], np.rot90(small), atol=1e-6)


def test_odd_stamps_and_small_ones_are_measured_too(tmp_path):
    for size in (33, 65):
        axis = np.arange(size) - (size - 1) / 2
        image = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * (size / 12) ** 2))[None]
        image /= image.sum()
        found = Ruler(size, pixel_scale_arcsec=SCALE).measure(image[:, None])
        bank = bank_like(image, tmp_path, kind="real")
        noise = noise_reference(bank, seed=1)
        twin = match_sersic(bank, rows=np.arange(1), images=image, clumpiness=found.clumpiness, noise=noise)
        assert found.hlr_arcsec[0] == pytest.approx(1.1774 * size / 12 * SCALE, rel=0.03)
        assert abs(twin.noise_likeness[0]) < 0.3


def test_the_half_light_radius_of_the_circle_is_wider_than_that_of_a_thin_ellipse():
    found = measured([sersic(1.0, hlr=0.3, q=q, fwhm=0.06) for q in (1.0, 0.3)])
    ratio = found.hlr_of_circle_arcsec / found.hlr_arcsec
    assert ratio[0] == pytest.approx(1, abs=0.03) and ratio[1] > 1.15


def test_measurements_of_pieces_join_to_those_of_the_whole():
    images = parametric("sersic", n=9)
    whole, parts = measured(images), joined([measured(images[:4]), measured(images[4:])])
    for key in whole.__dataclass_fields__:
        assert np.array_equal(getattr(whole, key), getattr(parts, key)), key
