"""Normalisation, masks, channels, augmentation."""

import numpy as np
import pytest
import torch
from scipy.stats import median_abs_deviation

from dhs.config.training import AugmentConfig, PreprocessConfig
from dhs.train.augment import augment
from dhs.train.preprocess import normalise, preprocess, stretch, subtract_azimuthal_mean


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
    clipped = preprocess(images, good=good, config=config.model_copy(update={"clip_sigma": 1.0}))
    assert clipped.abs().max() <= 1


def test_the_azimuthal_residual_removes_a_round_galaxy_and_keeps_an_arc():
    axis = torch.arange(64) - 31.5
    radius = torch.hypot(axis, axis[:, None])
    galaxy = 100 * torch.exp(-radius / 4)
    arc = torch.exp(-((axis - 6) ** 2 + (axis[:, None]) ** 2) / 4)
    out = subtract_azimuthal_mean((galaxy + arc)[None])[0]
    assert out[31:33, 37:39].mean() > 0.5
    far = (radius > 3) & (radius < 30) & (arc < 1e-3)
    assert (out[far].abs() / galaxy[far]).median() < 0.1


def _keys(n: int, *, epoch: int = 0) -> np.ndarray:
    return np.array([(1, 1, epoch, i) for i in range(n)])


def test_augmentation_is_keyed_fresh_every_epoch_and_covers_the_dihedral_group():
    config = AugmentConfig(dihedral=True, max_shift_px=0)
    image = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(400, 1, 1, 1)
    out = augment(image, keys=_keys(400), config=config)
    assert torch.equal(out, augment(image, keys=_keys(400), config=config))
    assert not torch.equal(out, augment(image, keys=_keys(400, epoch=1), config=config))
    forms = {tuple(o.flatten().tolist()) for o in out}
    assert len(forms) == 8
    assert torch.equal(out.flatten(1).sort(dim=1).values, image.flatten(1))


def test_shifts_reach_their_limit_and_not_beyond():
    config = AugmentConfig(dihedral=False, max_shift_px=2)
    image = torch.zeros(200, 1, 16, 16)
    image[:, :, 8, 8] = 1
    out = augment(image, keys=_keys(200), config=config)
    rows = out.sum(dim=(1, 3)).argmax(dim=1) - 8
    columns = out.sum(dim=(1, 2)).argmax(dim=1) - 8
    assert set(rows.tolist()) == set(columns.tolist()) == {-2, -1, 0, 1, 2}


def test_no_augmentation_returns_the_images_themselves():
    image = torch.rand(3, 1, 8, 8)
    assert augment(image, keys=_keys(3), config=AugmentConfig(dihedral=False, max_shift_px=0)) is image
