"""The formulae of the self-check against lenstronomy, GalSim and scipy: an oracle must itself be right."""

import numpy as np
import pytest
from scipy.integrate import dblquad

from dhs.config.injection import GaussianPsf, MoffatPsf
from dhs.inject.selfcheck.analytic import Isothermal, PointSource, Profile

SCALE = 0.262
PSFS = [
    MoffatPsf(name="moffat", beta=3.5, convention="effective", kernel_size_px=33),
    MoffatPsf(name="moffat", beta=2.5, convention="optical", kernel_size_px=33),
    GaussianPsf(name="gaussian", convention="effective", kernel_size_px=33),
]


def lenstronomy_sie(lens: Isothermal):
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel

    ellipticity = (1 - lens.axis_ratio) / (1 + lens.axis_ratio)
    parameters = {
        "theta_E": lens.theta_e_arcsec,
        "e1": ellipticity * np.cos(2 * lens.phi_rad),
        "e2": ellipticity * np.sin(2 * lens.phi_rad),
    }
    return LensModel(["SIE"]), [parameters]


@pytest.mark.parametrize("lens", [Isothermal(1.3), Isothermal(1.1, 0.7, 0.4), Isothermal(2.0, 0.25, 2.5)])
def test_the_deflection_is_that_of_lenstronomy(lens):
    model, parameters = lenstronomy_sie(lens)
    angle = np.linspace(0.1, 6.2, 23)
    expected = model.alpha(1.7 * np.cos(angle), 1.7 * np.sin(angle), parameters)
    np.testing.assert_allclose(lens.deflection(angle), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("lens", "source", "n_images"),
    [
        (Isothermal(1.3), (0.4, 0.2), 2),
        (Isothermal(1.3), (1.4, 0.2), 1),
        (Isothermal(1.5, 0.5, 0.7), (0.05, 0.02), 4),
        (Isothermal(1.5, 0.5, 0.7), (-0.7, 0.6), 2),
    ],
)
def test_images_solve_the_lens_equation_with_lenstronomys_magnification(lens, source, n_images):
    x, y, mu = lens.images(*source)
    assert len(x) == n_images
    model, parameters = lenstronomy_sie(lens)
    np.testing.assert_allclose(model.ray_shooting(x, y, parameters), np.array([source] * n_images).T, atol=5e-6)
    np.testing.assert_allclose(mu, np.abs(model.magnification(x, y, parameters)), rtol=1e-4)


def test_a_round_lens_magnifies_by_two_theta_e_over_beta():
    assert Isothermal(1.2).images(0.3, 0.4)[2].sum() == pytest.approx(2 * 1.2 / 0.5)


def test_the_critical_curve_encloses_pi_theta_e_squared():
    angle = np.linspace(0, 2 * np.pi, 2001)[:-1]
    for q in (1.0, 0.6, 0.3):
        area = 0.5 * (Isothermal(1.4, q, 0.3).critical_radius(angle) ** 2).mean() * 2 * np.pi
        assert area == pytest.approx(np.pi * 1.4**2, rel=1e-6)


@pytest.mark.parametrize("psf", PSFS)
@pytest.mark.parametrize("ellipticity", [(0.0, 0.0), (0.08, -0.05)])
def test_the_kernels_flux_is_the_integral_over_its_square(psf, ellipticity):
    profile = Profile(psf, 1.3, *ellipticity)
    half = 0.5 * psf.kernel_size_px * SCALE
    expected = dblquad(lambda y, x: float(profile.brightness(x, y)), -half, half, -half, half)[0]
    assert profile.flux_in_kernel(SCALE) == pytest.approx(expected, abs=2e-6)


def galsim_image(psf, *, blurs: int, ellipticity: tuple[float, float]) -> np.ndarray:
    galsim = pytest.importorskip("galsim")
    profile = galsim.Moffat(beta=psf.beta, fwhm=1.2) if isinstance(psf, MoffatPsf) else galsim.Gaussian(fwhm=1.2)
    profile = profile.shear(g1=ellipticity[0], g2=ellipticity[1])
    parts = [profile, galsim.Gaussian(sigma=0.22), *[galsim.Pixel(SCALE)] * blurs]
    parameters = galsim.GSParams(maximum_fft_size=16384, folding_threshold=1e-5)
    image = galsim.Convolve(parts, gsparams=parameters).shift(0.41, -0.33)
    return image.drawImage(nx=64, ny=64, scale=SCALE, method="no_pixel").array


SOURCE = PointSource(64, SCALE, 0.41, -0.33, 0.22)
INSIDE = (slice(20, 44), slice(20, 44))
"""The kernel's square is cut off further out; GalSim's profile is not."""


@pytest.mark.parametrize("psf", PSFS)
@pytest.mark.parametrize("pixels_counted", [1, 2])
@pytest.mark.parametrize("ellipticity", [(0.0, 0.0), (0.08, -0.05)])
def test_the_image_of_a_point_source_is_that_of_galsim(psf, pixels_counted, ellipticity):
    blurs = pixels_counted - (psf.convention == "effective")
    expected = galsim_image(psf, blurs=blurs, ellipticity=ellipticity)
    ours = SOURCE.through_profile(Profile(psf, 1.2, *ellipticity), pixels_counted=pixels_counted)
    np.testing.assert_allclose(ours[INSIDE], expected[INSIDE], atol=2e-4 * expected.max())


def test_a_psf_image_gives_what_its_profile_gives():
    profile = Profile(PSFS[0], 1.2, 0.08, -0.05)
    axis = (np.arange(63) - 31) * SCALE
    image = profile.brightness(axis, axis[:, None]) * SCALE**2
    for pixels_counted in (1, 2):
        expected = SOURCE.through_profile(profile, pixels_counted=pixels_counted)
        ours = SOURCE.through_image(image, pixels_counted=pixels_counted)
        np.testing.assert_allclose(ours[INSIDE], expected[INSIDE], atol=2e-4 * expected.max())
