"""Seeing, depth and noise of the mock survey against DR10's figures and GalSim."""

from pathlib import Path

import galsim
import numpy as np
import pytest

from dhs.constants import BAD_MASKBITS, PIXEL_SCALE_ARCSEC
from dhs.rng import Purpose, keyed_rng
from dhs.sky.depth import depth_of_sigma, moffat_effective_area_px, sigma_of_depth
from dhs.sky.mock_conditions import draw_conditions
from dhs.sky.mock_noise import add_noise, draw_bad_pixels, draw_noise


def rng_of(index: int) -> np.random.Generator:
    return keyed_rng(5, Purpose.MOCK_SKY, 0, index)


@pytest.fixture(scope="module")
def conditions() -> tuple[np.ndarray, np.ndarray]:
    rng = rng_of(0)
    drawn = [draw_conditions(rng) for _ in range(6000)]
    return np.stack([c.psf_fwhm_arcsec for c in drawn]), np.stack([c.psf_depth_mag for c in drawn])


def test_seeing_has_the_medians_of_decam(conditions: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_allclose(np.median(conditions[0], axis=0), [1.29, 1.18, 1.11], rtol=0.02)


def test_depth_has_the_two_peaks_of_decals_and_des(conditions: tuple[np.ndarray, np.ndarray]) -> None:
    depth = conditions[1]
    deep = depth[:, 1] > 24.70
    np.testing.assert_allclose(np.median(depth[~deep], axis=0), [24.75, 24.25, 23.35], atol=0.04)
    np.testing.assert_allclose(np.median(depth[deep], axis=0), [25.35, 25.15, 23.85], atol=0.04)
    valley = np.mean((depth[:, 1] > 24.65) & (depth[:, 1] < 24.75))
    assert valley < 0.2 * np.mean((depth[:, 1] > 24.20) & (depth[:, 1] < 24.30))


def test_bands_move_together_and_worse_seeing_is_shallower(conditions: tuple[np.ndarray, np.ndarray]) -> None:
    fwhm, depth = conditions
    shallow = depth[:, 1] < 24.70
    assert np.corrcoef(depth[shallow].T)[0, 1] > 0.5
    assert np.corrcoef(fwhm.T)[0, 2] > 0.5
    assert np.corrcoef(fwhm[shallow, 1], depth[shallow, 1])[0, 1] < -0.3


def test_share_of_deep_sky_is_that_of_dr10(conditions: tuple[np.ndarray, np.ndarray], shared_data: Path) -> None:
    table = np.genfromtxt(shared_data / "survey" / "dr10_south_psfdepth_hist_digitised.csv", delimiter=",", names=True)
    area = table["area_r_deg2"]
    share = area[table["bin_center_mag"] > 24.7].sum() / area.sum()
    assert np.mean(conditions[1][:, 1] > 24.7) == pytest.approx(share, abs=0.05)


def test_noise_per_pixel_is_in_the_range_of_real_coadds(conditions: tuple[np.ndarray, np.ndarray]) -> None:
    fwhm, depth = conditions
    sigma = sigma_of_depth(depth, fwhm_arcsec=fwhm, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC)
    low, high = np.percentile(sigma, [10, 90], axis=0)
    np.testing.assert_allclose(low, [0.0014, 0.0019, 0.0066], rtol=0.2)
    np.testing.assert_allclose(high, [0.0030, 0.0052, 0.0126], rtol=0.2)


@pytest.mark.parametrize("fwhm", [0.9, 1.18, 1.6])
def test_effective_area_is_one_over_the_sum_of_the_squared_psf(fwhm: float) -> None:
    psf = galsim.Moffat(beta=3.5, fwhm=fwhm).drawImage(nx=181, ny=181, scale=PIXEL_SCALE_ARCSEC, method="no_pixel")
    area = moffat_effective_area_px(np.array(fwhm), pixel_scale_arcsec=PIXEL_SCALE_ARCSEC)
    assert area == pytest.approx(1.0 / np.sum(psf.array.astype(float) ** 2), rel=2e-3)


def test_depth_and_sigma_are_inverse_of_each_other() -> None:
    depth, fwhm = np.array([24.75, 24.25, 23.35]), np.array([1.29, 1.18, 1.11])
    sigma = sigma_of_depth(depth, fwhm_arcsec=fwhm, pixel_scale_arcsec=0.262)
    np.testing.assert_allclose(depth_of_sigma(sigma, fwhm_arcsec=fwhm, pixel_scale_arcsec=0.262), depth)


@pytest.mark.parametrize("correlation", [0.0, 0.13, 0.30, 0.45])
def test_noise_has_unit_variance_and_the_asked_lag_one_correlation(correlation: float) -> None:
    noise = np.concatenate([draw_noise(rng_of(i), size_px=64, correlation=correlation) for i in range(40)])
    variance = np.mean(noise**2)
    assert variance == pytest.approx(1.0, abs=0.02)
    assert np.mean(noise[:, :, 1:] * noise[:, :, :-1]) / variance == pytest.approx(correlation, abs=0.01)
    assert np.mean(noise[:, 1:] * noise[:, :-1]) / variance == pytest.approx(correlation, abs=0.01)


def test_lag_two_is_negative_as_in_real_coadds_and_opposite_edges_are_independent() -> None:
    noise = np.concatenate([draw_noise(rng_of(i), size_px=64, correlation=0.13) for i in range(60)])
    assert np.mean(noise[:, :, 2:] * noise[:, :, :-2]) == pytest.approx(-0.06, abs=0.01)
    assert abs(np.mean(noise[:, :, 0] * noise[:, :, -1])) < 0.04


def test_scatter_is_091_of_invvar_and_light_adds_its_poisson_share() -> None:
    unit = np.concatenate([draw_noise(rng_of(i), size_px=64, correlation=0.0) for i in range(20)], axis=2)
    sigma = np.array([0.002, 0.004, 0.01])
    empty = add_noise(np.zeros_like(unit), sigma_nmgy=sigma, unit_noise=unit)
    np.testing.assert_allclose(empty.std(axis=(1, 2)), 0.91 * sigma, rtol=0.01)
    sky_r = 10 ** ((22.5 - 20.91) / 2.5) * 0.262**2
    bright = add_noise(np.full_like(unit, sky_r), sigma_nmgy=sigma, unit_noise=unit)
    assert bright[1].std() == pytest.approx(0.91 * 0.004 * np.sqrt(2), rel=0.01)


@pytest.mark.parametrize("size_px", [32, 64, 101])
def test_bad_pixels_are_few_per_cent_carry_bad_bits_and_spare_the_centre(size_px: int) -> None:
    drawn = [draw_bad_pixels(rng_of(i), size_px=size_px) for i in range(1500)]
    hit = [bad for bad in drawn if bad.no_data.any()]
    assert 0.02 < len(hit) / len(drawn) < 0.06
    axis = np.arange(size_px) - 0.5 * (size_px - 1)
    core = np.hypot(axis[:, None], axis) * PIXEL_SCALE_ARCSEC <= 3.0
    mask = np.int16(sum(1 << bit for bit in BAD_MASKBITS))
    for bad in hit:
        assert not bad.no_data[:, core].any()
        assert np.array_equal((bad.maskbits & mask) != 0, bad.no_data.any(axis=0))
