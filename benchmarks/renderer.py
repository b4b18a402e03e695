"""The renderer beside its peers, its stages, its threads, its adaptive setting, and the GPU where there is one.

64 wide-prior systems, clumpy 96x96 sources, 4x4 rays, three bands with Moffat kernels of their own.
"""

from typing import Any

import numpy as np
import torch

from benchmarks.measure import Rows, interleaved, rows_from
from benchmarks.peers import CachedLenstronomy, FunctionalCaustics, usual_lenstronomy
from dhs.config.cli import compose_job
from dhs.config.injection import RendererConfig
from dhs.config.root import TrainConfig
from dhs.constants import PIXEL_SCALE_ARCSEC, SOURCE_PIXEL_SCALE_ARCSEC
from dhs.inject.build import build_injector
from dhs.inject.psf_model import PsfModel
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import FastRenderer, LenstronomyRenderer, lens_parameters, source_placement
from dhs.lens.convolve import Convolution
from dhs.lens.raytrace import SourcePlacement, trace_arcs
from dhs.lens.sie import LensParameters
from dhs.rng import Purpose
from dhs.source.base import Source
from dhs.source.build import build_source

ROUNDS = 9
N_SYSTEMS = 64
SIZE_PX = 64
H200_TFLOPS, H200_TBYTES = 67.0, 4.8
"""Peak float32 arithmetic and memory bandwidth (NVIDIA H200 SXM datasheet)."""
FLOPS_PER_RAY = 90
"""Counted in dhs/lens/sie.py and grid_sample: deflection about 60, mapping 14, bilinear 16."""


def renderer() -> Rows:
    """One thread, one run, peers beside us."""
    torch.set_num_threads(1)
    config, recipes, source = _setting()
    ours, reference = _fast(config, source), _lenstronomy(config, source)
    model = PsfModel(config.psf, size_px=SIZE_PX)
    kernels = model.kernels(recipes)
    templates = source.templates(recipes.source_index).each()[:, 0]
    few = recipes.take(np.arange(16))
    cached = CachedLenstronomy(size_px=SIZE_PX, supersampling=4)
    caustics = FunctionalCaustics(size_px=SIZE_PX, supersampling=4)
    double = templates.numpy().astype(np.float64)
    rates = interleaved(
        {
            "dhs": lambda: _render(ours, recipes),
            "lenstronomy, three ImageModel calls": lambda: usual_lenstronomy(reference, few, None),
            "lenstronomy, grid and model reused, one ray trace": lambda: cached.render(
                recipes, double, kernels.numpy(), scale=SOURCE_PIXEL_SCALE_ARCSEC
            ),
            "caustics, functional, 4x grid, grid_sample, FFT, batches of 8": lambda: caustics.render(
                recipes, templates, kernels, batch=8
            ),
            "caustics, the same, batches of 32": lambda: caustics.render(recipes, templates, kernels, batch=32),
        },
        rounds=ROUNDS,
    )
    part = {"part": "renderer, one thread", "unit": "stamps/s"}
    rows: Rows = []
    for peer in list(rates)[1:]:
        rows += rows_from({"dhs": rates["dhs"], peer: rates[peer]}, against=peer, **part)[:1]
    return rows + rows_from({name: rates[name] for name in list(rates)[1:]}, **part)


def stages() -> Rows:
    """Microseconds of each stage, per stamp, one thread."""
    torch.set_num_threads(1)
    config, recipes, source = _setting()
    ours = _fast(config, source)
    traced = ours.trace(recipes)
    templates = source.templates(recipes.source_index)
    lens, placement = lens_parameters(recipes), source_placement(recipes, templates)
    away = placement._replace(x_arcsec=placement.x_arcsec + 1000.0)  # every pixel is dark
    model = PsfModel(config.psf, size_px=SIZE_PX)
    bare = Convolution(size_px=SIZE_PX, kernel_size_px=model.kernel_size_px, effective=model.effective, chunk_size=16)
    n_bands = recipes.psf_fwhm_arcsec.shape[1]

    def trace(where: SourcePlacement) -> int:
        trace_arcs(
            templates.images,
            row=templates.row,
            lens=lens,
            placement=where,
            template_pixel_scale_arcsec=SOURCE_PIXEL_SCALE_ARCSEC,
            size_px=SIZE_PX,
            pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
            supersampling=4,
        )
        return len(recipes)

    def transforms() -> int:
        bare.convolve_with(traced, n_bands=n_bands, multiply=lambda spectra, *_: np.repeat(spectra, n_bands, axis=1))
        return len(recipes)

    def gathering() -> int:
        lens_parameters(recipes), source_placement(recipes, source.templates(recipes.source_index))
        return len(recipes)

    rates = interleaved(
        {
            "all": lambda: _render(ours, recipes),
            "recipes to tensors": gathering,
            "trace, coarse pass alone: one ray a pixel, footprint bound": lambda: trace(away),
            "trace, coarse and fine pass": lambda: trace(placement),
            "PSF, FFTs alone: one forward, three inverse": transforms,
            "PSF, FFTs and kernels": lambda: len(ours.observe(traced, recipes=recipes)),
        },
        rounds=ROUNDS,
    )
    times = {name: [1e6 / rate for rate in values] for name, values in rates.items()}
    return rows_from(times, part="renderer stages, one thread", unit="us/stamp")


def threads() -> Rows:
    """One thread against two, 256 systems."""
    config, recipes, source = _setting()
    many = recipes.take(np.tile(np.arange(len(recipes)), 8))
    ours = _fast(config, source)

    def work(n: int) -> int:
        torch.set_num_threads(n)
        return _render(ours, many)

    rates = interleaved({"1 thread": lambda: work(1), "2 threads": lambda: work(2)}, rounds=ROUNDS)
    torch.set_num_threads(1)
    return rows_from(rates, part="renderer threads", unit="stamps/s", against="1 thread")


def accuracy() -> Rows:
    """Fixed and adaptive supersampling: rate, one thread."""
    torch.set_num_threads(1)
    config, recipes, source = _setting()
    candidates = {}
    for name, change in {
        "4 x 4": {"supersampling": 4},
        "2 x 2": {"supersampling": 2},
        "8 x 8": {"supersampling": 8},
        "adaptive to 1e-2 of the peak": {"supersampling": "adaptive", "max_error": 1e-2},
        "adaptive to 1e-3 of the peak": {"supersampling": "adaptive", "max_error": 1e-3},
    }.items():
        settings = RendererConfig.model_validate({**config.renderer.model_dump(), **change})
        one = FastRenderer(source, psf=PsfModel(config.psf, size_px=SIZE_PX), config=settings, size_px=SIZE_PX)
        candidates[name] = lambda one=one: _render(one, recipes)
    return rows_from(
        interleaved(candidates, rounds=5), part="renderer accuracy settings", unit="stamps/s", against="4 x 4"
    )


def gpu() -> Rows:
    """The dense renderer on a CUDA device: bank and kernels included, distance to the memory and arithmetic limits."""
    if not torch.cuda.is_available():
        print("  skipped: no CUDA device here; on an H200 run make bench ARGS=renderer_gpu")
        return []
    from dhs.inject.renderer_gpu import DenseRenderer

    config, recipes, source = _setting()
    device = torch.device("cuda")
    rows: Rows = []
    for batch in (256, 1024):
        settings = config.renderer.model_copy(update={"device": "cuda", "chunk_size": batch, "compile": True})
        dense = DenseRenderer(
            source, psf=PsfModel(config.psf, size_px=SIZE_PX), config=settings, size_px=SIZE_PX, device=device
        )
        many = recipes.take(np.resize(np.arange(len(recipes)), batch))
        templates = source.templates(many.source_index)
        lens = LensParameters(*(value.to(device) for value in lens_parameters(many)))
        placement = SourcePlacement(*(value.to(device) for value in source_placement(many, templates)))
        # Every template of the bank is as likely as another: the bank is read, not a cache of 64.
        row = torch.from_numpy(np.random.default_rng(1).integers(0, source.n_sources, batch)).to(device)
        fwhm = torch.from_numpy(many.psf_fwhm_arcsec).float().to(device)

        def work(
            dense: Any = dense, lens: Any = lens, placement: Any = placement, row: Any = row, fwhm: Any = fwhm
        ) -> int:
            for _ in range(20):
                dense.render(lens, placement, row, fwhm)
            torch.cuda.synchronize()
            return 20 * len(row)

        rates = interleaved({f"batches of {batch}": work}, rounds=ROUNDS)
        new = rows_from(rates, part="renderer on the GPU", unit="stamps/s")
        rays = SIZE_PX**2 * 16
        arithmetic = new[0]["median"] * rays * FLOPS_PER_RAY / (H200_TFLOPS * 1e12)
        memory = new[0]["median"] * (4 * SIZE_PX**2 * 4 + 96 * 96 * 4 + 4 * 80 * 41 * 8 * 3) / (H200_TBYTES * 1e12)
        limits = {
            f"batches of {batch}: share of an H200's float32 peak": [100 * arithmetic],
            f"batches of {batch}: share of an H200's bandwidth, at the least traffic": [100 * memory],
        }
        rows += new + rows_from(limits, part="renderer on the GPU", unit="%")
    return rows


def _setting() -> tuple[TrainConfig, RecipeBatch, Source]:
    """The quickstart's priors, every draw taken; optical kernels, which every peer can use."""
    overrides = ["inject.acceptance.max_tries=1", "psf.convention=optical", "max_galaxies=2048"]
    config = compose_job("train", overrides, schema=TrainConfig)
    injector = build_injector(config)
    indices = injector.injected_indices(np.arange(4 * N_SYSTEMS), purpose=Purpose.BENCHMARK)[:N_SYSTEMS]
    recipes = injector.stamps(np.array(indices), purpose=Purpose.BENCHMARK).recipes
    return config, recipes, build_source(config.source)


def _fast(config: TrainConfig, source: Source) -> FastRenderer:
    return FastRenderer(source, psf=PsfModel(config.psf, size_px=SIZE_PX), config=config.renderer, size_px=SIZE_PX)


def _lenstronomy(config: TrainConfig, source: Source) -> LenstronomyRenderer:
    return LenstronomyRenderer(
        source, psf=PsfModel(config.psf, size_px=SIZE_PX), config=config.renderer, size_px=SIZE_PX
    )


def _render(one: FastRenderer, recipes: RecipeBatch) -> int:
    one.observe(one.trace(recipes), recipes=recipes)
    return len(recipes)
