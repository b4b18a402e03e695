"""Drawing in Fourier space against GalSim's own convolution, and the photometry of what is drawn."""

from pathlib import Path

import galsim
import numpy as np
import pytest
from scipy.optimize import curve_fit
from sklearn.metrics import roc_auc_score

from dhs.constants import CLASSES, PIXEL_SCALE_ARCSEC
from dhs.rng import Purpose, keyed_rng
from dhs.sky.depth import flux_of_mag
from dhs.sky.mock_field import draw_field
from dhs.sky.mock_galaxies import Place, draw_galaxy_of_class
from dhs.sky.mock_photometry import lrg_mags
from dhs.sky.mock_scene import Sersic, Star, Structure, draw_scene, structure_coordinates

FWHM = np.array([1.29, 1.18, 1.11], np.float32)
FLUX = np.array([1.0, 3.0, 8.0])


def rng_of(index: int) -> np.random.Generator:
    return keyed_rng(6, Purpose.MOCK_SKY, 0, index)


def galsim_image(profile: galsim.GSObject, fwhm: float, size_px: int) -> np.ndarray:
    params = galsim.GSParams(folding_threshold=5e-4, maxk_threshold=1e-4, maximum_fft_size=16384)
    seen = galsim.Convolve(profile, galsim.Moffat(beta=3.5, fwhm=fwhm), gsparams=params)
    return seen.drawImage(nx=size_px, ny=size_px, scale=PIXEL_SCALE_ARCSEC, method="no_pixel").array


def moffat(radius: np.ndarray, peak: float, fwhm: float, beta: float) -> np.ndarray:
    scale = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return peak * (1 + (radius / scale) ** 2) ** -beta


@pytest.mark.parametrize("size_px", [64, 47])
@pytest.mark.parametrize(("index", "half_light", "q"), [(4.0, 0.9, 0.7), (1.0, 2.0, 0.15), (1.0, 0.1, 0.5)])
def test_a_sersic_galaxy_equals_galsims_convolution(index: float, half_light: float, q: float, size_px: int) -> None:
    part = Sersic(FLUX, index, half_light, q, 0.7, 0.31, -1.2)
    drawn = draw_scene([part], psf_fwhm_arcsec=FWHM, stamp_size_px=size_px)
    profile = galsim.Sersic(n=index, half_light_radius=half_light).shear(q=q, beta=0.7 * galsim.radians)
    for band in range(3):
        truth = galsim_image(profile.shift(0.31, -1.2) * FLUX[band], float(FWHM[band]), size_px)
        assert np.abs(drawn[band] - truth).max() < 5e-4 * truth.max()


def test_a_drawn_star_measures_back_psfsize_and_its_flux() -> None:
    scene = draw_scene([Star(FLUX, 0.0, 0.0)], psf_fwhm_arcsec=FWHM, stamp_size_px=65)
    axis = (np.arange(65) - 32) * PIXEL_SCALE_ARCSEC
    radius = np.hypot(axis[:, None], axis)
    for band in range(3):
        (peak, fwhm, beta), _ = curve_fit(moffat, radius.ravel(), scene[band].ravel().astype(float), p0=(0.1, 1.0, 3.0))
        assert fwhm == pytest.approx(FWHM[band], rel=1e-3)
        assert beta == pytest.approx(3.5, abs=0.02)
        assert peak == pytest.approx(scene[band, 32, 32], rel=1e-3)
    np.testing.assert_allclose(scene.sum(axis=(1, 2)), FLUX, rtol=3e-3)


def test_a_star_and_a_structure_stand_where_they_are_put() -> None:
    x, y = structure_coordinates(64)
    blob = np.exp(-0.5 * ((x - 1.5) ** 2 + (y + 2.0) ** 2) / 0.4**2)
    drawn = draw_scene([Structure(FLUX, blob.astype(np.float32))], psf_fwhm_arcsec=FWHM, stamp_size_px=64)
    truth = galsim_image(galsim.Gaussian(sigma=0.4).shift(1.5, -2.0) * FLUX[1], float(FWHM[1]), 64)
    assert np.abs(drawn[1] - truth).max() < 5e-4 * truth.max()
    star = draw_scene([Star(FLUX, 1.5, -2.0)], psf_fwhm_arcsec=FWHM, stamp_size_px=64)
    truth = galsim_image(galsim.DeltaFunction().shift(1.5, -2.0) * FLUX[1], float(FWHM[1]), 64)
    assert np.abs(star[1] - truth).max() < 5e-4 * truth.max()


def test_parts_add_up() -> None:
    parts = [Sersic(FLUX, 4.0, 1.0, 0.8, 0.1, 0.0, 0.0), Star(2.0 * FLUX[::-1], 2.0, 1.0)]
    both = draw_scene(parts, psf_fwhm_arcsec=FWHM, stamp_size_px=64)
    each = [draw_scene([part], psf_fwhm_arcsec=FWHM, stamp_size_px=64) for part in parts]
    np.testing.assert_allclose(both, each[0] + each[1], atol=1e-5)


@pytest.mark.parametrize("class_name", ["lrg", "spiral", "ring", "edge_on"])
def test_the_drawn_flux_of_a_galaxy_is_that_of_its_magnitudes(class_name: str) -> None:
    for index in range(4):
        galaxy = draw_galaxy_of_class(rng_of(index), class_name=class_name, place=Place(0.1, -0.05, 160))
        scene = draw_scene(galaxy.parts, psf_fwhm_arcsec=FWHM, stamp_size_px=160)
        # De Vaucouleurs wings reach beyond 42 arcsec.
        np.testing.assert_allclose(scene.sum(axis=(1, 2)), flux_of_mag(galaxy.mags), rtol=0.05)
        assert sum(part.flux_nmgy for part in galaxy.parts) == pytest.approx(flux_of_mag(galaxy.mags), rel=1e-6)


def test_axis_ratio_and_position_angle_are_those_of_the_drawn_light() -> None:
    for index in range(12):
        galaxy = draw_galaxy_of_class(rng_of(index), class_name="lrg", place=Place(0.0, 0.0, 128))
        if galaxy.axis_ratio > 0.85:
            continue
        image = draw_scene(galaxy.parts, psf_fwhm_arcsec=FWHM, stamp_size_px=128)[2].astype(float)
        shape = galsim.hsm.FindAdaptiveMom(galsim.Image(image)).observed_shape
        turn = (shape.beta.rad - galaxy.angle_rad + np.pi / 2) % np.pi - np.pi / 2
        assert abs(turn) < 0.02
        assert galaxy.axis_ratio < (1 - shape.g) / (1 + shape.g) < 1.0


def test_lrg_magnitudes_and_colours_are_those_of_dr10() -> None:
    mags = np.stack([lrg_mags(rng_of(i)) for i in range(3000)])
    np.testing.assert_allclose(np.percentile(mags[:, 1], [5, 50, 95]), [19.77, 21.08, 21.98], atol=0.12)
    np.testing.assert_allclose(np.percentile(mags[:, 2], [5, 50, 95]), [18.64, 19.80, 20.34], atol=0.08)


def test_lrg_colours_match_the_public_catalogue(shared_data: Path) -> None:
    path = shared_data / "survey" / "dr10_lrg_parents.csv"
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="ascii")
    flux = np.stack([table[f"FLUX_{band}"] for band in "GRZ"], axis=1)
    early = np.isin(table["TYPE"], ["DEV", "SER"]) & (flux > 0).all(axis=1)
    real = 22.5 - 2.5 * np.log10(flux[early])
    drawn = np.stack([lrg_mags(rng_of(i)) for i in range(3000)])
    for a, b in ((0, 1), (1, 2)):
        quantiles = [16, 50, 84]
        truth = np.percentile(real[:, a] - real[:, b], quantiles)
        np.testing.assert_allclose(np.percentile(drawn[:, a] - drawn[:, b], quantiles), truth, atol=0.07)


def test_r_magnitude_hardly_tells_a_negative_from_an_lrg() -> None:
    def r_mags(class_name: str, first: int) -> list[float]:
        place = Place(0, 0, 64)
        drawn = (draw_galaxy_of_class(rng_of(first + i), class_name=class_name, place=place) for i in range(400))
        return [float(galaxy.mags[1]) for galaxy in drawn]

    lrg = r_mags("lrg", 0)
    # Other indices than the LRGs': equal streams would give equal magnitudes.
    for name in CLASSES[1:]:
        auc = roc_auc_score([0] * 400 + [1] * 400, lrg + r_mags(name, 1000))
        assert max(auc, 1 - auc) < 0.70, name


def test_companions_lie_one_to_five_arcsec_from_the_lrg_and_many_are_blue() -> None:
    colours = []
    for index in range(200):
        galaxy = draw_galaxy_of_class(rng_of(index), class_name="lrg_companion", place=Place(0.0, 0.0, 64))
        companions = galaxy.parts[2:]
        assert 1 <= len(companions) <= 3
        for part in companions:
            assert 1.0 <= np.hypot(part.x_arcsec, part.y_arcsec) <= 5.0
            colours.append(2.5 * np.log10(part.flux_nmgy[1] / part.flux_nmgy[0]))
    assert 0.5 < np.mean(np.array(colours) < 0.8) < 0.8


def test_neighbours_and_stars_have_the_configured_densities() -> None:
    side_arcmin = (64 * PIXEL_SCALE_ARCSEC + 4.0) / 60.0
    target = np.array([22.8, 21.1, 19.9])
    fields = [
        draw_field(rng_of(i), target_mags=target, size_px=64, galaxies_arcmin2=40.0, stars_arcmin2=2.0)
        for i in range(1500)
    ]
    n_stars = sum(isinstance(part, Star) for field in fields for part in field)
    n_galaxies = sum(len(field) for field in fields) - n_stars
    for count, density in ((n_stars, 2.0), (n_galaxies, 40.0)):
        expected = 1500 * density * side_arcmin**2
        assert abs(count - expected) < 4.5 * np.sqrt(expected)


def test_no_neighbour_outshines_the_target_from_on_top_of_it() -> None:
    target = np.array([24.2, 22.5, 21.3])
    near = 0
    for index in range(1500):
        for part in draw_field(rng_of(index), target_mags=target, size_px=64, galaxies_arcmin2=40.0, stars_arcmin2=2.0):
            if np.hypot(part.x_arcsec, part.y_arcsec) < 1.5:
                near += 1
                assert part.flux_nmgy[1] <= flux_of_mag(22.5)
    assert near > 50
