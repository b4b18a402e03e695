"""Point-spread functions as pixel kernels, and linear FFT convolution that counts the pixel once.

Which PSF a kernel is must be said. The Legacy Survey's `psfsize` describes an *effective* PSF: it already
includes the pixel. Rays give pixel-averaged flux, which includes the pixel too, so the product's spectrum is
divided by the pixel's own, ``sinc(fx) sinc(fy)`` (nowhere zero up to Nyquist), and the pixel is counted once.
An *optical* kernel does not include the pixel and is used as it is.

Kernels are sampled at pixel centres of a profile of unit total flux. What a finite kernel leaves out (1.5e-3 of a
Moffat at 33 px) falls outside; it is not renormalised away.

Ellipticity is ``(e1, e2) = (1-q)/(1+q) (cos 2phi, sin 2phi)``; the FWHM is the geometric mean of the two axes'.
Spectra are those of kernels with their centre at the origin: real for every symmetric kernel.
"""

import math

import torch
from scipy.fft import next_fast_len

RINGING_PX = 8
"""A kernel with the pixel divided out rings without end; it is cut this far beyond the kernel. What is cut alternates
in sign from pixel to pixel and stays below 5e-6 of the kernel's peak for FWHM 0.8 to 1.6 arcsec (3e-5 at 0.6): arcs,
smooth on that scale, average it away. Uncut it would wrap around the stamp."""


def moffat_kernel(
    fwhm_arcsec: torch.Tensor,
    *,
    beta: float,
    size_px: int,
    pixel_scale_arcsec: float,
    e1: torch.Tensor | None = None,
    e2: torch.Tensor | None = None,
) -> torch.Tensor:
    """Moffat (1969): ``I = (beta-1)/(pi a^2) (1 + (r/a)^2)^-beta``, ``a = FWHM / (2 sqrt(2^(1/beta) - 1))``.

    (..., size, size) of flux per pixel for ``fwhm_arcsec`` (...), in its dtype; ``size_px`` odd. ``e1``, ``e2`` (...)
    or None (round): r is then the elliptical radius of the same area.
    """
    core = (fwhm_arcsec / (2 * math.sqrt(2 ** (1 / beta) - 1)))[..., None, None]
    peak = (beta - 1) * pixel_scale_arcsec**2 / (math.pi * core**2)
    radius_squared = _radius_squared(size_px, pixel_scale_arcsec, e1=e1, e2=e2, like=fwhm_arcsec)
    # exp(log) and not a power: torch's pow rounds differently in the tail of a vector, and so by batch.
    return peak * torch.exp(-beta * torch.log1p(radius_squared / core**2))


def gaussian_kernel(
    fwhm_arcsec: torch.Tensor,
    *,
    size_px: int,
    pixel_scale_arcsec: float,
    e1: torch.Tensor | None = None,
    e2: torch.Tensor | None = None,
) -> torch.Tensor:
    """Gaussian of unit total flux; (..., size, size) for ``fwhm_arcsec``, ``e1``, ``e2`` (...)."""
    sigma = (fwhm_arcsec / (2 * math.sqrt(2 * math.log(2))))[..., None, None]
    peak = pixel_scale_arcsec**2 / (2 * math.pi * sigma**2)
    radius_squared = _radius_squared(size_px, pixel_scale_arcsec, e1=e1, e2=e2, like=fwhm_arcsec)
    return peak * torch.exp(-radius_squared / (2 * sigma**2))


def convolution_size(size_px: int, *, kernel_size_px: int, distance_px: int | None = None) -> int:
    """Side of the FFT that convolves ``size_px`` images with a kernel of ``kernel_size_px``, nothing wrapping round.

    ``distance_px``: no light is farther than this from any pixel, along x or y; None: it may lie anywhere. Wrapped
    light may fall outside the image, so distance + reach + 1 suffices.
    """
    distance = size_px - 1 if distance_px is None else distance_px
    reach = min((kernel_size_px - 1) // 2, size_px - 1)
    return int(next_fast_len(max(size_px, distance + reach + 1), real=True))


def kernel_spectra(kernels: torch.Tensor, *, size_px: int, effective: bool, length: int | None = None) -> torch.Tensor:
    """(..., L, L//2+1) complex spectra of (..., K, K) kernels, K odd, for images of ``size_px``.

    With ``effective`` the pixel is divided out. ``length``: L, by default that of light anywhere in the image.
    """
    if effective:
        kernels = pixel_free_kernel(kernels)
    if length is None:
        length = convolution_size(size_px, kernel_size_px=kernels.shape[-1])
    middle = (kernels.shape[-1] - 1) // 2
    reach = min(middle, size_px - 1)
    used = kernels[..., middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    field = used.new_zeros((*used.shape[:-2], length, length))
    # Offsets -reach ... reach to their places modulo L. Where two share a place, neither reaches from light to image.
    places = torch.arange(-reach, reach + 1, device=used.device) % length
    field[..., places[:, None], places] = used
    return torch.fft.rfft2(field)


def convolve_spectra(images: torch.Tensor, spectra: torch.Tensor) -> torch.Tensor:
    """Convolve (B, C, N, N) images with the kernels of (B, bands, L, L//2+1) ``spectra``: (B, bands, N, N).

    C is 1 (the same image for every band) or the number of bands. Linear: no light wraps into the stamp.
    """
    size, length = images.shape[-1], spectra.shape[-2]
    product = torch.fft.rfft2(images, s=(length, length)) * spectra
    # Rows that are cut off need no last transform.
    half = torch.fft.ifft(product, dim=-2)[..., :size, :]
    return torch.fft.irfft(half, n=length, dim=-1)[..., :size]


def convolve_bands(images: torch.Tensor, kernels: torch.Tensor, *, effective: bool) -> torch.Tensor:
    """Convolve (B, C, N, N) pixel-averaged images with (B, bands, K, K) kernels, K odd: (B, bands, N, N).

    C is 1 (the same image for every band) or the number of bands. Linear, without wrap-around, the kernel's centre
    pixel (K-1)/2 at the origin, so a point source stays where it is for every K, larger than N included.
    """
    return convolve_spectra(images, kernel_spectra(kernels, size_px=images.shape[-1], effective=effective))


def pixel_free_kernel(kernels: torch.Tensor) -> torch.Tensor:
    """The effective ``kernels`` (..., K, K) with the pixel divided out: (..., K + 2 RINGING_PX, K + 2 RINGING_PX)."""
    size = kernels.shape[-1] + 2 * RINGING_PX
    length = int(next_fast_len(2 * size, real=True))
    spectra = torch.fft.rfft2(kernels, s=(length, length)) * inverse_pixel_response(length, like=kernels)
    wide = torch.fft.irfft2(spectra, s=(length, length))
    return torch.roll(wide, (RINGING_PX, RINGING_PX), dims=(-2, -1))[..., :size, :size]


def inverse_pixel_response(length: int, *, like: torch.Tensor) -> torch.Tensor:
    """(L, L//2+1) 1 / (sinc(fx) sinc(fy)), the pixel's transfer function divided out."""
    kind = {"device": like.device, "dtype": like.dtype}
    rows = torch.sinc(torch.fft.fftfreq(length, **kind))[:, None]
    columns = torch.sinc(torch.fft.rfftfreq(length, **kind))
    return 1.0 / (rows * columns)


def _radius_squared(
    size_px: int,
    pixel_scale_arcsec: float,
    *,
    e1: torch.Tensor | None,
    e2: torch.Tensor | None,
    like: torch.Tensor,
) -> torch.Tensor:
    """(..., size, size) squared elliptical radius, arcsec^2: of the ellipse of the same area, q m^2 = r^2."""
    axis = (torch.arange(size_px, dtype=like.dtype, device=like.device) - (size_px - 1) / 2) * pixel_scale_arcsec
    x2, y2, xy = axis**2 + 0 * axis[:, None], axis[:, None] ** 2 + 0 * axis, axis * axis[:, None]
    if e1 is None or e2 is None:
        return x2 + y2
    # q major^2 + minor^2 / q with e = (1-q)/(1+q): ((1+e^2)(x^2+y^2) - 2 e1 (x^2-y^2) - 4 e2 xy) / (1-e^2)
    # where the sign makes the major axis the long one: along it the radius grows more slowly.
    first, second = e1[..., None, None], e2[..., None, None]
    squared = first**2 + second**2
    return ((1 + squared) * (x2 + y2) - 2 * first * (x2 - y2) - 4 * second * xy) / (1 - squared)
