"""Renderers on real recipes: fast, dense and lenstronomy agree; threads, PSF kinds and bad PSF images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dhs.config.injection import GaussianPsf, MoffatPsf, RendererConfig, SurveyPsf
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.inject.build import build_injector
from dhs.inject.psf_model import PsfModel, with_psf_ellipticity
from dhs.inject.renderer import (
    FastRenderer,
    LenstronomyRenderer,
    build_renderer,
    lens_parameters,
    source_placement,
)
from dhs.inject.renderer_gpu import DenseRenderer
from dhs.lens.psf import moffat_kernel
from dhs.rng import Purpose

PARITY = 1e-5
MOFFAT = MoffatPsf(name="moffat")


@pytest.fixture(scope="module")
def injector(small_config):
    return build_injector(small_config())


@pytest.fixture(scope="module")
def recipes(injector):
    indices = injector.injected_indices(np.arange(80), purpose=Purpose.SHEET)[:10]
    return injector.stamps(np.array(indices), purpose=Purpose.SHEET).recipes


def settings(**changes) -> RendererConfig:
    return RendererConfig(name="fast", chunk_size=4, compile=False, **changes)


def fast(injector, psf=MOFFAT, *, images=None, **changes) -> FastRenderer:
    model = PsfModel(psf, size_px=64, images=images)
    return FastRenderer(injector.source, psf=model, config=settings(**changes), size_px=64)


def rendered(renderer, recipes) -> torch.Tensor:
    return renderer.observe(renderer.trace(recipes), recipes=recipes)


def assert_same(ours, theirs, *, tolerance=PARITY):
    error = (ours - theirs).abs().amax(dim=(-2, -1)) / theirs.amax(dim=(-2, -1))
    assert error.max() < tolerance


def reference(injector, psf, *, images=None) -> LenstronomyRenderer:
    model = PsfModel(psf, size_px=64, images=images)
    return LenstronomyRenderer(
        injector.source, psf=model, config=RendererConfig(name="lenstronomy", compile=False), size_px=64
    )


@pytest.mark.filterwarnings("ignore:Input PSF model has at least one negative element")
@pytest.mark.parametrize("psf", [MOFFAT, GaussianPsf(name="gaussian", convention="optical")])
def test_fast_equals_lenstronomy_from_ray_to_psf(injector, recipes, psf):
    pytest.importorskip("lenstronomy")
    some = recipes.take(slice(0, 4))
    assert_same(rendered(fast(injector, psf), some), rendered(reference(injector, psf), some))


@pytest.mark.filterwarnings("ignore:Input PSF model has at least one negative element")
def test_elliptical_psfs_equal_lenstronomy(injector, recipes):
    pytest.importorskip("lenstronomy")
    rng = np.random.default_rng(4)
    some = recipes.take(slice(0, 3))
    some = replace(some, psf_e1=rng.uniform(-0.2, 0.2, (3, 3)), psf_e2=rng.uniform(-0.2, 0.2, (3, 3)))
    ours = rendered(fast(injector), some)
    assert_same(ours, rendered(reference(injector, MOFFAT), some))
    assert (ours - rendered(fast(injector), recipes.take(slice(0, 3)))).abs().max() > 0.01 * ours.max()


def test_dense_equals_fast(injector, recipes):
    model = PsfModel(MOFFAT, size_px=64)
    dense = DenseRenderer(injector.source, psf=model, config=settings(), size_px=64, device=torch.device("cpu"))
    assert_same(rendered(dense, recipes), rendered(fast(injector), recipes))


def test_what_stays_on_the_device_is_what_comes_back(injector, recipes):
    """`render`, which the GPU's benchmark times, against `trace` and `observe`, and against the CPU's renderer."""
    psf = GaussianPsf(name="gaussian", convention="optical")
    model = PsfModel(psf, size_px=64)
    dense = DenseRenderer(injector.source, psf=model, config=settings(), size_px=64, device=torch.device("cpu"))
    some = recipes.take(slice(0, 4))
    templates = injector.source.templates(some.source_index)
    arcs = dense.render(
        lens_parameters(some),
        source_placement(some, templates),
        torch.from_numpy(some.source_index),
        torch.from_numpy(np.asarray(some.psf_fwhm_arcsec)),
    )
    assert torch.equal(arcs, rendered(dense, some))
    assert_same(arcs, rendered(fast(injector, psf), some))


def test_any_number_of_threads_and_any_chunk_give_the_same_bits(injector, recipes):
    one = rendered(fast(injector), recipes)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(rendered(fast(injector), recipes), one)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert torch.equal(rendered(fast(injector), recipes.take(slice(7, 8))), one[7:8])


def test_adaptive_sampling_is_nearer_to_the_truth_than_the_default(injector, recipes):
    truth = rendered(fast(injector, supersampling=8), recipes)
    fixed = (rendered(fast(injector, supersampling=2), recipes) - truth).abs().max()
    adaptive = (rendered(fast(injector, supersampling="adaptive", max_error=3e-3), recipes) - truth).abs().max()
    assert adaptive < 0.5 * fixed


def survey_images(injector, *, shift_px: float = 0.0) -> np.ndarray:
    """Coadd-like PSF images of every galaxy: its own Moffat on 63 px, perhaps off its centre."""
    fwhm = torch.from_numpy(np.asarray(injector.cutouts.psf_fwhm_arcsec))
    images = moffat_kernel(fwhm, beta=3.5, size_px=63, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC).numpy()
    return np.roll(images, round(shift_px), axis=-1)


def test_survey_psf_images_of_each_object_are_used(injector, recipes):
    images = survey_images(injector)
    ours = rendered(fast(injector, SurveyPsf(name="survey"), images=images), recipes)
    assert_same(ours, rendered(fast(injector, MoffatPsf(name="moffat", kernel_size_px=63)), recipes))


@pytest.mark.filterwarnings("ignore:Input PSF model has at least one negative element")
def test_lopsided_survey_psfs_equal_lenstronomy(injector, recipes):
    pytest.importorskip("lenstronomy")
    images = survey_images(injector)
    images = 0.9 * images + 0.1 * np.roll(images, (1, 2), axis=(-2, -1))
    some, psf = recipes.take(slice(0, 3)), SurveyPsf(name="survey")
    ours = rendered(fast(injector, psf, images=images), some)
    assert_same(ours, rendered(reference(injector, psf, images=images), some))
    mirrored = rendered(fast(injector, psf, images=images[..., ::-1]), some)
    assert (ours - mirrored).abs().max() > 100 * PARITY * ours.max()


def test_round_and_elliptical_stamps_of_one_batch_have_the_bits_they_have_alone(injector, recipes):
    mixed = replace(recipes, psf_e1=np.where(np.arange(10)[:, None] % 3 == 0, 0.1, np.zeros((10, 3))))
    together = rendered(fast(injector), mixed)
    for i in (0, 1, 9):
        assert torch.equal(rendered(fast(injector), mixed.take(slice(i, i + 1)))[0], together[i])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda images: None, "no PSF images"),
        (lambda images: images[..., :62, :62], "odd side"),
        (lambda images: np.roll(images, 1, axis=-2), "off its centre"),
        (lambda images: images * 0.5, "sums to 0.5:"),
        (lambda images: np.where(np.arange(len(images))[:, None, None, None] == 3, np.nan, images), "galaxy 3"),
    ],
)
def test_bad_psf_images_are_refused_by_name(injector, spoil, words):
    images = spoil(survey_images(injector))
    with pytest.raises(ValueError, match=words):
        PsfModel(SurveyPsf(name="survey"), size_px=64, images=images)


def test_psf_ellipticity_is_a_property_of_the_galaxy(injector):
    psf = MoffatPsf(name="moffat", ellipticity_sigma=0.03)
    first = with_psf_ellipticity(injector.cutouts, psf=psf)
    second = with_psf_ellipticity(injector.cutouts.take(slice(5, 9)), psf=psf)
    assert first.psf_e1 is not None and second.psf_e1 is not None
    np.testing.assert_array_equal(first.psf_e1[5:9], second.psf_e1)
    assert np.std(first.psf_e1) == pytest.approx(0.03, rel=0.15)
    assert abs(np.mean(first.psf_e1)) < 0.005
    assert with_psf_ellipticity(injector.cutouts, psf=MOFFAT) is injector.cutouts


def test_a_gpu_that_is_not_there_is_one_line(injector):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match="no CUDA device"):
        build_renderer(settings(device="cuda"), source=injector.source, psf=MOFFAT, size_px=64)
