"""Physics that needs no oracle: analytic magnification, Einstein radius, flux, positions."""

import numpy as np
import pytest
import torch

from dhs.lens.psf import convolve_bands, gaussian_kernel, moffat_kernel
from dhs.lens.raytrace import SourcePlacement, trace_arcs, trace_dense
from dhs.lens.sie import LensParameters, radial_caustics, source_plane

SCALE, TEMPLATE_SCALE = 0.262, 0.03


def lens(theta_e=0.0, q=1.0, phi=0.0, gamma1=0.0, gamma2=0.0, x=0.0, y=0.0, n=1) -> LensParameters:
    return LensParameters(*(torch.full((n,), float(v)) for v in (theta_e, q, phi, gamma1, gamma2, x, y)))


def gaussian_template(sigma_px: float = 6.0) -> torch.Tensor:
    axis = torch.arange(96) - 47.5
    image = torch.exp(-(axis**2 + axis[:, None] ** 2) / (2 * sigma_px**2))
    image = torch.where(image > 1e-6, image, 0.0)
    return (image / image.sum())[None]


def trace(
    model: LensParameters,
    x: float = 0.0,
    y: float = 0.0,
    *,
    template: torch.Tensor | None = None,
    size: int = 64,
    supersampling: int = 4,
) -> torch.Tensor:
    zero = torch.zeros(1)
    return trace_arcs(
        (gaussian_template() if template is None else template)[:, None],
        row=torch.zeros(1, dtype=torch.int64),
        lens=model,
        placement=SourcePlacement(zero + x, zero + y, zero, zero + 1.43),
        template_pixel_scale_arcsec=TEMPLATE_SCALE,
        size_px=size,
        pixel_scale_arcsec=SCALE,
        supersampling=supersampling,
    )[0, 0]


def test_without_a_lens_the_flux_is_the_sources_flux():
    assert trace(lens(), 0.3, -0.2).sum().item() == pytest.approx(1.0, abs=1e-3)


def test_without_a_lens_the_light_stays_where_the_source_is():
    image = trace(lens(), 1.0, -0.5).numpy()
    axis = (np.arange(64) - 31.5) * SCALE
    assert (image.sum(axis=0) * axis).sum() == pytest.approx(1.0, abs=2e-3)
    assert (image.sum(axis=1) * axis).sum() == pytest.approx(-0.5, abs=2e-3)


@pytest.mark.parametrize("beta", [0.3, 0.6])
def test_a_small_source_behind_a_round_lens_has_the_sis_magnification(beta):
    # SIS: mu = 2 theta_E / beta inside the caustic (Schneider, Ehlers & Falco 1992, section 8.1.4).
    template = gaussian_template(3.0)
    axis = (np.arange(96) - 47.5) * TEMPLATE_SCALE
    expected = (template[0].numpy() * 2 * 1.2 / np.hypot(axis + beta, axis[:, None])).sum()  # mean over the source
    total = trace(lens(theta_e=1.2), beta, 0.0, template=template, supersampling=8).sum().item()
    assert total == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("q", [1.0, 0.7, 0.4])
def test_the_critical_curve_has_the_geometric_mean_radius_theta_e(q):
    """On the SIE's critical curve psi = b, an ellipse of semi-axes b/q and b: geometric mean theta_E."""
    theta_e, step = 1.3, 1e-3
    x = torch.arange(-4.0, 4.0, 0.005, dtype=torch.float64)
    model = LensParameters(*(v.double() for v in lens(theta_e=theta_e, q=q)))

    def crossing(dx: float, dy: float) -> float:
        def determinant(r: torch.Tensor) -> torch.Tensor:
            px, py = r * dx, r * dy
            right, left = source_plane(px + step, py, lens=model), source_plane(px - step, py, lens=model)
            up, down = source_plane(px, py + step, lens=model), source_plane(px, py - step, lens=model)
            a11, a21 = (right[0] - left[0]) / (2 * step), (right[1] - left[1]) / (2 * step)
            a12, a22 = (up[0] - down[0]) / (2 * step), (up[1] - down[1]) / (2 * step)
            return a11 * a22 - a12 * a21

        radii = x[x > 0.2]
        values = determinant(radii)
        return float(radii[int(torch.argmax((values > 0).int()))])

    assert np.sqrt(crossing(1, 0) * crossing(0, 1)) == pytest.approx(theta_e, rel=5e-3)


def test_the_exact_centre_and_round_lenses_are_finite():
    for q in (1.0, 0.5):
        x, y = source_plane(torch.zeros(1), torch.zeros(1), lens=lens(theta_e=1.0, q=q))
        assert torch.isfinite(x).all()
        assert torch.isfinite(y).all()
        assert abs(x.item()) < 1e-6


def test_sources_inside_the_caustic_have_several_images_and_outside_one():
    q, theta_e = 0.7, 1.2
    polygon = radial_caustics(np.array([theta_e]), axis_ratio=np.array([q]), phi_rad=np.array([0.4]))[0]
    model = lens(theta_e=theta_e, q=q, phi=0.4)
    for scale, several in ((0.9, True), (1.2, False)):
        for vertex in polygon[::8] * scale:
            image = trace(model, *vertex, template=gaussian_template(1.0), size=96, supersampling=6)
            labels = _n_islands(image.numpy() > 1e-6)
            assert (labels >= 2) == several, (scale, vertex)


def _n_islands(mask: np.ndarray) -> int:
    from scipy.ndimage import label

    return label(mask, structure=np.ones((3, 3)))[1]


def test_bilinear_sampling_is_grid_sample_up_to_and_beyond_the_edge():
    """A template that is bright to its very edge, unlensed, seen through every ray: only its own pixels interpolate."""
    rng = np.random.default_rng(5)
    templates = torch.tensor(rng.random((3, 2, 20, 20)), dtype=torch.float32)
    n, zero = 3, torch.zeros(3)
    model = lens(n=n)
    placement = SourcePlacement(torch.tensor([0.0, 0.4, -0.3]), zero + 0.1, torch.tensor([0.0, 0.7, 2.0]), zero + 9)
    settings = {"template_pixel_scale_arcsec": 0.3, "size_px": 40, "pixel_scale_arcsec": 0.2, "supersampling": 4}
    ours = trace_arcs(templates, row=torch.arange(n), lens=model, placement=placement, **settings)
    theirs = trace_dense(templates, lens=model, placement=placement, **settings)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kernel_size", [9, 33, 65, 101])
@pytest.mark.parametrize("effective", [False, True])
def test_a_point_source_stays_where_it_is(kernel_size, effective):
    fwhm = torch.tensor([0.7, 1.1, 1.3, 2.2])
    image = torch.zeros(4, 64, 64)
    image[:, 30, 35] = 1.0
    for kernels in (
        moffat_kernel(fwhm, beta=3.5, size_px=kernel_size, pixel_scale_arcsec=SCALE),
        gaussian_kernel(fwhm, size_px=kernel_size, pixel_scale_arcsec=SCALE),
    ):
        out = convolve_bands(image[:, None], kernels[:, None], effective=effective)[:, 0]
        window = out[:, 26:35, 31:40].double().numpy()
        axis = np.arange(9) - 4
        for star in window:
            assert abs((star.sum(axis=0) * axis).sum() / star.sum()) < 1e-3
            assert abs((star.sum(axis=1) * axis).sum() / star.sum()) < 1e-3


def test_convolution_is_linear_and_does_not_wrap():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 0, 0] = 1.0
    kernel = moffat_kernel(torch.tensor([1.3]), beta=3.5, size_px=33, pixel_scale_arcsec=SCALE)[:, None]
    out = convolve_bands(image, kernel, effective=False)[0, 0]
    assert out[40:, :].abs().max() < 1e-8
    assert out[:, 40:].abs().max() < 1e-8
    torch.testing.assert_close(out[:17, :17], kernel[0, 0, 16:, 16:], rtol=0, atol=1e-8)


def test_the_flux_outside_the_kernel_is_lost_not_renormalised():
    # Moffat: flux within r is 1 - (1 + (r/a)^2)^(1 - beta).
    kernel = moffat_kernel(torch.tensor([1.3]), beta=3.5, size_px=33, pixel_scale_arcsec=SCALE)[0]
    wide = moffat_kernel(torch.tensor([1.3]), beta=3.5, size_px=401, pixel_scale_arcsec=SCALE)[0]
    assert wide.double().sum().item() == pytest.approx(1.0, abs=2e-5)
    assert 5e-4 < 1 - kernel.double().sum().item() < 4e-3


@pytest.mark.parametrize("kernel", ["moffat", "gaussian"])
def test_the_kernel_has_the_fwhm_asked_for(kernel):
    fwhm = 1.3
    make = {
        "moffat": lambda f: moffat_kernel(f, beta=3.5, size_px=401, pixel_scale_arcsec=0.01),
        "gaussian": lambda f: gaussian_kernel(f, size_px=401, pixel_scale_arcsec=0.01),
    }[kernel]
    row = make(torch.tensor([fwhm]))[0][200].numpy()
    above = np.flatnonzero(row >= row.max() / 2)
    assert (above[-1] - above[0]) * 0.01 == pytest.approx(fwhm, abs=0.0201)  # half-maxima fall between samples


def _fine_grid_truth(fwhm: float, *, with_pixel: bool) -> np.ndarray:
    """An arc convolved on an 8 times finer grid with the Moffat; sampled at pixel centres (effective) or averaged."""
    fine, n = 8, 64
    image = trace_dense(
        gaussian_template(4.0)[:, None],
        lens=lens(theta_e=1.4, q=0.7, phi=0.5),
        placement=SourcePlacement(torch.tensor([0.2]), torch.tensor([0.1]), torch.zeros(1), torch.tensor([1.43])),
        template_pixel_scale_arcsec=TEMPLATE_SCALE,
        size_px=n * fine,
        pixel_scale_arcsec=SCALE / fine,
        supersampling=1,
    )
    kernel = moffat_kernel(torch.tensor([fwhm]), beta=3.5, size_px=33 * fine + 1, pixel_scale_arcsec=SCALE / fine)
    out = convolve_bands(image, kernel[:, None], effective=False)[0, 0].double()
    cells = out.reshape(n, fine, n, fine)
    if with_pixel:
        return cells.sum(dim=(1, 3)).numpy()
    # Centres of survey pixels lie between fine pixels: mean of the four around, a box of 1/4 pixel.
    return cells[:, 3:5, :, 3:5].mean(dim=(1, 3)).numpy() * fine**2


def test_effective_psf_counts_the_pixel_once():
    """Default convention: arc * effective PSF, sampled at pixel centres. Counting twice is ten times worse."""
    truth = _fine_grid_truth(1.18, with_pixel=False)
    model = lens(theta_e=1.4, q=0.7, phi=0.5)
    arc = trace(model, 0.2, 0.1, template=gaussian_template(4.0), supersampling=8)[None, None]
    kernel = moffat_kernel(torch.tensor([1.18]), beta=3.5, size_px=33, pixel_scale_arcsec=SCALE)[:, None]
    once = convolve_bands(arc, kernel, effective=True)[0, 0].numpy()
    twice = convolve_bands(arc, kernel, effective=False)[0, 0].numpy()
    error_once = np.abs(once - truth).max() / truth.max()
    error_twice = np.abs(twice - truth).max() / truth.max()
    assert error_once < 1.5e-3
    assert error_twice > 5 * error_once


def test_optical_psf_gets_the_pixel_from_the_rays():
    truth = _fine_grid_truth(1.18, with_pixel=True)
    model = lens(theta_e=1.4, q=0.7, phi=0.5)
    arc = trace(model, 0.2, 0.1, template=gaussian_template(4.0), supersampling=8)[None, None]
    kernel = moffat_kernel(torch.tensor([1.18]), beta=3.5, size_px=33, pixel_scale_arcsec=SCALE)[:, None]
    out = convolve_bands(arc, kernel, effective=False)[0, 0].numpy()
    assert np.abs(out - truth).max() / truth.max() < 4e-3
