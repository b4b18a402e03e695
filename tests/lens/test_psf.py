"""Kernels and their spectra: the table, ellipticity, sizes; GalSim is the oracle of the profiles."""

import galsim
import numpy as np
import pytest
import torch

from dhs.lens.psf import convolution_size, convolve_bands, gaussian_kernel, kernel_spectra, moffat_kernel
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


@pytest.mark.parametrize("effective", [True, False])
def test_the_table_gives_what_the_kernels_own_transform_gives(effective):
    fwhm = torch.from_numpy(np.random.default_rng(1).uniform(0.4, 5.0, (20, 3)).astype(np.float32))
    table = RadialSpectra(moffat, size_px=64, effective=effective)
    images = arcs(20)
    direct = convolve_bands(images, moffat(fwhm), effective=effective)
    error = (table.convolve(images, fwhm_arcsec=fwhm.numpy()) - direct).abs().max() / direct.max()
    assert error < 2e-6


def test_the_table_serves_a_source_with_an_image_per_band():
    images = torch.cat([arcs(2), 2 * arcs(2).flip(-1), arcs(2).flip(-2)], dim=1)
    fwhm = np.full((2, 3), 1.2, np.float32)
    table = RadialSpectra(moffat, size_px=64, effective=True)
    together = table.convolve(images, fwhm_arcsec=fwhm)
    for band in range(3):
        assert torch.equal(together[:, band], table.convolve(images[:, band : band + 1], fwhm_arcsec=fwhm)[:, band])


def test_seeing_outside_the_table_is_known():
    table = RadialSpectra(moffat, size_px=64, effective=True)
    assert table.covers(np.array([0.3, 6.0]))
    assert not table.covers(np.array([0.29]))
    assert not table.covers(np.array([np.nan]))


@pytest.mark.parametrize(("size", "kernel"), [(64, 33), (64, 9), (64, 127), (64, 255), (40, 101), (65, 33)])
def test_convolution_is_linear_for_every_size(size, kernel):
    rng = np.random.default_rng(4)
    image = torch.from_numpy(rng.random((1, 1, size, size)).astype(np.float32))
    kernels = torch.from_numpy(rng.random((1, 1, kernel, kernel)).astype(np.float32))
    ours = convolve_bands(image, kernels, effective=False)[0, 0].double().numpy()
    from scipy.signal import fftconvolve

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
