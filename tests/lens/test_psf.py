"""Kernels and their spectra: the table, ellipticity, sizes; GalSim is the oracle of the profiles."""

import galsim
import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from dhs.lens.convolve import Convolution, light_distance
from dhs.lens.psf import (
    RINGING_PX,
    convolution_size,
    convolve_bands,
    gaussian_kernel,
    kernel_spectra,
    moffat_kernel,
    pixel_free_kernel,
)
from dhs.lens.radial_spectra import RadialSpectra

SCALE = 0.262


def moffat(fwhm: torch.Tensor, size_px: int = 33) -> torch.Tensor:
    return moffat_kernel(fwhm, beta=3.5, size_px=size_px, pixel_scale_arcsec=SCALE)


def arcs(n: int) -> torch.Tensor:
    images = torch.zeros(n, 1, 64, 64)
    rng = np.random.default_rng(2)
    for image in images:
        for _ in range(60):
            y, x = rng.integers(0, 64, 2)
            image[0, y, x] += float(rng.random())
    return images


def convolution(*, effective: bool, kernel_size_px: int = 33, size_px: int = 64) -> Convolution:
    return Convolution(size_px=size_px, kernel_size_px=kernel_size_px, effective=effective, chunk_size=4)


def central(images: torch.Tensor, *, margin: int) -> torch.Tensor:
    """``images`` without the light nearer than ``margin`` to the edge."""
    out = torch.zeros_like(images)
    out[..., margin:-margin, margin:-margin] = images[..., margin:-margin, margin:-margin]
    return out


@pytest.mark.parametrize("effective", [True, False])
@pytest.mark.parametrize("margin", [0, 10, 20])
def test_the_table_gives_what_the_kernels_own_transform_gives(effective, margin):
    """At every size of transform: light anywhere, 10 px and 20 px from the edge."""
    fwhm = torch.from_numpy(np.random.default_rng(1).uniform(0.4, 5.0, (20, 3)).astype(np.float32))
    images = central(arcs(20), margin=margin) if margin else arcs(20)
    ours = convolution(effective=effective).with_round(images, kernel_of=moffat, fwhm_arcsec=fwhm.numpy())
    truth = convolve_bands(images.double(), moffat(fwhm.double()), effective=effective)
    assert (ours - truth).abs().max() < 1e-6 * truth.max()


@pytest.mark.parametrize("margin", [1, 10, 20])
def test_kernels_of_any_shape_and_size_are_convolved_linearly(margin):
    rng = np.random.default_rng(3)
    images = central(arcs(6), margin=margin)
    for kernel_size in (9, 33, 63, 101, 255):
        kernels = torch.from_numpy(rng.random((6, 3, kernel_size, kernel_size)).astype(np.float32))
        ours = convolution(effective=False, kernel_size_px=kernel_size).with_any(
            images, kernels_of=lambda rows, kernels=kernels: kernels[rows], n_bands=3
        )
        for band in range(3):
            truth = fftconvolve(images[0, 0].double().numpy(), kernels[0, band].double().numpy(), mode="full")
            start = (kernel_size - 1) // 2
            truth = truth[start : start + 64, start : start + 64]
            assert np.abs(ours[0, band].numpy() - truth).max() < 3e-6 * truth.max()


def test_an_effective_psf_does_not_wrap_light_of_one_edge_to_the_other():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 32, 0] = 1.0
    out = convolution(effective=True).with_round(image, kernel_of=moffat, fwhm_arcsec=np.full((1, 3), 0.6))
    assert out[..., 40:].abs().max() < 3e-8  # its ringing ends 24 px from the star


def test_the_transform_is_as_small_as_the_light_allows_and_depends_on_each_stamp_alone():
    images = torch.cat([arcs(3), central(arcs(3), margin=20)])
    distance = np.empty(6, np.int64)
    light_distance(images.numpy(), distance)
    assert (distance[:3] > 55).all() and (distance[3:] <= 43).all()
    assert convolution_size(64, kernel_size_px=33, distance_px=47) == 64
    assert convolution_size(64, kernel_size_px=33) == 80
    fwhm = np.random.default_rng(5).uniform(0.8, 2.0, (6, 3))
    together = convolution(effective=True).with_round(images, kernel_of=moffat, fwhm_arcsec=fwhm)
    for i in range(6):
        alone = convolution(effective=True).with_round(images[i : i + 1], kernel_of=moffat, fwhm_arcsec=fwhm[i : i + 1])
        assert torch.equal(alone[0], together[i])


def test_the_table_serves_a_source_with_an_image_per_band():
    images = torch.cat([arcs(2), 2 * arcs(2).flip(-1), arcs(2).flip(-2)], dim=1)
    fwhm = np.full((2, 3), 1.2)
    ours = convolution(effective=True)
    together = ours.with_round(images, kernel_of=moffat, fwhm_arcsec=fwhm)
    for band in range(3):
        alone = ours.with_round(images[:, band : band + 1].contiguous(), kernel_of=moffat, fwhm_arcsec=fwhm)
        torch.testing.assert_close(together[:, band], alone[:, band], rtol=0, atol=1e-6)


def test_the_table_does_not_depend_on_what_was_asked_before():
    one, two = (RadialSpectra(moffat, size_px=64, effective=True, length=72) for _ in range(2))
    one.cover(np.array([[1.13]]))
    two.cover(np.array([[3.0, 0.5, 1.7]]))
    (a, b) = (table.at(np.array([[1.13]])) for table in (one, two))
    np.testing.assert_array_equal(a.table[a.node[0, 0]], b.table[b.node[0, 0]])
    np.testing.assert_array_equal(a.weight, b.weight)


@pytest.mark.parametrize("fwhm", [0.0, -1.0, np.nan, np.inf])
def test_a_seeing_that_is_no_positive_number_is_refused(fwhm):
    with pytest.raises(ValueError, match="must be above 0"):
        RadialSpectra(moffat, size_px=64, effective=True, length=72).cover(np.array([[1.0, fwhm]]))


@pytest.mark.parametrize(("size", "kernel"), [(64, 33), (64, 9), (64, 127), (64, 255), (40, 101), (65, 33)])
def test_convolution_is_linear_for_every_size(size, kernel):
    rng = np.random.default_rng(4)
    image = torch.from_numpy(rng.random((1, 1, size, size)).astype(np.float32))
    kernels = torch.from_numpy(rng.random((1, 1, kernel, kernel)).astype(np.float32))
    ours = convolve_bands(image, kernels, effective=False)[0, 0].double().numpy()
    full = fftconvolve(image[0, 0].double().numpy(), kernels[0, 0].double().numpy(), mode="full")
    start = (kernel - 1) // 2
    truth = full[start : start + size, start : start + size]
    assert np.abs(ours - truth).max() < 1e-5 * truth.max()
    assert convolution_size(size, kernel_size_px=kernel) < size + kernel


@pytest.mark.parametrize(("profile", "make"), [("moffat", moffat_kernel), ("gaussian", gaussian_kernel)])
@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 110.0])
def test_elliptical_kernels_are_galsims(profile, make, angle_deg):
    q, fwhm = 0.7, 1.2
    e = (1 - q) / (1 + q)
    e1, e2 = (torch.tensor([e * f(np.radians(2 * angle_deg))]).float() for f in (np.cos, np.sin))
    settings = {"beta": 3.5} if profile == "moffat" else {}
    ours = make(torch.tensor([fwhm]), size_px=33, pixel_scale_arcsec=SCALE, e1=e1, e2=e2, **settings)[0].numpy()
    psf = galsim.Moffat(beta=3.5, fwhm=fwhm) if profile == "moffat" else galsim.Gaussian(fwhm=fwhm)
    theirs = (
        psf.shear(q=q, beta=angle_deg * galsim.degrees).drawImage(nx=33, ny=33, scale=SCALE, method="no_pixel").array
    )
    assert np.abs(ours - theirs).max() < 2e-3 * theirs.max()  # GalSim's own Fourier accuracy
    turned = make(torch.tensor([fwhm]), size_px=33, pixel_scale_arcsec=SCALE, e1=e1, e2=-e2, **settings)[0].numpy()
    if angle_deg != 0:
        assert np.abs(turned - theirs).max() > 0.02 * theirs.max()


def test_a_round_kernel_is_the_limit_of_an_elliptical_one():
    fwhm = torch.tensor([1.1])
    zero = torch.zeros(1)
    elliptical = moffat_kernel(fwhm, beta=3.5, size_px=33, pixel_scale_arcsec=SCALE, e1=zero, e2=zero)
    torch.testing.assert_close(elliptical, moffat(fwhm), rtol=1e-5, atol=0)


def test_spectra_of_symmetric_kernels_are_real():
    spectra = kernel_spectra(moffat(torch.tensor([1.1])), size_px=64, effective=False)
    assert spectra.imag.abs().max() < 1e-6


@pytest.mark.parametrize(("fwhm_arcsec", "cut"), [(0.6, 3e-5), (0.8, 5e-6), (1.2, 5e-6), (1.6, 5e-6)])
def test_what_is_cut_of_a_kernel_without_its_pixel_is_as_small_as_stated(fwhm_arcsec, cut):
    kernel = moffat(torch.tensor([fwhm_arcsec], dtype=torch.float64))[0]
    length = 1024  # far beyond the ringing
    response = np.sinc(np.fft.fftfreq(length))
    spectrum = np.fft.fft2(kernel.numpy(), s=(length, length)) / (response * response[:, None])
    exact = np.roll(np.fft.ifft2(spectrum).real, (200, 200), axis=(0, 1))
    middle = slice(200 - RINGING_PX, 200 + 33 + RINGING_PX)
    kept, rest = exact[middle, middle].copy(), exact
    rest[middle, middle] = 0
    assert np.abs(rest).max() < cut * kept.max()
    assert np.abs(pixel_free_kernel(kernel).numpy() - kept).max() < cut * kept.max()
