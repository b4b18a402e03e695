"""Figures of pixels against numpy and arithmetic; names and labels of anybody's columns."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhs.inject.validate.measure import assign, mixed
from dhs.inject.validate.names import canonical, depth_mag, labels, split_of_path
from dhs.inject.validate.pixels import CONSTANT, DARK, NOT_FINITE, RING_STEP, USABLE, measure_pixels

SIZE = 64
AXIS = np.arange(SIZE) - (SIZE - 1) / 2
RADIUS = np.hypot(AXIS, AXIS[:, None])
NOWHERE = np.full(8, np.nan)
ALONE = np.full(8, -1)


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(4)
    noise = rng.normal(0.001, [[[0.002]], [[0.004]], [[0.01]]], size=(8, 3, SIZE, SIZE))
    return (noise + np.exp(-0.5 * (RADIUS / 4) ** 2) * np.array([0.02, 0.1, 0.3])[:, None, None]).astype(np.float32)


def arc(*, x: float, y: float, sigma: float = 2.0) -> np.ndarray:
    return np.exp(-0.5 * ((AXIS - x) ** 2 + (AXIS[:, None] - y) ** 2) / sigma**2).astype(np.float32)


def test_ring_core_and_total_are_numpys(images):
    found = measure_pixels(images, bad=None, theta_e_arcsec=NOWHERE, partner=ALONE)
    ring = images.reshape(8, 3, -1)[:, :, np.flatnonzero(RADIUS > 16)[::RING_STEP]]
    median = np.sort(ring, axis=-1)[..., (ring.shape[-1] - 1) // 2]
    away = np.sort(np.abs(ring - median[..., None]), axis=-1)[..., (ring.shape[-1] - 1) // 2]
    np.testing.assert_allclose(found.ring_median, median, rtol=1e-6)
    np.testing.assert_allclose(found.ring_sigma, 1.4826 * away, rtol=1e-5)
    np.testing.assert_allclose(found.total, images.sum(axis=(-2, -1), dtype=np.float64), rtol=1e-9)
    core = (images - median[..., None, None])[:, :, RADIUS * 0.262 < 0.5].sum(axis=-1)
    np.testing.assert_allclose(found.core, core, rtol=1e-4)
    assert np.isnan(found.arc_peak).all()


def test_a_fifth_of_the_ring_gives_its_noise_to_five_per_cent(images):
    found = measure_pixels(images, bad=None, theta_e_arcsec=NOWHERE, partner=ALONE)
    np.testing.assert_allclose(found.ring_sigma / [0.002, 0.004, 0.01], 1.0, atol=0.2)
    assert np.std(found.ring_sigma / [0.002, 0.004, 0.01]) < 0.08


def test_states_tell_nan_dark_and_constant_from_usable(images):
    images[0, 1, 5, 5] = np.nan
    images[1, 0, 0, 0] = np.inf
    images[2, 2] = 0
    images[3, 0] = 0.5
    images[4, 0], images[4, 2, 1, 1] = 0, np.nan
    found = measure_pixels(images, bad=None, theta_e_arcsec=NOWHERE, partner=ALONE)
    assert found.state.tolist() == [NOT_FINITE, NOT_FINITE, DARK, CONSTANT, NOT_FINITE, USABLE, USABLE, USABLE]
    assert np.isnan(found.total[:5]).all() and np.isfinite(found.total[5:]).all()


def test_bad_pixels_count_for_nothing(images):
    bad = np.zeros(images.shape, bool)
    bad[:, :, :20] = True
    clean = measure_pixels(images, bad=bad, theta_e_arcsec=NOWHERE, partner=ALONE)
    spoilt = images.copy()
    spoilt[bad] = 1e4
    found = measure_pixels(spoilt, bad=bad, theta_e_arcsec=NOWHERE, partner=ALONE)
    np.testing.assert_allclose(found.ring_sigma, clean.ring_sigma)
    np.testing.assert_allclose(found.total, images[:, :, 20:].sum(axis=(-2, -1), dtype=np.float64), rtol=1e-5)


def test_an_arc_stands_out_of_a_symmetric_galaxy_and_its_light_is_summed(images):
    images[:4] += arc(x=5, y=2) * np.array([0.05, 0.06, 0.07], np.float32)[:, None, None]
    theta = np.full(8, 1.4)
    partner = np.array([4, 5, 6, 7, -1, -1, -1, -1])
    found = measure_pixels(images, bad=None, theta_e_arcsec=theta, partner=partner)
    assert (found.arc_peak[:4] > 20).all() and (found.arc_peak[4:] < 5).all()
    colour = -2.5 * np.log10(found.arc_light[:4, 0] / found.arc_light[:4, 1])
    np.testing.assert_allclose(colour, -2.5 * np.log10(5 / 6), atol=0.05)
    assert (np.abs(found.arc_null[:4, 1]) < 0.1 * found.arc_light[:4, 1]).all()
    assert np.isnan(found.arc_null[4:]).all()


def test_a_ring_has_no_odd_part(images):
    images += 0.05 * np.exp(-0.5 * ((RADIUS - 6) / 1.5) ** 2).astype(np.float32)
    found = measure_pixels(images, bad=None, theta_e_arcsec=np.full(8, 1.5), partner=ALONE)
    assert (found.arc_peak < 5).all()


def test_controls_lend_their_pixels_and_borrow_radii():
    injected = np.array([1, 0, 1, 0, 1, -1])
    theta = np.array([1.0, np.nan, 2.0, np.nan, 1.5, np.nan])
    where, partner = assign(injected, theta_e_arcsec=theta, usable=np.array([1, 1, 1, 1, 0, 1], bool))
    np.testing.assert_array_equal(where, [1.0, 1.0, 2.0, 2.0, np.nan, np.nan])
    assert partner.tolist() == [1, -1, 3, -1, -1, -1]


@given(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=50, unique=True), st.integers(0, 1000))
@settings(max_examples=30)
def test_hashes_of_different_integers_differ(values, seed):
    assert len(np.unique(mixed(np.array(values), seed=seed))) == len(values)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("injected", [True, False, None], [1, 0, -1]),
        ("is_control", [1, 0, 0], [0, 1, 1]),
        ("label", [1.0, 0.0, float("nan")], [1, 0, -1]),
        ("lens_model", ["SIE", "CONTROL", "none"], [1, 0, 0]),
    ],
)
def test_labels_of_every_kind_mean_the_same(name, values, expected):
    assert labels(pa.table({name: values})).tolist() == expected


def test_depths_in_inverse_variance_become_magnitudes():
    assert depth_mag(np.array([24.3, 1000.0])) == pytest.approx([24.3, 22.5 - 2.5 * np.log10(5 / np.sqrt(1000))])


def test_a_column_of_the_wrong_type_counts_as_absent_and_folders_name_splits():
    table = pa.table({"theta_e": ["one", "two"], "psfsize_r": [1.2, None], "targetid": ["a", "b"]})
    columns = canonical(table, split=split_of_path("x/region_split=val/part-0.parquet"))
    assert "theta_e_arcsec" not in columns and np.isnan(columns["psfsize_r_arcsec"].to_numpy()[1])
    assert columns["split"].to_pylist() == ["val", "val"]
    assert len(set(columns["target_id"].to_pylist())) == 2
    assert split_of_path("split=train/part-1.parquet") == "train"
    assert split_of_path("part-1.parquet") is None
