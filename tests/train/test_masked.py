"""Masked medians and ring levels against numpy, on both of their paths."""

import numpy as np
import pytest
import torch
from scipy.stats import median_abs_deviation

from dhs.train.masked import MIN_RING_PIXELS, _filled, masked_median, radii_px, ring_level, rings


def lower_median(values: np.ndarray) -> float:
    return float(np.sort(values)[(len(values) - 1) // 2]) if len(values) else float("nan")


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_a_masked_median_is_that_of_the_valid_values_for_any_number_of_them(n):
    rng = np.random.default_rng(n)
    values = rng.normal(size=(n + 1, n)).astype(np.float32)
    valid = np.stack([rng.permutation(n) < count for count in range(n + 1)])
    out = masked_median(torch.from_numpy(values), valid=torch.from_numpy(valid)).numpy()
    expected = np.array([lower_median(v[ok]) for v, ok in zip(values, valid, strict=True)])
    np.testing.assert_array_equal(out, expected.astype(np.float32))


def test_the_path_of_an_accelerator_gives_the_same_medians():
    """On a GPU the filled rows go to torch's median; the filling is the same code here."""
    values = torch.randn(50, 33)
    valid = torch.rand(50, 33) < torch.linspace(0.05, 1, 50)[:, None]
    valid[:, 0] = True
    filled = _filled(values, valid=valid, n_valid=valid.sum(dim=1)).median(dim=1).values
    assert torch.equal(filled, masked_median(values, valid=valid))


def test_masked_values_may_be_anything():
    values, valid = torch.randn(4, 20), torch.ones(4, 20, dtype=torch.bool)
    valid[:, 3:9] = False
    clean = masked_median(values, valid=valid)
    values[:, 3:9] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 0.0])
    assert torch.equal(masked_median(values, valid=valid), clean)


@pytest.mark.parametrize(("size", "fraction"), [(64, 0.5), (101, 0.5), (64, 0.7)])
def test_the_ring_level_is_median_and_mad_of_the_good_pixels_outside(size, fraction):
    rng = np.random.default_rng(5)
    image = rng.normal(3.0, 0.5, (2, size, size)).astype(np.float32)
    good = rng.random((2, size, size)) < 0.9
    level = ring_level(torch.from_numpy(image), good=torch.from_numpy(good), inner_fraction=fraction)
    axis = np.arange(size) - (size - 1) / 2
    outside = np.hypot(axis, axis[:, None]) > fraction * size / 2
    for i in range(2):
        values = image[i][outside & good[i]]
        assert level.centre[i].item() == pytest.approx(np.median(values), abs=1e-3)
        assert level.sigma[i].item() == pytest.approx(1.4826 * median_abs_deviation(values), rel=2e-3)


def test_a_ring_with_too_few_good_pixels_has_no_level():
    image, good = torch.randn(2, 64, 64), torch.zeros(2, 64, 64, dtype=torch.bool)
    good[0, 0, :MIN_RING_PIXELS] = True
    good[1, 0, : MIN_RING_PIXELS - 1] = True
    level = ring_level(image, good=good, inner_fraction=0.5)
    assert torch.isfinite(level.sigma).tolist() == [True, False]
    assert torch.isfinite(level.centre).tolist() == [True, False]


@pytest.mark.parametrize("size", [64, 101])
def test_rings_hold_every_pixel_once(size):
    ring = rings(size, torch.device("cpu"))
    members = ring.members[ring.is_member]
    assert torch.equal(members.sort().values, torch.arange(size * size))
    radius = radii_px(size, torch.device("cpu")).flatten()
    for r, (pixels, ok) in enumerate(zip(ring.members, ring.is_member, strict=True)):
        assert (radius[pixels[ok]].floor() == r).all()
        assert int(ok.sum()) == (ring.counts[r] if ok.any() else 0)
