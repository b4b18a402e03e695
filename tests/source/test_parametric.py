"""Sersic and clumpy templates: against GalSim, and what every `Source` promises."""

import pickle

import galsim
import numpy as np
import pytest
import torch

from dhs.config.base import Range
from dhs.config.source import ClumpySource, SersicSource
from dhs.source import measure
from dhs.source.build import SOURCE_KINDS, build_source
from dhs.source.clumpy import ClumpySourceBank
from dhs.source.resident import ResidentSource
from dhs.source.sersic import SersicRaster, SersicSourceBank, mirror, sersic_parameters

SCALE = 0.03
CONFIGS = {
    "sersic": SersicSource(name="sersic", seed=7, n_sources=500),
    "clumpy": ClumpySource(name="clumpy", seed=7, n_sources=500),
}


BANKS = {"sersic": SersicSourceBank, "clumpy": ClumpySourceBank}


@pytest.fixture(params=sorted(CONFIGS))
def source(request):
    return BANKS[request.param](CONFIGS[request.param])


def drawn(*, n: float, r_e: float, q: float, angle_rad: float) -> np.ndarray:
    """One pixel-integrated template with the widest taper."""
    parameters = sersic_parameters(
        np.array([[0.0, 0.0, 0.0, angle_rad / np.pi]]),
        index=Range(low=n, high=n),
        half_light_radius=Range(low=r_e, high=r_e),
        axis_ratio=Range(low=q, high=q),
        box_radius_arcsec=1.4,
    )
    return mirror(SersicRaster(96, pixel_scale_arcsec=SCALE).draw(parameters))[0].numpy()


def galsim_pixels(*, n: float, r_e: float, q: float, angle_rad: float, size: int) -> np.ndarray:
    """The same profile integrated over the pixels by GalSim in Fourier space with tight accuracy."""
    accurate = galsim.GSParams(
        folding_threshold=5e-4, maxk_threshold=1e-5, kvalue_accuracy=1e-7, maximum_fft_size=20000
    )
    profile = galsim.Sersic(n, half_light_radius=r_e, gsparams=accurate).shear(q=q, beta=angle_rad * galsim.radians)
    return profile.drawImage(nx=size, ny=size, scale=SCALE, dtype=float).array


@pytest.mark.parametrize(
    ("n", "r_e", "q", "angle_rad"),
    [(0.5, 0.10, 0.3, 0.4), (1.0, 0.20, 0.6, 2.0), (1.0, 0.1, 0.3, 0.8), (2.0, 0.15, 1.0, 0)],
)
def test_sersic_pixels_agree_with_galsim_from_the_cusp_to_three_half_light_radii(n, r_e, q, angle_rad):
    size = 20
    inner = slice((96 - size) // 2, (96 + size) // 2)
    ours = drawn(n=n, r_e=r_e, q=q, angle_rad=angle_rad)[inner, inner]
    oracle = galsim_pixels(n=n, r_e=r_e, q=q, angle_rad=angle_rad, size=size)
    oracle *= ours.sum() / oracle.sum()
    np.testing.assert_allclose(ours, oracle, atol=4e-3 * oracle.max())


def test_the_half_light_radius_of_a_compact_template_is_the_profiles():
    for n, q in ((0.5, 1.0), (1.0, 0.6), (2.0, 0.4)):
        image = drawn(n=n, r_e=0.12, q=q, angle_rad=0.3)
        measured = measure.half_light_radius_arcsec(image, pixel_scale_arcsec=SCALE)
        assert measured == pytest.approx(0.12, rel=0.03)


def test_position_angle_runs_counter_clockwise_from_x_with_rows_upwards():
    image = drawn(n=1.0, r_e=0.15, q=0.4, angle_rad=0.5)
    _, angle = measure.shape_of(image)
    assert angle == pytest.approx(0.5, abs=0.01)


def test_templates_are_finite_float32_of_unit_flux_and_never_negative(source):
    images = source.templates(np.arange(300)).each()[:, 0]
    assert images.shape == (300, 96, 96) and images.dtype == torch.float32
    assert torch.isfinite(images).all() and images.min() >= 0
    assert (images.double().sum(dim=(1, 2)) - 1).abs().max() < 1e-5


def test_templates_end_smoothly_within_their_support_and_the_box(source):
    templates = source.templates(np.arange(300))
    images, support = templates.each()[:, 0].numpy(), templates.support_radius_arcsec.numpy()
    farthest = [measure.support_radius_arcsec(image, pixel_scale_arcsec=SCALE) for image in images]
    assert (farthest <= support).all()
    assert support.max() < 1.44
    assert support.min() < 1.1, "small sources must have a small support, or culling gains nothing"
    rim = measure.radius_px(96)[None] * SCALE > (support - SCALE)[:, None, None]
    assert (np.where(rim, images, 0).max(axis=(1, 2)) < 0.01 * images.max(axis=(1, 2))).all()


def test_cutting_the_support_of_a_small_source_costs_less_than_a_thousandth_of_its_light():
    image = drawn(n=1.0, r_e=0.05, q=0.7, angle_rad=0.0)
    assert measure.support_radius_arcsec(image, pixel_scale_arcsec=SCALE) < 0.5
    oracle = galsim_pixels(n=1.0, r_e=0.05, q=0.7, angle_rad=0.0, size=96)
    centre = slice(40, 56)
    assert image[centre, centre].sum() / oracle[centre, centre].sum() == pytest.approx(1, abs=1e-3)


def test_a_template_depends_on_seed_and_index_alone(source):
    batch = source.templates(np.arange(37)).each()[:, 0]
    alone = source.templates(np.array([17])).each()[:, 0][0]
    again = BANKS[source.name](source.config).templates(np.array([400, 17, 3, 17, 250])).each()[:, 0]
    assert torch.equal(batch[17], alone), "one recipe, one stamp, bit for bit, whatever it is drawn with"
    assert torch.equal(again[1], alone) and torch.equal(again[3], alone)
    other = BANKS[source.name](source.config.model_copy(update={"seed": 8})).templates(np.array([17])).each()[:, 0][0]
    assert (other - alone).abs().max() > 1e-4
    assert (batch[0] - batch[1]).abs().max() > 1e-4


def test_a_pickled_source_gives_the_same_templates(source):
    copy = pickle.loads(pickle.dumps(source))
    assert torch.equal(copy.templates(np.arange(5)).each()[:, 0], source.templates(np.arange(5)).each()[:, 0])


def test_a_small_source_is_kept_resident_and_stays_the_same(source):
    kept = build_source(source.config)
    assert isinstance(kept, ResidentSource)
    indices = np.array([3, 499, 17, 3])
    ours, theirs = kept.templates(indices), source.templates(indices)
    assert torch.equal(ours.each(), theirs.each())
    assert torch.equal(ours.support_radius_arcsec, theirs.support_radius_arcsec)
    assert (kept.half_light_radius_arcsec(indices) == source.half_light_radius_arcsec(indices)).all()
    with pytest.raises(IndexError, match="index 500 is outside"):
        kept.templates(np.array([500]))
    large = source.config.model_copy(update={"n_sources": 10_000})
    assert not isinstance(build_source(large), ResidentSource)


@pytest.mark.parametrize("index", [-1, 500])
def test_an_index_outside_the_source_is_an_index_error(source, index):
    with pytest.raises(IndexError, match=f"index {index} is outside"):
        source.templates(np.array([0, index]))


def test_the_stated_half_light_radius_is_that_of_the_template(source):
    indices = np.arange(200)
    images = source.templates(indices).each()[:, 0].numpy()
    measured = np.array([measure.half_light_radius_arcsec(image, pixel_scale_arcsec=SCALE) for image in images])
    ratio = measured / source.half_light_radius_arcsec(indices)
    tolerance = 0.03 if source.name == "sersic" else 0.15
    assert np.percentile(np.abs(ratio - 1), 90) < tolerance
    assert np.median(ratio) == pytest.approx(1, abs=0.02)


def test_parameters_fill_their_ranges():
    p = SersicSourceBank(CONFIGS["sersic"]).parameters(np.arange(500))
    for values, low, high in (
        (p.sersic_index, 0.5, 2.5),
        (p.half_light_radius_arcsec, 0.1, 0.5),
        (p.axis_ratio, 0.3, 1),
    ):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high


def test_clumpy_galaxies_are_clumpier_than_smooth_ones_of_the_same_discs():
    clumpy, smooth = (
        np.median(
            [measure.clumpiness(image) for image in build_source(config).templates(np.arange(100)).each()[:, 0].numpy()]
        )
        for config in (CONFIGS["clumpy"], CONFIGS["sersic"].model_copy(update={"sersic_index": Range(low=0.5, high=2)}))
    )
    assert clumpy > 2 * smooth


def test_knots_hold_their_share_of_the_light_and_lie_in_the_disc():
    disc, knots = ClumpySourceBank(CONFIGS["clumpy"]).parameters(np.arange(500))
    share = knots.flux.sum(axis=1)
    assert share.min() >= 0.1 and share.max() <= 0.6
    n_knots = (knots.flux > 0).sum(axis=1)
    assert n_knots.min() == 4 and n_knots.max() == 12
    assert (np.hypot(knots.x_arcsec, knots.y_arcsec) < disc.end_arcsec[:, None]).all()


def test_another_stamp_size_and_scale_work():
    config = ClumpySource(name="clumpy", seed=1, stamp_size_px=64, pixel_scale_arcsec=0.05)
    images = build_source(config).templates(np.arange(8)).each()[:, 0]
    assert images.shape == (8, 64, 64)
    assert (images.sum(dim=(1, 2)) - 1).abs().max() < 1e-5


def test_every_kind_has_a_name_of_the_schema():
    assert SOURCE_KINDS == ("sersic", "clumpy", "cosmos", "stamps", "mixture")
