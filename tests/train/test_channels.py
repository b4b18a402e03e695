"""Differences, fitted colours, residuals and the blur, against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d, gaussian_filter
from scipy.optimize import minimize_scalar
from scipy.special import ive

from dhs.config.training import PreprocessConfig
from dhs.train.blur import blur_matrices, gaussian_blur, linear_blur
from dhs.train.channels import (
    azimuthal_median,
    difference,
    fitted_k,
    residual,
    subtract_azimuthal_mean,
    weighted_median,
)

AXIS = torch.arange(64) - 31.5
RADIUS = torch.hypot(AXIS, AXIS[:, None])
GALAXY = torch.exp(-RADIUS / 4)
ALL_GOOD = torch.ones(1, 64, 64, dtype=torch.bool)


def arc_image() -> torch.Tensor:
    """A blue arc of 100 degrees at 6 px, as bright as a tenth of the galaxy's peak."""
    angle = torch.atan2(AXIS[:, None], AXIS[None, :])
    return 0.1 * torch.exp(-((RADIUS - 6) ** 2) / 4) * (angle.abs() < 0.9)


def noisy(images: torch.Tensor, sigma: float = 1e-3) -> torch.Tensor:
    return images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(3))


def test_a_fixed_difference_is_g_minus_k_red():
    images = torch.randn(2, 3, 64, 64)
    good = torch.ones_like(images, dtype=torch.bool)
    for red, band in (("r", 1), ("z", 2)):
        out = difference(images, good=good, blue="g", red=red, config=PreprocessConfig(difference_k=0.7))
        torch.testing.assert_close(out, images[:, 0] - 0.7 * images[:, band])


@pytest.mark.parametrize("k", [0.15, 0.4, 0.9])
def test_a_fitted_k_is_the_galaxy_s_own_colour_whatever_the_sky_level(k):
    red = noisy(GALAXY[None] + 0.02)
    blue = noisy(k * GALAXY[None] - 0.01, sigma=5e-4)
    assert fitted_k(blue, red, good=ALL_GOOD, config=PreprocessConfig()).item() == pytest.approx(k, rel=0.02)


def test_a_blue_arc_moves_the_fit_little_and_stays_in_the_difference():
    arc = arc_image()[None]
    red = noisy(GALAXY[None] + 0.3 * arc)
    blue = noisy(0.25 * GALAXY[None] + arc, sigma=5e-4)
    k = fitted_k(blue, red, good=ALL_GOOD, config=PreprocessConfig())
    assert k.item() == pytest.approx(0.25, rel=0.10)
    images = torch.stack([blue, red, red], dim=1)
    out = difference(
        images, good=ALL_GOOD.expand(1, 3, 64, 64), blue="g", red="r", config=PreprocessConfig(difference_fit=True)
    )[0]
    assert out[31:33, 37:39].mean() > 0.05
    opposite = out[31:33, 25:27].abs().mean()
    assert out[31:33, 37:39].mean() > 10 * opposite
    assert abs(out[31:33, 31:33].mean()) < 0.05


def test_the_fit_minimises_the_absolute_deviations():
    rng = np.random.default_rng(2)
    red = rng.exponential(1.0, (1, 40)).astype(np.float32)
    blue = 0.3 * red + rng.standard_t(2, red.shape).astype(np.float32) * 0.1
    k = weighted_median(torch.from_numpy(blue / red), weights=torch.from_numpy(red)).item()
    best = minimize_scalar(lambda k: np.abs(blue - k * red).sum(), bounds=(0, 1), method="bounded")
    assert np.abs(blue - k * red).sum() <= best.fun * (1 + 1e-5)


def test_a_fitted_k_leaves_the_least_light_of_a_galaxy_with_a_blue_halo():
    """Most pixels of the aperture are of the faint halo; most of the light is of the red core."""
    red = (GALAXY**3)[None]
    blue = red * (0.2 + 0.05 * RADIUS)
    config = PreprocessConfig(difference_fit_radius_fraction=0.25)
    sky = noisy(torch.zeros_like(red), sigma=1e-5)
    k = fitted_k(blue + sky, red + sky.flip(1), good=ALL_GOOD, config=config).item()
    inside = RADIUS <= 8
    left = [(blue[0] - trial * red[0])[inside].abs().sum().item() for trial in (k - 0.03, k, k + 0.03)]
    assert left[1] < min(left[0], left[2])
    assert k < (blue / red)[0][inside].median().item() - 0.05


def test_weighted_median_ignores_what_has_no_weight():
    values = torch.tensor([[torch.nan, 3.0, 1.0, 2.0, -torch.inf]])
    assert weighted_median(values, weights=torch.tensor([[0.0, 1.0, 1.0, 1.0, 0.0]])).item() == 2
    assert weighted_median(values, weights=torch.tensor([[0.0, 5.0, 1.0, 1.0, 0.0]])).item() == 3
    assert weighted_median(values, weights=torch.zeros(1, 5)).item() == 0


def test_a_galaxy_too_faint_to_say_takes_the_fixed_k():
    empty = noisy(torch.zeros(1, 64, 64))
    config = PreprocessConfig(difference_k=0.77)
    assert fitted_k(empty, empty.flip(1), good=ALL_GOOD, config=config).item() == pytest.approx(0.77)
    masked = torch.zeros_like(ALL_GOOD)
    assert fitted_k(empty, empty, good=masked, config=config).item() == pytest.approx(0.77)


def test_the_azimuthal_mean_removes_a_round_galaxy_and_keeps_an_arc():
    galaxy = 100 * GALAXY
    arc = torch.exp(-((AXIS - 6) ** 2 + (AXIS[:, None]) ** 2) / 4)
    out = subtract_azimuthal_mean((galaxy + arc)[None])[0]
    assert out[31:33, 37:39].mean() > 0.5
    far = (RADIUS > 3) & (RADIUS < 30) & (arc < 1e-3)
    assert (out[far].abs() / galaxy[far]).median() < 0.1


def numpy_azimuthal_median(image: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Ring by ring, then interpolated between the rings' mean radii."""
    axis = np.arange(len(image)) - (len(image) - 1) / 2
    radius = np.hypot(axis, axis[:, None])
    levels, places = [], []
    for ring in range(int(radius.max()) + 1):
        inside = np.floor(radius) == ring
        values = np.sort(image[inside & good])
        levels.append(values[(len(values) - 1) // 2] if len(values) else 0.0)
        places.append(radius[inside].mean())
    return np.interp(radius, places, levels)


@pytest.mark.parametrize("size", [64, 63, 101])
def test_the_azimuthal_median_is_that_of_numpy(size):
    rng = np.random.default_rng(size)
    axis = np.arange(size) - (size - 1) / 2
    image = (100 * np.exp(-np.hypot(axis, axis[:, None]) / 5) + rng.normal(size=(size, size))).astype(np.float32)
    good = rng.random((size, size)) < 0.8
    good[size // 2 - 2 : size // 2 + 3, size // 2 - 2 : size // 2 + 3] = False  # rings without a good pixel
    ours = azimuthal_median(torch.from_numpy(image)[None], good=torch.from_numpy(good)[None])[0].numpy()
    np.testing.assert_allclose(ours, numpy_azimuthal_median(image, good), rtol=1e-4, atol=1e-4)


def test_the_median_does_not_see_an_arc_that_darkens_the_mean():
    image = (GALAXY + arc_image())[None]
    off_arc = (RADIUS > 5) & (RADIUS < 7) & (AXIS[None, :] < -3)
    by_median = residual(image, good=ALL_GOOD, config=PreprocessConfig(residual="azimuthal_median"))[0][off_arc]
    by_mean = residual(image, good=ALL_GOOD, config=PreprocessConfig(residual="azimuthal_mean"))[0][off_arc]
    assert by_mean.mean() < -0.02
    assert abs(by_median.mean()) < 0.003


@pytest.mark.parametrize("kind", ["azimuthal_median", "blur"])
def test_masked_pixels_of_a_residual_are_zero_and_teach_nothing(kind):
    config = PreprocessConfig(residual=kind)
    image, good = (100 * GALAXY)[None], ALL_GOOD.clone()
    good[0, 20:28, 30:38] = False
    spoilt = torch.where(good, image, 1e6)
    clean, out = (residual(torch.where(good, i, 0.0), good=good, config=config) for i in (image, spoilt))
    assert torch.equal(clean, out)
    assert (out[~good] == 0).all()


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_the_blur_is_lindeberg_s_discrete_gaussian_mirrored_at_the_edges(sigma):
    image = np.random.default_rng(1).normal(size=(2, 1, 64, 64)).astype(np.float32)
    ours = linear_blur(torch.from_numpy(image), sigma_px=torch.full((2,), sigma)).numpy()
    kernel = ive(np.arange(-31, 32), sigma**2)
    expected = convolve1d(convolve1d(image.astype(float), kernel, axis=2, mode="reflect"), kernel, mode="reflect")
    np.testing.assert_allclose(ours, expected, atol=3e-6)


def test_the_blur_is_scipy_s_gaussian_on_resolved_images():
    image = (GALAXY + arc_image()).numpy()
    ours = linear_blur(torch.from_numpy(image)[None, None], sigma_px=torch.tensor([2.0]))[0, 0].numpy()
    assert np.abs(ours - gaussian_filter(image, 2.0, mode="reflect", truncate=8)).max() < 1e-2 * ours.max()


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.5, 1.0, 2.5])
def test_the_kernel_has_exactly_its_variance_even_below_a_pixel(sigma):
    kernel = blur_matrices(torch.tensor([sigma]), size_px=101)[0, 50].double()
    offset = torch.arange(101) - 50
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
    assert (kernel * offset**2).sum().item() == pytest.approx(sigma**2, abs=2e-3)
    assert kernel.min() > -1e-6


def test_a_masked_blur_is_the_mean_of_the_good_neighbours():
    image = np.random.default_rng(4).normal(5, 1, (64, 64)).astype(np.float32)
    good = np.random.default_rng(5).random((64, 64)) < 0.7
    ours = gaussian_blur(
        torch.from_numpy(np.where(good, image, np.nan))[None, None],
        sigma_px=torch.tensor([3.0]),
        good=torch.from_numpy(good)[None, None],
    )[0, 0].numpy()
    smooth, seen = (gaussian_filter(a, 3.0, mode="reflect", truncate=8) for a in (np.where(good, image, 0), good * 1.0))
    np.testing.assert_allclose(ours, smooth / seen, atol=0.01)
    nothing = gaussian_blur(
        torch.ones(1, 1, 9, 9), sigma_px=torch.ones(1), good=torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    )
    assert (nothing == 0).all()
