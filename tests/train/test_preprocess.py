"""Normalisation, masks, clip, stretch, the list of channels."""

import numpy as np
import pytest
import torch
from scipy.stats import median_abs_deviation

from dhs.config.training import PreprocessConfig
from dhs.train.preprocess import clip, normalise, preprocess, stretch


def sky(batch: int = 4, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(1)
    scale = np.array([0.002, 0.004, 0.008])[:, None, None]
    images = rng.normal(0.001, 1, (batch, 3, size, size)) * scale
    return torch.tensor(images, dtype=torch.float32), torch.ones(batch, 3, size, size, dtype=torch.bool)


def ring_of(size: int) -> np.ndarray:
    axis = np.arange(size) - (size - 1) / 2
    return np.hypot(axis, axis[:, None]) > size / 4


@pytest.mark.parametrize("size", [64, 63, 101])
def test_every_band_is_in_sigmas_of_its_own_ring(size):
    images, good = sky(size=size)
    out = normalise(images, good=good, inner_fraction=0.5)
    values = out[:, :, torch.from_numpy(ring_of(size))].numpy()
    assert np.abs(np.median(values, axis=-1)).max() < 2e-3
    assert median_abs_deviation(values, axis=-1, scale="normal") == pytest.approx(1, abs=0.01)


def test_the_centre_does_not_move_the_scale():
    images, good = sky()
    bright = images.clone()
    bright[:, :, 24:40, 24:40] += 100
    ring = torch.from_numpy(ring_of(64))
    left, right = (normalise(i, good=good, inner_fraction=0.5)[:, :, ring] for i in (images, bright))
    assert torch.equal(left, right)


def test_masked_pixels_become_sky_and_never_nan():
    images, good = sky()
    clean = normalise(images, good=good, inner_fraction=0.5)
    images[0, 1, :, 5:9], good[0, 1, :, 5:9] = torch.nan, False
    images[1], good[1] = 1e6, False
    images[3, 2, :, 50:60], good[3, 2, :, 50:60] = 1e4, False
    out = normalise(images, good=good, inner_fraction=0.5)
    assert torch.isfinite(out).all()
    assert (out[3, 2, :, 50:60] == 0).all()
    torch.testing.assert_close(out[3, 2, :, :50], clean[3, 2, :, :50], rtol=0.03, atol=0.05)
    assert (out[0, 1, :, 5:9] == 0).all()
    assert (out[1] == 0).all()
    torch.testing.assert_close(out[0, 1, :, 20:], clean[0, 1, :, 20:], rtol=0.02, atol=0.02)
    assert torch.equal(out[2], clean[2])


def test_a_constant_ring_blanks_the_band_instead_of_dividing_by_zero():
    images, good = sky()
    images[0, 0] = 3.0
    assert (normalise(images, good=good, inner_fraction=0.5)[0, 0] == 0).all()


def test_asinh_and_sqrt_are_linear_near_zero_and_odd():
    x = torch.tensor([-3e3, -1e-2, 0.0, 1e-2, 3e3])
    torch.testing.assert_close(stretch(x, kind="asinh", scale=3.0), torch.asinh(x / 3), rtol=1e-6, atol=1e-7)
    for kind in ("asinh", "sqrt"):
        y = stretch(x, kind=kind, scale=3.0)
        assert torch.equal(y, -stretch(-x, kind=kind, scale=3.0))
        assert y[3] > 0
    assert torch.equal(stretch(x, kind="none", scale=3.0), x)


def test_channels_come_in_the_order_asked_for():
    images, good = sky()
    config = PreprocessConfig(channels=("z", "g", "g-r", "residual_r"), stretch="none")
    out = preprocess(images, good=good, config=config)
    bands = normalise(images, good=good, inner_fraction=0.5)
    assert out.shape == (4, 4, 64, 64)
    assert torch.equal(out[:, 0], bands[:, 2])
    assert torch.equal(out[:, 1], bands[:, 0])
    difference = images[:, 0] - 0.6 * images[:, 1]
    expected = normalise(difference[:, None], good=good[:, :1], inner_fraction=0.5)[:, 0]
    assert torch.equal(out[:, 2], expected)


def test_every_channel_list_is_normalised_finite_and_clipped():
    images, good = sky()
    images[:, :, 20:44, 20:44] += 1.0
    images[0, 1, :, 5:9], good[0, 1, :, 5:9] = torch.nan, False
    good[1] = False
    everything = ("g", "r", "z", "g-r", "g-z", "residual_g", "residual_r", "residual_z")
    for residual in ("azimuthal_mean", "azimuthal_median", "blur"):
        for fit in (False, True):
            config = PreprocessConfig(
                channels=everything, residual=residual, difference_fit=fit, clip="hard", clip_sigma=9.0, stretch="none"
            )
            out = preprocess(images, good=good, config=config)
            assert out.shape == (4, 8, 64, 64)
            assert torch.isfinite(out).all()
            assert out.abs().max() == 9


def test_a_soft_clip_is_the_identity_inside_smooth_at_its_limit_and_loses_no_order():
    x = torch.linspace(-500, 500, 4001)
    soft = clip(x, kind="soft", sigma=50.0)
    inside = x.abs() <= 50
    assert torch.equal(soft[inside], x[inside])
    expected = torch.sign(x) * 50 * (1 + torch.log(x.abs() / 50))
    torch.testing.assert_close(soft[~inside], expected[~inside])
    assert (soft.diff() > 0).all()
    slopes = soft.diff() / x.diff()
    assert slopes.diff().abs().max() < 0.01  # no kink
    assert torch.equal(clip(x, kind="none", sigma=50.0), x)
    assert torch.equal(clip(x, kind="hard", sigma=50.0), x.clamp(-50, 50))


def test_an_arc_brighter_than_the_clip_survives_a_soft_one_and_not_a_hard_one_at_10_sigma():
    """SCIENCE section 5: a clip at 10 sigma cut bright arcs."""
    images, good = sky(batch=2)
    images[:, 0, 10:50, 10:50] += 0.2  # a galaxy of 100 sigma
    images[1, 0, 40:44, 20:40] += 0.1  # an arc of 50 sigma on it
    for kind, sigma, seen in (("hard", 10.0, False), ("soft", 10.0, True), ("hard", 400.0, True), ("none", 10.0, True)):
        config = PreprocessConfig(clip=kind, clip_sigma=sigma, stretch="none")
        without, with_arc = preprocess(images, good=good, config=config)[:, 0, 42, 30]
        assert (with_arc > without + 1) == seen, kind


@pytest.mark.parametrize("size", [64, 101])
def test_a_stamp_does_not_depend_on_its_batch(size):
    images, good = sky(batch=9, size=size)
    images[:, :, 25:40, 25:40] += torch.linspace(0.01, 1, 9)[:, None, None, None]
    good[4, 1, 10:20] = False
    config = PreprocessConfig(
        channels=("g", "g-r", "residual_r", "g-z"), residual="blur", difference_fit=True, clip="soft", clip_sigma=20.0
    )
    for residual in ("blur", "azimuthal_median", "azimuthal_mean"):
        for k in (True, False):
            settings = config.model_copy(update={"residual": residual, "difference_fit": k})
            whole = preprocess(images, good=good, config=settings)
            for part in (slice(0, 1), slice(3, 8), slice(4, 5)):
                assert torch.equal(whole[part], preprocess(images[part], good=good[part], config=settings))


def test_a_larger_stamp_has_the_same_pixels_when_the_sky_is_flat():
    """The ring is a fraction of the half-size: a stamp of 101 px and its central 64 px agree to the ring's noise."""
    images, good = sky(batch=3, size=101)
    images[:, :, 40:61, 40:61] += 0.5
    config = PreprocessConfig(stretch="none")
    large = preprocess(images, good=good, config=config)
    small = preprocess(images[:, :, 18:82, 18:82], good=good[:, :, 18:82, 18:82], config=config)
    ratio = large[:, :, 45:56, 45:56] / small[:, :, 27:38, 27:38]
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0.06, atol=0.0)
