"""Measures of an arc: half-light radii that are told apart, magnitudes, counts; none of them touches the stamp."""

import numpy as np
import pytest
import torch

from dhs.inject.injector import Injector
from dhs.inject.measure import half_light_radius_arcsec
from dhs.lens.photometry import flux_nmgy
from dhs.rng import Purpose

PIXEL = 0.1


@pytest.fixture(scope="module")
def measured(small_injector: Injector):
    return small_injector.stamps(np.arange(96), purpose=Purpose.TRAIN, measure=True)


def test_half_light_radius_of_a_gaussian_and_of_a_ring():
    """Gaussian: 1.1774 sigma. A ring of radius 2 and Gaussian width w: area 2 pi 2 * 2 * 0.6745 w."""
    axis = (torch.arange(101) - 50.0) * PIXEL
    radius = torch.hypot(axis[:, None], axis)
    gaussian = torch.exp(-(radius**2) / (2 * 0.8**2))
    ring = torch.exp(-((radius - 2.0) ** 2) / (2 * 0.2**2))
    got = half_light_radius_arcsec(torch.stack([gaussian, 7 * ring]), pixel_scale_arcsec=PIXEL)
    assert got[0] == pytest.approx(1.1774 * 0.8, rel=0.005)
    assert got[1] == pytest.approx(np.sqrt(2 * 2.0 * 2 * 0.6745 * 0.2), rel=0.01)


def test_half_light_radius_counts_parts_of_pixels_and_refuses_darkness():
    four = torch.zeros(1, 8, 8)
    four[0, 2:4, 2:4] = 1.0
    assert half_light_radius_arcsec(four, pixel_scale_arcsec=1.0)[0] == pytest.approx(np.sqrt(2 / np.pi))
    one = torch.zeros(1, 8, 8)
    one[0, 4, 4] = 3.0
    assert half_light_radius_arcsec(one, pixel_scale_arcsec=1.0)[0] == pytest.approx(np.sqrt(0.5 / np.pi))
    assert np.isnan(half_light_radius_arcsec(torch.zeros(1, 4, 4), pixel_scale_arcsec=1.0)[0])


def test_the_arcs_magnitude_is_the_magnified_sources(measured):
    injected = measured.recipes.injected
    expected = measured.recipes.source_mag - 2.5 * np.log10(measured.magnification)[:, None]
    np.testing.assert_allclose(
        measured.measures.arc_mag[injected], expected[injected], atol=0.02
    )  # light off the kernel
    flux = flux_nmgy(measured.measures.arc_mag[injected]).sum()
    assert flux > flux_nmgy(measured.recipes.source_mag[injected]).sum()


def test_lensed_and_source_half_light_radii_are_different_columns(measured, small_injector):
    injected = measured.recipes.injected
    lensed, source = measured.measures.lensed_hlr_arcsec[injected], measured.measures.source_hlr_arcsec[injected]
    index = measured.recipes.source_index[injected]
    np.testing.assert_allclose(source, small_injector.source.half_light_radius_arcsec(index))
    # Surface brightness is kept: area grows as the magnification; the PSF (r: 1.2 arcsec) adds in quadrature.
    unblurred = np.sqrt(measured.magnification[injected]) * source
    assert (lensed > 0.9 * unblurred).all()
    assert np.median(lensed / source) > 2.5


def test_counts_are_two_or_four_for_most_and_every_measure_of_a_control_is_empty(measured):
    injected = measured.recipes.injected
    counts = measured.measures.image_count
    assert set(counts[injected]) <= {1, 2, 3, 4}
    assert np.isin(counts[injected], (2, 4)).mean() > 0.95
    assert (counts[~injected] == -1).all()
    assert np.isnan(measured.measures.arc_mag[~injected]).all()
    assert np.isnan(measured.measures.lensed_hlr_arcsec[~injected]).all()


def test_measuring_changes_no_stamp_and_is_left_out_unless_asked(measured, small_injector):
    plain = small_injector.stamps(np.arange(96), purpose=Purpose.TRAIN)
    assert plain.measures is None
    assert torch.equal(plain.images, measured.images)
    controls = np.flatnonzero(~measured.recipes.injected)[:3]
    alone = small_injector.stamps(controls, purpose=Purpose.TRAIN, measure=True)
    assert alone.measures is not None
    assert set(alone.columns()) == set(measured.columns())


def test_measures_do_not_depend_on_the_rest_of_the_batch(measured, small_injector):
    one = int(np.flatnonzero(measured.recipes.injected)[5])
    alone = small_injector.stamps(np.array([one]), purpose=Purpose.TRAIN, measure=True)
    for name, column in alone.columns().items():
        np.testing.assert_array_equal(column[0], measured.columns()[name][one], err_msg=name)


def test_columns_name_what_they_hold_once(measured):
    columns = measured.columns()
    assert {len(column) for column in columns.values()} == {96}
    wanted = {"arc_g_mag", "arc_r_mag", "arc_z_mag", "lensed_hlr_arcsec", "source_hlr_arcsec", "image_count"}
    wanted |= {"natural_weight", "sigma_v_km_s", "z_lens", "z_source", "n_tries", "reject_reason", "magnification"}
    assert wanted <= set(columns)
    assert set(columns["reject_reason"][~measured.recipes.injected]) == {""}
    some = measured.take(np.array([3, 1]))
    np.testing.assert_array_equal(some.columns()["magnification"], columns["magnification"][[3, 1]])
    assert torch.equal(some.images, measured.images[[3, 1]])
