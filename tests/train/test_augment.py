"""Augmentation: keyed draws, whole-pixel moves, and what changes pixels, against scipy and arithmetic."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter, shift
from scipy.stats import kstest

from dhs.config.training import AugmentConfig
from dhs.train.augment import AugmentDraws, draw, move
from dhs.train.counter_noise import normal_noise, splitmix64
from dhs.train.masked import ring_level
from dhs.train.perturb import COADD_LAG1, coadd_noise, perturb, resample, seeing_and_depth

STILL = AugmentConfig(dihedral=False, max_shift_px=0)
EVERYTHING = AugmentConfig(
    max_subpixel_shift_px=0.5,
    max_rotation_deg=15,
    max_psf_blur_arcsec=0.8,
    max_depth_loss_mag=0.5,
    core_dropout_probability=0.5,
    core_dropout_max_radius_px=3,
)
AXIS = torch.arange(64) - 31.5


def keys(n: int, *, epoch: int = 0, purpose: int = 1, first: int = 0) -> np.ndarray:
    return np.array([(1, purpose, epoch, i) for i in range(first, first + n)])


def still(n: int = 1) -> AugmentDraws:
    return draw(keys(n), config=STILL)


def stars(n: int = 1, *, sigma_px: float = 2.0) -> torch.Tensor:
    """(n, 3, 64, 64): two resolved stars off the centre, no noise."""
    y, x = AXIS[:, None], AXIS[None, :]
    image = torch.exp(-((x - 8) ** 2 + (y + 5) ** 2) / (2 * sigma_px**2))
    image = image + 0.5 * torch.exp(-((x + 4) ** 2 + (y - 9) ** 2) / (2 * sigma_px**2))
    return image.expand(n, 3, 64, 64).clone()


def noisy(n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    images = stars(n) + 0.01 * torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return images, torch.ones_like(images, dtype=torch.bool)


def perturbed(images: torch.Tensor, good: torch.Tensor, draws: AugmentDraws, config: AugmentConfig):
    return perturb(images, good=good, draws=draws, config=config, annulus_inner_fraction=0.5)


def test_draws_are_keyed_fresh_every_epoch_and_of_no_other_stamp():
    first = draw(keys(50), config=EVERYTHING)
    alone = draw(keys(1, first=7), config=EVERYTHING)
    for field in fields(AugmentDraws):
        assert torch.equal(getattr(first, field.name)[7:8], getattr(alone, field.name))
    for other in (keys(50, epoch=1), keys(50, purpose=2)):
        assert not (draw(other, config=EVERYTHING).rotation_rad == first.rotation_rad).any()


def test_switching_one_thing_on_changes_no_other():
    both = draw(keys(50), config=EVERYTHING)
    some = draw(keys(50), config=AugmentConfig(max_rotation_deg=15))
    assert torch.equal(both.rotation_rad, some.rotation_rad)
    assert torch.equal(both.turns, some.turns)
    assert (some.blur_fwhm_arcsec == 0).all() and (some.core_radius_px == 0).all() and (some.subpixel_x_px == 0).all()


def test_draws_fill_their_ranges_and_never_sharpen_or_deepen():
    draws = draw(keys(4000), config=EVERYTHING)
    for values, low, high in (
        (draws.rotation_rad, -np.radians(15), np.radians(15)),
        (draws.subpixel_x_px, -0.5, 0.5),
        (draws.subpixel_y_px, -0.5, 0.5),
        (draws.blur_fwhm_arcsec, 0, 0.8),
        (draws.depth_loss_mag, 0, 0.5),
    ):
        assert kstest((values.numpy() - low) / (high - low), "uniform").pvalue > 1e-3
    dropped = draws.core_radius_px > 0
    assert dropped.float().mean() == pytest.approx(0.5, abs=0.03)
    assert draws.core_radius_px.max() <= 3
    assert len(draws.noise_key.unique()) == 4000


def test_moves_cover_the_dihedral_group():
    image = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(400, 1, 1, 1)
    config = AugmentConfig(dihedral=True, max_shift_px=0)
    out = move(image, draws=draw(keys(400), config=config))
    forms = {tuple(o.flatten().tolist()) for o in out}
    assert len(forms) == 8
    assert torch.equal(out.flatten(1).sort(dim=1).values, image.flatten(1))


def test_moves_are_rot90_then_flip_then_a_mirrored_shift():
    images = torch.randn(60, 2, 9, 9)
    config = AugmentConfig(dihedral=True, max_shift_px=3)
    draws = draw(keys(60), config=config)
    out = move(images, draws=draws)
    for i in range(60):
        expected = np.rot90(images[i].numpy(), int(draws.turns[i]), axes=(-2, -1))
        expected = expected[..., ::-1] if draws.mirror[i] else expected
        by = (0, int(draws.shift_y_px[i]), int(draws.shift_x_px[i]))
        np.testing.assert_allclose(out[i], shift(expected, by, order=0, mode="mirror"), atol=0)


def test_shifts_reach_their_limit_and_not_beyond():
    config = AugmentConfig(dihedral=False, max_shift_px=2)
    image = torch.zeros(200, 1, 16, 16)
    image[:, :, 8, 8] = 1
    out = move(image, draws=draw(keys(200), config=config))
    rows = out.sum(dim=(1, 3)).argmax(dim=1) - 8
    columns = out.sum(dim=(1, 2)).argmax(dim=1) - 8
    assert set(rows.tolist()) == set(columns.tolist()) == {-2, -1, 0, 1, 2}


def test_no_augmentation_changes_nothing():
    images, good = noisy(3)
    assert torch.equal(move(images, draws=still(3)), images)
    out, mask = perturbed(images, good, still(3), STILL)
    assert torch.equal(out, images) and torch.equal(mask, good)
    assert not STILL.changes_pixels and EVERYTHING.changes_pixels


@pytest.mark.parametrize(("dy", "dx", "degrees"), [(0.4, -0.3, 0), (0, 0, 12), (0, 0, -30), (0.25, 0.5, 20)])
def test_resampling_is_scipy_s_rotation_then_shift(dy, dx, degrees):
    draws = replace(
        still(),
        subpixel_y_px=torch.tensor([dy]),
        subpixel_x_px=torch.tensor([dx]),
        rotation_rad=torch.tensor([np.radians(degrees)], dtype=torch.float32),
    )
    image = stars() + 0.2 * torch.randn(64, 64, generator=torch.Generator().manual_seed(9))  # up to the edges
    out, good = resample(image, good=torch.ones_like(image, dtype=torch.bool), draws=draws)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    back = np.array([[c, -s], [s, c]])  # output (y, x) -> input (y, x), for a turn from +x towards +y
    centre = np.full(2, 31.5)
    offset = centre - back @ (centre + (dy, dx))
    expected = affine_transform(image[0, 0].numpy(), back, offset=offset, order=3, mode="mirror")
    assert np.abs(out[0, 0].numpy() - expected).max() < 1e-5
    assert good.all()
    assert np.abs(image[0, 0].numpy() - expected).max() > 0.05  # something moved
    assert np.abs(out[0, 0].numpy() - expected)[[0, -1]].max() < 1e-5


def test_a_rotation_goes_from_x_towards_y():
    image = torch.zeros(1, 3, 65, 65)
    image[:, :, 32, 52] = 1.0
    draws = replace(still(), rotation_rad=torch.tensor([np.radians(30)], dtype=torch.float32))
    out, _ = resample(image, good=torch.ones_like(image, dtype=torch.bool), draws=draws)
    y, x = divmod(int(out[0, 0].argmax()), 65)
    assert (x - 32, y - 32) == (17, 10)


def test_a_pixel_without_a_number_is_bad_whatever_its_mask_says():
    images, good = noisy(1)
    images[0, 2, 30, 30] = torch.nan
    for config in (EVERYTHING, AugmentConfig(max_depth_loss_mag=0.1), AugmentConfig(max_psf_blur_arcsec=0.5)):
        out, mask = perturbed(images, good, draw(keys(1), config=config), config)
        assert torch.isfinite(out).all()
        assert not mask[0, 2].all() and mask[0, 0, :20].all()


def test_masks_follow_and_bad_pixels_reach_no_good_one():
    draws = replace(
        still(),
        rotation_rad=torch.tensor([np.radians(20)], dtype=torch.float32),
        subpixel_x_px=torch.tensor([0.5]),
        blur_fwhm_arcsec=torch.tensor([0.7]),
    )
    images, good = noisy(1)
    good[0, 1, 20:24, 40:44] = False
    outs = []
    for value in (torch.nan, 1e6, -5.0):
        spoilt = torch.where(good, images, value)
        outs.append(perturbed(spoilt, good, draws, EVERYTHING.model_copy(update={"core_dropout_probability": 0.0})))
    (first, mask), *others = outs
    for out, other_mask in others:
        assert torch.equal(mask, other_mask)
        assert torch.equal(torch.where(mask, first, 0.0), torch.where(mask, out, 0.0))
    assert torch.isfinite(first).all()
    assert mask[0, 0].all() and mask[0, 2].all()
    n_bad = int((~mask[0, 1]).sum())
    assert 16 <= n_bad <= 64
    y, x = torch.nonzero(~mask[0, 1]).float().mean(dim=0) - 31.5
    angle, radius = np.radians(20), (10.0, -10.0)  # the hole was at (x, y) = (10, -10)
    expected = (np.cos(angle) * radius[0] - np.sin(angle) * radius[1] + 0.5, np.sin(angle) * 10 + np.cos(angle) * -10)
    assert (float(x), float(y)) == pytest.approx(expected, abs=0.7)


@pytest.mark.parametrize("fwhm_arcsec", [0.3, 0.8, 1.5])
def test_psf_jitter_widens_by_quadrature_and_keeps_the_flux(fwhm_arcsec):
    image = stars()
    draws = replace(still(), blur_fwhm_arcsec=torch.tensor([fwhm_arcsec]))
    config = STILL.model_copy(update={"max_psf_blur_arcsec": 2.0})
    out, good = perturbed(image, torch.ones_like(image, dtype=torch.bool), draws, config)
    added = fwhm_arcsec / 0.262 / 2.354820
    assert torch.allclose(out.sum(dim=(-2, -1)), image.sum(dim=(-2, -1)), rtol=2e-3)
    expected = stars(sigma_px=np.hypot(2.0, added)) * (4.0 / (4.0 + added**2))
    assert (out - expected).abs().max() < 0.012
    assert out.max() < image.max()


def test_the_noise_a_blur_takes_away_is_put_back():
    images = 0.01 * torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    good = torch.ones_like(images, dtype=torch.bool)
    draws = replace(draw(keys(6), config=STILL), blur_fwhm_arcsec=torch.full((6,), 1.2))
    blurred = gaussian_filter(images.numpy(), (0, 0, 1.945, 1.945))
    assert blurred.std() < 0.2 * 0.01  # the oracle: without the top-up most of it is gone
    out, _ = perturbed(images, good, draws, STILL.model_copy(update={"max_psf_blur_arcsec": 2.0}))
    assert out.std().item() == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize("loss_mag", [0.1, 0.5, 1.0])
def test_depth_jitter_raises_the_noise_of_each_band_by_its_own_level(loss_mag):
    levels = torch.tensor([0.002, 0.004, 0.008])[None, :, None, None]
    images = levels * torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(3)) + stars(8)
    good = torch.ones_like(images, dtype=torch.bool)
    draws = replace(draw(keys(8), config=STILL), depth_loss_mag=torch.full((8,), loss_mag))
    out, _ = perturbed(images, good, draws, STILL.model_copy(update={"max_depth_loss_mag": 1.0}))
    before, after = (ring_level(i, good=good, inner_fraction=0.7).sigma for i in (images, out))
    torch.testing.assert_close(after / before, torch.full((8, 3), 10 ** (0.4 * loss_mag)), rtol=0.08, atol=0)
    assert (after / before).mean().item() == pytest.approx(10 ** (0.4 * loss_mag), rel=0.015)
    assert (out - images).mean().abs() < 1e-4


def test_core_dropout_masks_the_centre_and_nothing_else():
    images, good = noisy(2)
    draws = replace(still(2), core_radius_px=torch.tensor([0.0, 2.5]))
    out, mask = perturbed(images, good, draws, STILL.model_copy(update={"core_dropout_probability": 1.0}))
    assert torch.equal(out, images)
    assert mask[0].all()
    radius = torch.hypot(AXIS, AXIS[:, None])
    assert torch.equal(mask[1], (radius >= 2.5).expand(3, 64, 64))


@pytest.mark.parametrize("size", [64, 101])
def test_a_stamp_is_perturbed_alike_in_any_batch(size):
    images = torch.randn(9, 3, size, size)
    good = torch.rand(9, 3, size, size) < 0.999
    draws = draw(keys(9), config=EVERYTHING)
    whole, mask = perturbed(images, good, draws, EVERYTHING)
    for part in (slice(0, 1), slice(4, 9), slice(8, 9)):
        own = AugmentDraws(**{f.name: getattr(draws, f.name)[part] for f in fields(AugmentDraws)})
        out, out_mask = perturbed(images[part], good[part], own, EVERYTHING)
        assert torch.equal(out, whole[part]) and torch.equal(out_mask, mask[part])
    assert torch.isfinite(whole).all()


def test_splitmix64_is_the_published_generator():
    """First outputs for seed 1234567, of the reference implementation (rosettacode.org/wiki/Pseudo-random_numbers)."""
    golden = 0x9E3779B97F4A7C15
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = [(1234567 + i * golden) % 2**64 for i in range(4)]
    signed = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states])
    assert [v % 2**64 for v in splitmix64(signed).tolist()] == published


def test_counter_noise_is_normal_independent_and_keyed():
    noise = normal_noise(torch.arange(40), shape=(3, 64, 64))
    assert kstest(noise.flatten()[::7].numpy(), "norm").pvalue > 1e-3
    assert noise.std().item() == pytest.approx(1, abs=5e-3)
    flat = noise.flatten(1)
    correlation = np.corrcoef(flat.numpy()) - np.eye(40)
    assert np.abs(correlation).max() < 5 / np.sqrt(flat.shape[1])
    for offset in (1, 64, 4096):  # neighbours along x, y and band
        assert abs((flat[:, offset:] * flat[:, :-offset]).mean()) < 0.01
    assert torch.equal(noise[7:8], normal_noise(torch.tensor([7]), shape=(3, 64, 64)))


def test_added_noise_has_the_coadd_s_correlation_and_unit_variance():
    noise = coadd_noise(torch.arange(60), n_bands=3, size_px=64)[..., 4:-4, 4:-4]
    assert noise.std().item() == pytest.approx(1, abs=5e-3)
    for lagged in (noise[..., 1:, :] * noise[..., :-1, :], noise[..., 1:] * noise[..., :-1]):
        assert lagged.mean().item() == pytest.approx(COADD_LAG1, abs=0.01)


def test_a_network_that_is_told_seeing_and_depth_is_told_the_changed_ones():
    draws = replace(still(2), blur_fwhm_arcsec=torch.tensor([0.0, 0.9]), depth_loss_mag=torch.tensor([0.3, 0.0]))
    fwhm, depth = seeing_and_depth(torch.full((2, 3), 1.2), torch.full((2, 3), 24.0), draws=draws)
    torch.testing.assert_close(fwhm, torch.tensor([[1.2] * 3, [1.5] * 3]))
    lost = 2.5 * np.log10(1.5 / 1.2)
    torch.testing.assert_close(depth, torch.tensor([[23.7] * 3, [24.0 - lost] * 3], dtype=torch.float32))


def test_draws_move_to_a_device_whole():
    moved = draw(keys(3), config=EVERYTHING).to("meta")
    assert all(getattr(moved, f.name).device.type == "meta" for f in fields(AugmentDraws))
