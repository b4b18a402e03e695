"""The renderer against lenstronomy on the same sample points: 1e-5 of the peak over a wide random set."""

import numpy as np
import pytest
import torch

from dhs.lens.psf import convolve_bands, gaussian_kernel, moffat_kernel, pixel_free_kernel
from dhs.lens.raytrace import SourcePlacement, trace_arcs, trace_dense
from dhs.lens.sie import LensParameters

reference = pytest.importorskip("dhs.lens.reference", reason="needs lenstronomy")
pytest.importorskip("lenstronomy")

PARITY = 1e-5
SIZE, SCALE, TEMPLATE_SCALE = 64, 0.262, 0.03
N_SYSTEMS = 40


def galaxy(seed: int) -> np.ndarray:
    """An asymmetric clumpy template that tapers to zero: any flip, transposition or shift shows."""
    rng = np.random.default_rng(seed)
    axis = np.arange(96) - 47.5
    image = np.zeros((96, 96))
    for _ in range(6):
        x, y = rng.normal(0, 8, 2)
        sigma = rng.uniform(2, 6)
        image += rng.uniform(0.2, 1) * np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * sigma**2))
    image *= np.clip((44 - np.hypot(axis, axis[:, None])) / 6, 0, 1)
    return (image / image.sum()).astype(np.float32)


@pytest.fixture(scope="module")
def systems() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    n = N_SYSTEMS
    columns = {
        "theta_e_arcsec": rng.uniform(0.3, 4.0, n),
        "axis_ratio": rng.uniform(0.2, 1.0, n),
        "phi_rad": rng.uniform(0, np.pi, n),
        "gamma1": rng.uniform(-0.105, 0.105, n),
        "gamma2": rng.uniform(-0.105, 0.105, n),
        "lens_x_arcsec": rng.uniform(-0.4, 0.4, n),
        "lens_y_arcsec": rng.uniform(-0.4, 0.4, n),
        "source_x_arcsec": rng.uniform(-0.9, 0.9, n),
        "source_y_arcsec": rng.uniform(-0.9, 0.9, n),
        "source_rotation_rad": rng.uniform(0, 2 * np.pi, n),
        "fwhm_arcsec": rng.uniform(0.8, 2.0, n),
    }
    columns["axis_ratio"][0] = 1.0
    columns["axis_ratio"][1] = 0.999999
    columns["lens_x_arcsec"][2] = columns["lens_y_arcsec"][2] = SCALE / 8  # the exact centre of a sub-ray
    columns["source_x_arcsec"][3] = 7.9  # at the frame's edge
    return columns


def _tensors(systems: dict[str, np.ndarray], *names: str) -> list[torch.Tensor]:
    return [torch.tensor(systems[name], dtype=torch.float32) for name in names]


def _lens(systems: dict[str, np.ndarray]) -> LensParameters:
    return LensParameters(
        *_tensors(
            systems, "theta_e_arcsec", "axis_ratio", "phi_rad", "gamma1", "gamma2", "lens_x_arcsec", "lens_y_arcsec"
        )
    )


def _placement(systems: dict[str, np.ndarray], support: float = 1.4) -> SourcePlacement:
    return SourcePlacement(
        *_tensors(systems, "source_x_arcsec", "source_y_arcsec", "source_rotation_rad"),
        torch.full((N_SYSTEMS,), support),
    )


def _galaxies() -> torch.Tensor:
    return torch.from_numpy(np.stack([galaxy(i) for i in range(N_SYSTEMS)]))[:, None]


def _trace(systems: dict[str, np.ndarray], *, supersampling: int = 4) -> torch.Tensor:
    return trace_arcs(
        _galaxies(),
        row=torch.arange(N_SYSTEMS),
        lens=_lens(systems),
        placement=_placement(systems),
        template_pixel_scale_arcsec=TEMPLATE_SCALE,
        size_px=SIZE,
        pixel_scale_arcsec=SCALE,
        supersampling=supersampling,
    )


def _oracle(systems: dict[str, np.ndarray], i: int, kernel: np.ndarray | None, *, supersampling: int = 4) -> np.ndarray:
    lens = {name: float(column[i]) for name, column in systems.items() if name != "fwhm_arcsec"}
    return reference.lenstronomy_arc(
        galaxy(i),
        **lens,
        template_pixel_scale_arcsec=TEMPLATE_SCALE,
        size_px=SIZE,
        pixel_scale_arcsec=SCALE,
        supersampling=supersampling,
        kernel=kernel,
    )


def test_arcs_equal_lenstronomy_before_the_psf(systems):
    arcs = _trace(systems)[:, 0].numpy()
    for i in range(N_SYSTEMS):
        expected = _oracle(systems, i, None)
        assert np.abs(arcs[i] - expected).max() < PARITY * expected.max(), i


@pytest.mark.parametrize("supersampling", [1, 2, 6, 8])
def test_arcs_equal_lenstronomy_at_every_supersampling(systems, supersampling):
    arcs = _trace(systems, supersampling=supersampling)[:, 0].numpy()
    for i in range(0, N_SYSTEMS, 8):
        expected = _oracle(systems, i, None, supersampling=supersampling)
        assert np.abs(arcs[i] - expected).max() < PARITY * expected.max(), i


def test_culled_and_dense_tracing_agree(systems):
    dense = trace_dense(
        _galaxies(),
        lens=_lens(systems),
        placement=_placement(systems),
        template_pixel_scale_arcsec=TEMPLATE_SCALE,
        size_px=SIZE,
        pixel_scale_arcsec=SCALE,
        supersampling=4,
    )
    assert (_trace(systems) - dense).abs().max() < PARITY * dense.max()


@pytest.mark.parametrize("profile", ["moffat", "gaussian"])
def test_optical_kernels_of_every_fwhm_equal_lenstronomy(systems, profile):
    (fwhm,) = _tensors(systems, "fwhm_arcsec")
    kernels = _kernels(fwhm, profile)
    arcs = convolve_bands(_trace(systems), kernels[:, None], effective=False)[:, 0].numpy()
    for i in range(0, N_SYSTEMS, 3):
        expected = _oracle(systems, i, kernels[i].double().numpy())
        assert np.abs(arcs[i] - expected).max() < PARITY * expected.max(), i


@pytest.mark.filterwarnings("ignore:Input PSF model has at least one negative element")
def test_effective_kernels_equal_lenstronomy_given_the_pixel_free_kernel(systems):
    (fwhm,) = _tensors(systems, "fwhm_arcsec")
    kernels = _kernels(fwhm, "moffat")
    arcs = convolve_bands(_trace(systems), kernels[:, None], effective=True)[:, 0].numpy()
    for i in range(0, N_SYSTEMS, 5):
        kernel = pixel_free_kernel(kernels[i].double()).numpy()
        expected = _oracle(systems, i, kernel)
        assert np.abs(arcs[i] - expected).max() < PARITY * expected.max(), i


def _kernels(fwhm: torch.Tensor, profile: str) -> torch.Tensor:
    if profile == "moffat":
        return moffat_kernel(fwhm, beta=3.5, size_px=33, pixel_scale_arcsec=SCALE)
    return gaussian_kernel(fwhm, size_px=33, pixel_scale_arcsec=SCALE)


WRONG_CONVENTIONS = {
    "transposed axes": {"phi_rad": lambda s: np.pi / 2 - s["phi_rad"]},
    "phi clockwise": {"phi_rad": lambda s: -s["phi_rad"]},
    "sqrt(q) missing": {"theta_e_arcsec": lambda s: s["theta_e_arcsec"] / np.sqrt(s["axis_ratio"])},
    "shear sign": {"gamma1": lambda s: -s["gamma1"], "gamma2": lambda s: -s["gamma2"]},
    "source rotated clockwise": {"source_rotation_rad": lambda s: -s["source_rotation_rad"]},
}


@pytest.mark.parametrize("mistake", WRONG_CONVENTIONS)
def test_parity_would_notice_a_wrong_convention(systems, mistake):
    wrong = systems | {name: change(systems) for name, change in WRONG_CONVENTIONS[mistake].items()}
    arcs = _trace(wrong)[:, 0].numpy()
    worst = max(np.abs(arcs[i] - (e := _oracle(systems, i, None))).max() / e.max() for i in range(4, 12))
    assert worst > 1000 * PARITY
