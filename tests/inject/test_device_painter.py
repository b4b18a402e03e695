"""Painting from plans on a device: the same stamps and decisions as `Injector.stamps`, whatever the configuration."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import dhs.inject.batch_plan as batch_plan
from dhs.config.injection import SurveyPsf
from dhs.inject.acceptance import CUTS
from dhs.inject.batch_plan import Planner
from dhs.inject.build import build_injector
from dhs.inject.device_build import build_device_painter
from dhs.inject.device_painter import Painted, TryQueue, settle_brightness
from dhs.inject.device_sky import GIB, ResidentSky, require_room
from dhs.inject.injector import Injector
from dhs.inject.psf_model import PsfModel
from dhs.inject.renderer import build_renderer
from dhs.inject.stamp_batch import StampBatch
from dhs.lens.photometry import arc_snr
from dhs.rng import Purpose
from dhs.source.base import Templates
from dhs.source.resident import stack_of

CPU = torch.device("cpu")
ON_DEVICE = ("renderer=accelerator", "renderer.chunk_size=16", "source.n_sources=64")
INDICES = np.arange(40)
SNR = CUTS.index("arc_snr")


class Coloured:
    """64 sources with an image a band: three neighbours of a grey source."""

    name, n_sources, n_channels = "coloured", 64, 3

    def __init__(self, grey) -> None:
        stack = stack_of(grey)
        bands = [stack.images.roll(-shift, dims=0) for shift in range(3)]
        reach = [stack.support_radius_arcsec.roll(-shift) for shift in range(3)]
        self._stack = Templates(torch.cat(bands, dim=1), stack.row, torch.stack(reach).amax(dim=0))
        self.stamp_size_px, self.pixel_scale_arcsec = grey.stamp_size_px, grey.pixel_scale_arcsec
        self.choose, self.half_light_radius_arcsec = grey.choose, grey.half_light_radius_arcsec

    def stack(self) -> Templates:
        return self._stack

    def templates(self, indices) -> Templates:
        row = torch.from_numpy(np.asarray(indices))
        return Templates(self._stack.images, row, self._stack.support_radius_arcsec[row])


def with_source(injector: Injector, source, *, config) -> Injector:
    size = injector.cutouts.stamp_size_px
    renderer = build_renderer(config.renderer, source=source, psf=config.psf, size_px=size)
    return Injector(
        injector.cutouts,
        renderer=renderer,
        source=source,
        seed=config.seed,
        lens=config.lens,
        colour=config.colour,
        inject=config.inject,
    )


def with_survey_psf(injector: Injector, *, config) -> tuple[Injector, object]:
    """Each galaxy's own elliptical PSF, as an image."""
    cutouts = injector.cutouts
    rng = np.random.default_rng(5)
    e1, e2 = (torch.from_numpy(rng.uniform(-0.1, 0.1, (len(cutouts), 3)).astype(np.float32)) for _ in range(2))
    fwhm = torch.from_numpy(np.array(cutouts.psf_fwhm_arcsec))
    images = PsfModel(config.psf, size_px=64).profile(fwhm, e1=e1, e2=e2).numpy()
    config = config.model_copy(update={"psf": SurveyPsf(name="survey")})
    cutouts = replace(cutouts, psf_images=images)
    renderer = build_renderer(
        config.renderer, source=injector.source, psf=config.psf, size_px=64, psf_images=cutouts.psf_images
    )
    return Injector(
        cutouts,
        renderer=renderer,
        source=injector.source,
        seed=config.seed,
        lens=config.lens,
        colour=config.colour,
        inject=config.inject,
    ), config


def painted(injector: Injector, config, *, indices=INDICES, purpose=Purpose.TRAIN, epoch=3) -> Painted:
    painter = build_device_painter(injector, config=config, device=CPU)
    planner = Planner(injector, psf=config.psf, send_pixels=not config.renderer.resident_sky)
    return painter.paint(planner.plan(indices, purpose=purpose, epoch=epoch))


def assert_same(device: Painted, stamps: StampBatch, injector: Injector, *, tolerance=1e-5) -> None:
    """Images to ``tolerance`` of each arc's peak, decisions exactly."""
    injected = stamps.recipes.injected
    background = torch.from_numpy(np.array(injector.cutouts.images[stamps.recipes.row]))
    peak = (stamps.images - background).abs().amax(dim=(1, 2, 3))
    error = (device.pixels.images - stamps.images).abs().amax(dim=(1, 2, 3))
    assert injected.any()
    assert (~injected).any()
    assert (error[injected] < tolerance * peak[injected]).all(), error / peak
    assert (error[~injected] == 0).all()
    assert torch.equal(device.pixels.good, stamps.good)
    rejected = stamps.rejected[injected]
    assert device.settled.geometry.tolist() == rejected[:, 1:SNR].sum(axis=1).tolist()
    assert device.settled.brightness.tolist() == rejected[:, SNR].tolist()
    assert device.settled.accepted.tolist() == stamps.accepted[injected].tolist()


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("renderer.resident_sky=false", "inject.controls=paired"),
        ("psf.ellipticity_sigma=0.05", "renderer.supersampling=2"),
        ("psf=gaussian", "psf.convention=optical", "inject.arc_noise=poisson_correlated"),
        ("lens=photometric", "colour=seed_sed", "inject.acceptance.max_tries=7"),
        ("lens=natural", "inject.acceptance.max_tries=1"),
        ("inject.acceptance.min_magnification=8", "inject.acceptance.max_tries=3"),
    ],
    ids=" ".join,
)
def test_a_plan_gives_the_stamps_and_decisions_of_the_workers(small_config, overrides):
    config = small_config(*ON_DEVICE, *overrides)
    injector = build_injector(config)
    stamps = injector.stamps(INDICES, purpose=Purpose.TRAIN, epoch=3)
    device = painted(injector, config)
    # Poisson noise goes with the root of the flux, so that 1e-7 of the peak becomes much more where an arc is faint.
    assert_same(device, stamps, injector, tolerance=1e-4 if config.inject.arc_noise != "none" else 1e-5)
    if "inject.acceptance.max_tries=3" in overrides:
        assert not device.settled.accepted.all(), "no arc whose tries were used up: the comparison misses that case"


def test_an_image_a_band_and_a_psf_an_object(small_config):
    config = small_config(*ON_DEVICE)
    injector = build_injector(config)
    coloured = with_source(injector, Coloured(injector.source), config=config)
    assert_same(painted(coloured, config), coloured.stamps(INDICES, purpose=Purpose.TRAIN, epoch=3), coloured)
    surveyed, survey_config = with_survey_psf(injector, config=config)
    stamps = surveyed.stamps(INDICES, purpose=Purpose.TRAIN, epoch=3)
    assert_same(painted(surveyed, survey_config), stamps, surveyed)
    assert not torch.equal(stamps.images, injector.stamps(INDICES, purpose=Purpose.TRAIN, epoch=3).images)


def test_the_fixed_set_and_a_batch_without_arcs(small_config):
    config = small_config(*ON_DEVICE)
    injector = build_injector(config)
    first = np.arange(16, 32)  # of 24 positives
    device = painted(injector, config, indices=first, purpose=Purpose.VAL, epoch=0)
    assert_same(device, injector.stamps(first, purpose=Purpose.VAL), injector)
    last = np.arange(24, 32)
    device = painted(injector, config, indices=last, purpose=Purpose.VAL, epoch=0)
    assert torch.equal(device.pixels.images, injector.stamps(last, purpose=Purpose.VAL).images)
    assert len(device.settled.geometry) == 0


@pytest.mark.parametrize("noise", ["none", "poisson"])
def test_a_stamp_is_the_same_alone_and_in_any_batch(small_config, noise):
    """Bit for bit on the CPU, within one shape of chunk."""
    config = small_config(*ON_DEVICE, f"inject.arc_noise={noise}")
    injector = build_injector(config)
    painter = build_device_painter(injector, config=config, device=CPU)
    planner = Planner(injector, psf=config.psf, send_pixels=False)
    together = painter.paint(planner.plan(INDICES, purpose=Purpose.TRAIN)).pixels.images
    shuffled = np.random.default_rng(1).permutation(INDICES)[:25]
    others = painter.paint(planner.plan(shuffled, purpose=Purpose.TRAIN)).pixels.images
    assert torch.equal(others, together[torch.from_numpy(shuffled)])
    for i in injector.injected_indices(INDICES, purpose=Purpose.TRAIN)[:4]:
        alone = painter.paint(planner.plan(np.array([i]), purpose=Purpose.TRAIN)).pixels.images
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize(
    ("name", "mistake"),
    [("n_assigning", lambda purpose: 1), ("derived_index", lambda index, of: index)],
    ids=["another place in the stream", "another stream of brightness"],
)
def test_the_comparison_sees_other_draws(small_config, monkeypatch, name, mistake):
    config = small_config(*ON_DEVICE)
    injector = build_injector(config)
    stamps = injector.stamps(INDICES, purpose=Purpose.TRAIN, epoch=3)
    monkeypatch.setattr(batch_plan, name, mistake)
    with pytest.raises(AssertionError):
        assert_same(painted(injector, config), stamps, injector)


@pytest.mark.parametrize("at_once", [1, 3, 16, 1000])
def test_the_queue_keeps_each_arcs_first_try_that_passes(at_once):
    rng = np.random.default_rng(at_once)
    for n, tries in ((1, 1), (1, 9), (5, 1), (30, 12)):
        cut = rng.choice([0, 0, 0, 1, 2], (n, tries)).astype(np.int8)
        weak = rng.random((n, tries)) < 0.7
        queue, kept_at, n_traced = TryQueue(cut), {}, 0
        while len(queue.pending):
            owner, tried = queue.next(at_once=at_once)
            assert len(owner) <= max(at_once, len(queue.pending))
            for position in queue.settle(owner, tried, weak=weak[owner, tried]):
                kept_at[int(owner[position])] = n_traced + int(position)
            n_traced += len(owner)
        passes = (cut == 0) & ~weak
        expected = np.where(passes.any(axis=1), passes.argmax(axis=1), tries - 1)
        assert queue.kept.tolist() == expected.tolist()
        assert queue.passes.tolist() == passes.any(axis=1).tolist()
        assert len(kept_at) == n
        assert n_traced <= ((cut == 0).sum() + (cut[:, -1] != 0).sum())


def test_the_first_flux_whose_sn_passes_is_taken_else_the_last():
    rng = np.random.default_rng(2)
    unit = torch.from_numpy(rng.random((9, 3, 8, 8)).astype(np.float32))
    flux = torch.from_numpy(rng.uniform(0, 2, (9, 6, 3)).astype(np.float32))
    invvar, good = torch.full_like(unit, 4.0), torch.from_numpy(rng.random(unit.shape) < 0.9)
    snr = torch.stack(
        [arc_snr(unit * flux[:, k, :, None, None], invvar=invvar, good=good).integrated.amax(dim=1) for k in range(6)]
    )
    limit = float(snr.flatten().quantile(0.85))
    passes = (snr >= limit).T.numpy()
    chosen, bright = settle_brightness(unit, flux, invvar=invvar, good=good, min_arc_snr_sum=limit)
    assert chosen.tolist() == np.where(passes.any(axis=1), passes.argmax(axis=1), 5).tolist()
    assert bright.tolist() == passes.any(axis=1).tolist()
    assert bright.any()
    assert not bright.all()


def test_the_resident_sky_is_the_sky(small_injector):
    rows = np.flatnonzero(np.arange(len(small_injector.cutouts)) % 3 == 0)
    sky = ResidentSky(small_injector.cutouts, rows=rows, device=CPU)
    asked = rows[[5, 0, 5, 11]]
    expected = small_injector.painter.pixels(asked)
    assert all(torch.equal(one, other) for one, other in zip(sky.pixels(asked), expected, strict=True))
    sky.pixels(asked).images.zero_()
    assert torch.equal(sky.pixels(asked).images, expected.images), "a batch is a copy"
    with pytest.raises(AssertionError, match="not resident"):
        sky.pixels(rows[:2] + 1)


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ({"free_bytes": 16 * GIB}, r"145000 galaxies take 13\.8 GiB.*sources 0\.7 GiB.*resident_sky=false"),
        ({"free_bytes": 4 * GIB, "is_sky_resident": False}, r"has 4\.0 GiB free; give renderer\.device=cpu"),
    ],
)
def test_a_sky_that_does_not_fit_is_refused_with_numbers(room, words):
    usual = {"n_galaxies": 145_000, "size_px": 64, "n_bands": 3, "bank_bytes": 20_000 * 96 * 96 * 4}
    with pytest.raises(ValueError, match=words):
        require_room(**usual, **{"is_sky_resident": True} | room)
    require_room(**usual, free_bytes=20 * GIB, is_sky_resident=True)
    require_room(**usual, free_bytes=5 * GIB, is_sky_resident=False)
