"""Cleaning on pictures whose truth is known: what is kept, what is refused, and what the seeds' recipe did instead."""

import galsim
import numpy as np
import pytest

from dhs.source import measure
from dhs.source.clean import CleanLimits, Refused, clean_galaxy

SCALE = 0.03
LIMITS = CleanLimits(
    stamp_size_px=96,
    pixel_scale_arcsec=SCALE,
    denoise_sigma_px=0.5,
    min_snr=15.0,
    hlr_low_arcsec=0.1,
    hlr_high_arcsec=1.0,
    max_pedestal_fraction=0.01,
)
PSF = galsim.Gaussian(fwhm=0.13)


def picture(*, hlr=0.3, flux=3000.0, n=1.0, x=0.0, y=0.0, size=130, sky=0.0, extra=None):
    """A Sersic galaxy in white noise of unit scatter; ``extra`` is added to the scene."""
    galaxy = galsim.Sersic(n, half_light_radius=hlr, flux=flux).shear(q=0.7, beta=0.4 * galsim.radians).shift(x, y)
    scene = galsim.Convolve(galaxy if extra is None else galaxy + extra, PSF)
    noise = np.random.default_rng(5).standard_normal((size, size))
    return scene.drawImage(nx=size, ny=size, scale=SCALE).array + noise + sky


def clean(image, *, sky=0.0):
    return clean_galaxy(image, background=sky, sum_noise=1.0, limits=LIMITS)


@pytest.mark.parametrize("flux", [1500.0, 10_000.0])
@pytest.mark.parametrize("hlr", [0.18, 0.3])
def test_the_half_light_radius_of_a_galaxy_in_noise_is_recovered(hlr, flux):
    found = clean(picture(hlr=hlr, flux=flux))
    seen = np.hypot(hlr, PSF.half_light_radius)
    assert found.hlr_arcsec == pytest.approx(seen, rel=0.12)


def test_a_template_is_unit_flux_recentred_and_zero_outside_its_support():
    found = clean(picture(x=0.17, y=-0.11, flux=20_000.0))
    assert found.image.dtype == np.float32 and found.image.shape == (96, 96)
    assert found.image.sum(dtype=float) == pytest.approx(1, abs=1e-5)
    assert np.hypot(*measure.centroid_px(found.image)) < 0.2
    outside = measure.radius_px(96) * SCALE > found.support_radius_arcsec
    assert outside.any() and (found.image[outside] == 0).all()
    assert (found.image[[0, -1]] == 0).all() and (found.image[:, [0, -1]] == 0).all()
    assert abs(measure.edge_pedestal_fraction(found.image[None])[0]) < 0.01


def test_negative_noise_within_the_footprint_is_kept():
    assert clean(picture(flux=2000.0)).image.min() < 0


def test_the_background_level_is_taken_off():
    plain, lifted = clean(picture()), clean(picture(sky=2.0), sky=2.0)
    assert lifted.hlr_arcsec == pytest.approx(plain.hlr_arcsec, rel=1e-4)


def test_the_signal_to_noise_is_that_of_the_summed_flux():
    found = clean(picture(flux=6000.0))
    lower = clean(picture(flux=3000.0))
    assert found.snr / lower.snr == pytest.approx(2, rel=0.15)
    area = np.pi * (found.support_radius_arcsec / SCALE) ** 2
    assert 6000 / np.sqrt(area) < found.snr < 6000 / np.sqrt(area / 6)


def test_the_seeds_recipe_turns_noise_into_a_pedestal_and_ours_does_not():
    faint = picture(flux=1500.0, hlr=0.25)
    box = faint[17:113, 17:113]
    clipped = np.clip(box, 0, None) / np.clip(box, 0, None).sum()
    assert measure.edge_pedestal_fraction(clipped[None])[0] > 0.5
    assert measure.half_light_radius_arcsec(clipped, pixel_scale_arcsec=SCALE) > 0.7
    ours = clean(faint)
    assert measure.edge_pedestal_fraction(ours.image[None])[0] == 0
    assert ours.pedestal_fraction < 0.01
    assert ours.hlr_arcsec < 0.32


def test_a_neighbour_beside_the_galaxy_is_masked():
    alone = clean(picture())
    neighbour = galsim.Gaussian(half_light_radius=0.1, flux=1500.0).shift(1.15, 0.9)
    found = clean(picture(extra=neighbour))
    assert found.hlr_arcsec == pytest.approx(alone.hlr_arcsec, rel=0.05)
    there = found.image[74:84, 80:92]
    assert np.abs(there).max() < 0.02 * found.image.max()


@pytest.mark.parametrize(
    ("reason", "image"),
    [
        ("low_snr", picture(flux=1e-6)),
        ("low_snr", picture(flux=120.0)),
        ("truncated", picture(hlr=0.9, flux=60_000.0)),
        ("truncated", picture(hlr=0.3, flux=30_000.0, size=30)),
        ("unresolved", picture(hlr=0.01, flux=3000.0)),
        ("blended", picture(extra=galsim.Gaussian(half_light_radius=0.15, flux=2500.0).shift(0.8, 0.3))),
    ],
)
def test_a_galaxy_that_makes_no_template_is_refused_with_its_reason(reason, image):
    with pytest.raises(Refused, match=reason):
        clean(image)


def test_a_galaxy_wider_than_the_range_is_refused_as_oversized():
    narrow = CleanLimits(**{**LIMITS.__dict__, "hlr_high_arcsec": 0.2})
    with pytest.raises(Refused, match="oversized"):
        clean_galaxy(picture(), background=0.0, sum_noise=1.0, limits=narrow)


def test_light_in_the_rim_of_the_box_beyond_the_limit_is_refused_as_pedestal():
    strict = CleanLimits(**{**LIMITS.__dict__, "max_pedestal_fraction": 1e-5})
    with pytest.raises(Refused, match="pedestal"):
        clean_galaxy(picture(flux=20_000.0), background=0.0, sum_noise=1.0, limits=strict)


def test_light_that_no_detection_supports_is_refused_as_pedestal():
    sky_left_in = 0.15  # below the isophote of 0.28
    assert abs(clean(picture(flux=1500.0)).halo_fraction) < 0.05
    with pytest.raises(Refused, match="pedestal"):
        clean(picture(flux=1500.0, sky=sky_left_in))


def test_pedestal_and_flat_box_measures_know_an_empty_box():
    flat = np.full((1, 96, 96), 1 / 96**2)
    assert measure.edge_pedestal_fraction(flat)[0] == pytest.approx(1)
    radius = measure.flat_box_half_light_radius_arcsec(96, pixel_scale_arcsec=SCALE)
    assert radius == pytest.approx(1.149, abs=1e-3)
    assert measure.half_light_radius_arcsec(flat[0], pixel_scale_arcsec=SCALE) == pytest.approx(radius, rel=1e-3)
