"""Noise of the arc: gain against known truth and a real coadd, variance, correlation, no bias, its own stream."""

import numpy as np
import pytest
import torch

from dhs.constants import DARK_SKY_MAG_ARCSEC2, PIXEL_SCALE_ARCSEC
from dhs.inject.arc_noise import arc_noise_nmgy, gain_from_sky, gain_from_source_noise
from dhs.inject.build import build_injector
from dhs.rng import Purpose, keyed_rng

GAIN = np.array([[3e4, 2e4, 4e4]])


def arc() -> torch.Tensor:
    """(1, 3, 32, 32) smooth arc, 0 to 0.05 nMgy a pixel."""
    axis = torch.linspace(-1, 1, 32)
    ring = torch.exp(-((torch.hypot(axis[:, None], axis) - 0.5) ** 2) / 0.08)
    return (0.05 * ring).expand(1, 3, 32, 32).clone()


def noise(n: int, *, lag1: float) -> np.ndarray:
    rngs = [keyed_rng(3, Purpose.ARC_NOISE, 0, i) for i in range(n)]
    arcs = arc().expand(n, -1, -1, -1)
    return arc_noise_nmgy(arcs, rngs, gain=np.repeat(GAIN, n, axis=0), lag1_correlation=lag1).numpy()


@pytest.mark.parametrize("lag1", [0.0, 0.13, 0.4])
def test_noise_is_unbiased_has_poisson_variance_and_the_correlation_asked_for(lag1):
    drawn = noise(600, lag1=lag1).astype(np.float64)
    unit = drawn / np.sqrt(arc().numpy() / GAIN[:, :, None, None])
    assert abs(unit.mean()) < 0.01
    np.testing.assert_allclose(unit.var(axis=(0, 2, 3)), 1.0, atol=0.02)
    np.testing.assert_allclose(unit.var(axis=0), 1.0, atol=0.35)  # pixel by pixel: 600 draws scatter by 6%
    for left, right in ((unit[..., 1:], unit[..., :-1]), (unit[..., 1:, :], unit[..., :-1, :])):
        assert (left * right).mean() == pytest.approx(lag1, abs=0.01)


def test_a_band_without_data_gets_no_noise():
    gain = np.array([[3e4, 0.0, 4e4]])
    drawn = arc_noise_nmgy(arc(), [keyed_rng(3, Purpose.ARC_NOISE, 0, 0)], gain=gain, lag1_correlation=0.0)
    assert (drawn[:, 1] == 0).all()
    assert (drawn[:, 0] != 0).any()


def test_the_gain_of_a_sky_limited_coadd_is_found_whatever_the_galaxy_does_to_its_invvar():
    """Truth: Poisson electrons of sky and galaxy at 3e4 e-/nMgy, the galaxy's noise in invvar too, a masked stripe."""
    rng = np.random.default_rng(1)
    sky = 10 ** ((22.5 - DARK_SKY_MAG_ARCSEC2[1]) / 2.5) * PIXEL_SCALE_ARCSEC**2
    axis = np.arange(64) - 31.5
    galaxy = 1.5 * np.exp(-np.hypot(axis[:, None], axis) / 3.0)
    truth = 3e4
    image = rng.poisson((sky + galaxy) * truth) / truth - sky
    invvar = truth / (sky + galaxy)
    invvar[:, 50:54] = 0
    good = invvar > 0
    stack = np.repeat(invvar[None, None], 3, axis=1), np.repeat(good[None, None], 3, axis=1)
    measured = gain_from_sky(stack[0], good=stack[1], sky_mag_arcsec2=DARK_SKY_MAG_ARCSEC2)
    assert measured[0, 1] == pytest.approx(truth, rel=0.02)
    assert gain_from_source_noise(image, invvar=invvar, min_flux_nmgy=0.1) == pytest.approx(truth, rel=0.05)
    assert image[:8, :8].var() == pytest.approx(1 / invvar[0, 0], rel=0.5)
    with pytest.raises(ValueError, match="of the sky alone; use gain_from_sky"):
        gain_from_source_noise(image, invvar=np.full_like(invvar, 1e5), min_flux_nmgy=0.1)


def test_a_stamp_without_good_pixels_in_a_band_has_gain_zero_there():
    invvar = np.full((1, 3, 8, 8), 1e5)
    good = np.ones_like(invvar, dtype=bool)
    good[:, 2] = False
    gain = gain_from_sky(invvar, good=good, sky_mag_arcsec2=DARK_SKY_MAG_ARCSEC2)
    assert gain[0, 2] == 0
    assert (gain[0, :2] > 1e4).all()


def test_two_readings_of_a_real_coadds_gain_agree(shared_data):
    """DR9 invvar contains the sources' noise; in g and r it shows. z is too sky-limited to tell."""
    with np.load(shared_data / "cutouts" / "dr9_south_256_grz.npz") as patch:
        images, invvar = patch["images"], patch["invvar"]
    gain = gain_from_sky(invvar[None], good=invvar[None] > 0, sky_mag_arcsec2=DARK_SKY_MAG_ARCSEC2)[0]
    assert (gain > 1e4).all()
    assert (gain < 1e5).all()
    for band, ratio in ((0, 0.7), (1, 1.0)):
        direct = gain_from_source_noise(images[band], invvar=invvar[band], min_flux_nmgy=0.1)
        assert gain[band] / direct == pytest.approx(ratio, abs=0.1)


def test_the_streams_noise_is_the_arcs_own_and_off_by_default(small_injector, small_config):
    """Controls and recipes stay; what is added has the arc's variance; a stamp alone is the stamp of its batch."""
    index = np.arange(48)
    quiet = small_injector.stamps(index, purpose=Purpose.TRAIN)
    noisy_injector = build_injector(small_config("inject.arc_noise=poisson_correlated"))
    noisy = noisy_injector.stamps(index, purpose=Purpose.TRAIN)
    injected = quiet.recipes.injected
    assert torch.equal(quiet.images[~injected], noisy.images[~injected])
    np.testing.assert_array_equal(quiet.recipes.source_mag, noisy.recipes.source_mag)
    added = (noisy.images - quiet.images)[injected].numpy()
    background = np.array(small_injector.cutouts.images[quiet.recipes.row])[injected]
    arcs = quiet.images[injected].numpy() - background
    gain = gain_from_sky(
        np.asarray(small_injector.cutouts.invvar[quiet.recipes.row])[injected],
        good=quiet.good[injected].numpy(),
        sky_mag_arcsec2=DARK_SKY_MAG_ARCSEC2,
    )
    bright = arcs > 0.01
    unit = added[bright] / np.sqrt((arcs / gain[:, :, None, None])[bright])
    assert unit.std() == pytest.approx(1, abs=0.05)
    assert np.abs(unit.mean()) < 0.05
    one = int(np.flatnonzero(injected)[3])
    alone = noisy_injector.stamps(np.array([one]), purpose=Purpose.TRAIN)
    assert torch.equal(alone.images[0], noisy.images[one])
    other = noisy_injector.stamps(index, purpose=Purpose.TRAIN, epoch=1)
    assert not torch.equal(other.images, noisy.images)
