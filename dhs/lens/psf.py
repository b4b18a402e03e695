"""Point-spread functions as pixel kernels, and linear FFT convolution that counts the pixel once.

Which PSF a kernel is must be said. The Legacy Survey's `psfsize` describes an *effective* PSF: it already
includes the pixel. Rays give pixel-averaged flux, which includes the pixel too, so the product's spectrum is
divided by the pixel's own, ``sinc(fx) sinc(fy)`` (nowhere zero up to Nyquist), and the pixel is counted once.
An *optical* kernel does not include the pixel and is used as it is.

Kernels are sampled at pixel centres of a profile of unit total flux. What a finite kernel leaves out (1.5e-3 of a
Moffat at 33 px) falls outside; it is not renormalised away.
"""

import math

import torch
from scipy.fft import next_fast_len


def moffat_kernel(fwhm_arcsec: torch.Tensor, *, beta: float, size_px: int, pixel_scale_arcsec: float) -> torch.Tensor:
    """Moffat (1969): ``I = (beta-1)/(pi a^2) (1 + (r/a)^2)^-beta``, ``a = FWHM / (2 sqrt(2^(1/beta) - 1))``.

    (..., size, size) float32 of flux per pixel for ``fwhm_arcsec`` (...); ``size_px`` odd.
    """
    core = (fwhm_arcsec / (2 * math.sqrt(2 ** (1 / beta) - 1)))[..., None, None]
    peak = (beta - 1) * pixel_scale_arcsec**2 / (math.pi * core**2)
    # exp(log) and not a power: torch's pow rounds differently in the tail of a vector, and so by batch.
    return peak * torch.exp(-beta * torch.log1p(_radius_squared(size_px, pixel_scale_arcsec) / core**2))


def gaussian_kernel(fwhm_arcsec: torch.Tensor, *, size_px: int, pixel_scale_arcsec: float) -> torch.Tensor:
    """Gaussian of unit total flux; (..., size, size) float32 for ``fwhm_arcsec`` (...)."""
    sigma = (fwhm_arcsec / (2 * math.sqrt(2 * math.log(2))))[..., None, None]
    peak = pixel_scale_arcsec**2 / (2 * math.pi * sigma**2)
    return peak * torch.exp(-_radius_squared(size_px, pixel_scale_arcsec) / (2 * sigma**2))


def convolve_bands(images: torch.Tensor, kernels: torch.Tensor, *, effective: bool) -> torch.Tensor:
    """Convolve (B, C, N, N) pixel-averaged images with (B, bands, K, K) kernels, K odd: (B, bands, N, N).

    C is 1 (the same image for every band) or the number of bands.

    Linear, without wrap-around: images are padded to at least N + K - 1 and the kernel's centre pixel
    (K-1)/2 is cut off again, so a point source stays where it is for every K, larger than N included.
    """
    size, kernel_size = images.shape[-1], kernels.shape[-1]
    padded = next_fast_len(size + kernel_size - 1, real=True)
    spectrum = torch.fft.rfft2(images, s=(padded, padded)) * torch.fft.rfft2(kernels, s=(padded, padded))
    if effective:
        spectrum = spectrum * _inverse_pixel_response(padded)
    start = (kernel_size - 1) // 2
    full = torch.fft.irfft2(spectrum, s=(padded, padded))
    return full[..., start : start + size, start : start + size]


def pixel_free_kernel(kernel: torch.Tensor, *, size_px: int) -> torch.Tensor:
    """The effective ``kernel`` (K, K) with the pixel divided out, on an odd ``size_px`` grid: for other renderers."""
    pad = (size_px - kernel.shape[-1]) // 2
    wide = torch.nn.functional.pad(kernel, (pad, pad, pad, pad))
    padded = next_fast_len(2 * size_px, real=True)
    spectrum = torch.fft.rfft2(wide, s=(padded, padded)) * _inverse_pixel_response(padded)
    return torch.fft.irfft2(spectrum, s=(padded, padded))[:size_px, :size_px]


def _radius_squared(size_px: int, pixel_scale_arcsec: float) -> torch.Tensor:
    axis = (torch.arange(size_px, dtype=torch.float32) - (size_px - 1) / 2) * pixel_scale_arcsec
    return axis**2 + axis[:, None] ** 2


def _inverse_pixel_response(padded: int) -> torch.Tensor:
    rows = torch.sinc(torch.fft.fftfreq(padded))[:, None]
    columns = torch.sinc(torch.fft.rfftfreq(padded))
    return 1.0 / (rows * columns)
