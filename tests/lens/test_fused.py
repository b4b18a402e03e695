"""The compiled tracer: every branch of its arithmetic, channels, adaptive sampling, bits that depend on nothing."""

import numba
import numpy as np
import pytest
import torch

from dhs.lens import fused
from dhs.lens.convolve import light_distance
from dhs.lens.radial_spectra import multiply_radial
from dhs.lens.raytrace import SourcePlacement, trace_arcs, trace_dense
from dhs.lens.sie import LensParameters

N = 24
GRID = {"template_pixel_scale_arcsec": 0.03, "size_px": 64, "pixel_scale_arcsec": 0.262}


def templates(channels: int = 1) -> torch.Tensor:
    """(N, channels, 96, 96) clumpy, unit flux, zero at the edge."""
    rng = np.random.default_rng(3)
    axis = np.arange(96) - 47.5
    radius = np.hypot(axis, axis[:, None])
    fade = np.clip((45 - radius) / 8, 0, 1)
    out = np.zeros((N, channels, 96, 96), np.float32)
    for image in out.reshape(-1, 96, 96):
        for _ in range(7):
            x, y, sigma = *rng.normal(0, 8, 2), rng.uniform(1.5, 6)
            image += rng.uniform(0.2, 1) * np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * sigma**2))
        image *= fade
        image /= image.sum()
    return torch.from_numpy(out)


def systems() -> tuple[LensParameters, SourcePlacement]:
    rng = np.random.default_rng(11)

    def u(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, N).astype(np.float32))

    theta_e, q = u(0.3, 4.0), u(0.2, 1.0)
    q[:6] = torch.tensor([1.0, 0.999999, 0.99, 0.9545, 0.9535, 0.2])  # near and far from round
    lens = LensParameters(theta_e, q, u(0, 3.14), u(-0.1, 0.1), u(-0.1, 0.1), u(-0.2, 0.2), u(-0.2, 0.2))
    placement = SourcePlacement(u(-0.6, 0.6) * theta_e, u(-0.6, 0.6) * theta_e, u(0, 6.28), torch.full((N,), 1.36))
    return lens, placement


def in_double(values):
    return type(values)(*(value.double() for value in values))


def test_the_compiled_tracer_equals_dense_tracing_in_double_precision():
    lens, placement = systems()
    ours = trace_arcs(
        templates(), row=torch.arange(N), lens=lens, placement=placement, supersampling=4, **GRID
    ).double()
    truth = trace_dense(
        templates().double(), lens=in_double(lens), placement=in_double(placement), supersampling=4, **GRID
    )
    error = (ours - truth).abs().amax(dim=(1, 2, 3)) / truth.amax(dim=(1, 2, 3))
    assert error.max() < 8e-6


def test_polynomials_for_the_arcs_are_good_to_a_few_units_in_the_last_place():
    ratio = np.concatenate([np.linspace(-8, 8, 4001), [1e-6, -1e-6, 1.0, -1.0, 0.0]]).astype(np.float32)
    ours = np.array([fused._atan_ratio.py_func(np.float32(r), np.float32(1)) for r in ratio])
    np.testing.assert_allclose(ours, np.arctan(ratio.astype(np.float64)), rtol=3e-7, atol=0)
    ratio = np.concatenate([np.linspace(-0.98, 0.98, 4001), [1e-6, -1e-4, 0.0]]).astype(np.float32)
    ours = np.array([fused._atanh_ratio.py_func(np.float32(r), np.float32(1)) for r in ratio])
    np.testing.assert_allclose(ours, np.arctanh(ratio.astype(np.float64)), rtol=2e-6, atol=0)
    flat = np.float32(0.995)  # q = 0.1, flatter than any lens drawn
    assert fused._atanh_ratio.py_func(flat, np.float32(1)) == pytest.approx(np.arctanh(np.float64(flat)), rel=2e-5)


def test_each_channel_is_traced_as_if_it_were_alone():
    lens, placement = systems()
    stack = templates(3)
    together = trace_arcs(stack, row=torch.arange(N), lens=lens, placement=placement, supersampling=4, **GRID)
    for channel in range(3):
        alone = trace_arcs(
            stack[:, channel : channel + 1],
            row=torch.arange(N),
            lens=lens,
            placement=placement,
            supersampling=4,
            **GRID,
        )
        assert torch.equal(together[:, channel], alone[:, 0])


def test_rows_of_a_stack_are_read_in_place():
    lens, placement = systems()
    row = torch.arange(N).flip(0)
    taken = trace_arcs(templates(), row=row, lens=lens, placement=placement, supersampling=2, **GRID)
    copied = trace_arcs(templates()[row], row=torch.arange(N), lens=lens, placement=placement, supersampling=2, **GRID)
    assert torch.equal(taken, copied)


def test_a_stamp_has_the_same_bits_alone_and_in_any_batch():
    lens, placement = systems()
    settings = {"supersampling": 4, **GRID}
    together = trace_arcs(templates(), row=torch.arange(N), lens=lens, placement=placement, **settings)
    for i in (0, 5, N - 1):
        one = slice(i, i + 1)
        alone = trace_arcs(
            templates(),
            row=torch.tensor([i]),
            lens=LensParameters(*(value[one] for value in lens)),
            placement=SourcePlacement(*(value[one] for value in placement)),
            **settings,
        )
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("max_error", [1e-2, 1e-3])
def test_adaptive_sampling_keeps_the_error_that_it_states(max_error):
    lens, placement = systems()
    inputs = {"row": torch.arange(N), "lens": lens, "placement": placement, **GRID}
    truth = trace_arcs(templates(), supersampling=16, **inputs)
    peak = truth.amax(dim=(1, 2, 3))
    error = (trace_arcs(templates(), supersampling=None, max_error=max_error, **inputs) - truth).abs()
    assert (error.amax(dim=(1, 2, 3)) / peak).max() < max_error
    fixed = (trace_arcs(templates(), supersampling=4, **inputs) - truth).abs()
    assert (fixed.amax(dim=(1, 2, 3)) / peak).max() > 1e-2  # what 4 x 4 leaves, before the PSF


@pytest.mark.parametrize("max_error", [1e-2, 1e-3])
def test_adaptive_sampling_keeps_the_error_for_knots_of_one_template_pixel(max_error):
    """Sources as rough as they come, 240 lenses: chance agreement of two steps must not pass for convergence."""
    rng = np.random.default_rng(17)
    n, axis = 240, np.arange(96) - 47.5
    stack = np.zeros((40, 1, 96, 96), np.float32)
    for image in stack[:, 0]:
        image += np.exp(-np.hypot(axis, axis[:, None]) / 6)
        for _ in range(12):
            x, y = rng.normal(0, 10, 2)
            image += rng.uniform(0.2, 2) * np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / 2)
        image *= np.clip((45 - np.hypot(axis, axis[:, None])) / 8, 0, 1)
        image /= image.sum()

    def u(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, n).astype(np.float32))

    theta_e = u(0.3, 4.0)
    lens = LensParameters(theta_e, u(0.2, 1), u(0, 3.14), u(-0.1, 0.1), u(-0.1, 0.1), u(-0.1, 0.1), u(-0.1, 0.1))
    placement = SourcePlacement(u(-0.6, 0.6) * theta_e, u(-0.6, 0.6) * theta_e, u(0, 6.28), torch.full((n,), 1.36))
    inputs = {"row": torch.arange(n) % 40, "lens": lens, "placement": placement, **GRID}
    truth = trace_arcs(torch.from_numpy(stack), supersampling=16, **inputs)
    ours = trace_arcs(torch.from_numpy(stack), supersampling=None, max_error=max_error, **inputs)
    error = (ours - truth).abs().amax(dim=(1, 2, 3)) / truth.amax(dim=(1, 2, 3))
    assert error.max() < max_error
    fixed = trace_arcs(torch.from_numpy(stack), supersampling=8, **inputs)
    assert ((fixed - truth).abs().amax(dim=(1, 2, 3)) / truth.amax(dim=(1, 2, 3))).max() > max_error


def test_numbas_own_threads_are_never_started():
    """They do not survive the fork of a loader's worker."""
    lens, placement = systems()
    trace_arcs(templates(), row=torch.arange(N), lens=lens, placement=placement, supersampling=2, **GRID)
    with pytest.raises(ValueError, match="not initialized"):
        numba.threading_layer()


def test_machine_code_is_compiled_before_the_first_stamp():
    assert [len(function.signatures) for function in (fused.trace_stamps, light_distance, multiply_radial)] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_the_dense_tracer_compiles_and_stays_the_same():
    if not _has_compiler():
        pytest.skip("needs a C++ compiler for torch.compile")
    lens, placement = systems()
    few = slice(0, 4)
    inputs = {
        "lens": LensParameters(*(value[few] for value in lens)),
        "placement": SourcePlacement(*(value[few] for value in placement)),
        "supersampling": 4,
        **GRID,
    }
    eager = trace_dense(templates()[few], **inputs)
    compiled = torch.compile(trace_dense, dynamic=False)(templates()[few], **inputs)
    assert (eager - compiled).abs().max() < 3e-6 * eager.max()


def _has_compiler() -> bool:
    import shutil

    return shutil.which("g++") is not None or shutil.which("clang++") is not None
