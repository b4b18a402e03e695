"""A galaxy's picture with a round PSF in place of the telescope's: deconvolution and convolution in one FFT.

Each picture is divided by its own PSF's transfer function and multiplied with a round Gaussian's (and a pixel's). The
Gaussian is at least ``intrinsic_psf_fwhm_arcsec`` wide, and at least so wide that no spatial frequency is amplified
more than MAX_GAIN times: with the seeds' 0.10 arcsec the frequencies near 5 cycles per arcsec gain 2.2 on ACS images,
which is where deconvolution artefacts come from; MAX_GAIN = 1.25 asks for about 0.13.

This is what GalSim's RealGalaxy, Convolve and drawImage do (GalSim is the oracle of the tests, 1e-3 of the peak), ten
times faster: picture and PSF are on the same pixels, so that neither has to be interpolated in Fourier space, and the
quotient needs no images four times as wide. Only noise whitening calls GalSim.

Shapes: pictures (y, x), centre at (n-1)/2; F padded Fourier grid.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import fft

MAX_GAIN = 1.25
"""Largest amplification of a spatial frequency by deconvolution and convolution together."""
MIN_TRANSFER = 1e-5
"""Where the telescope passes less than this there is nothing to divide: GalSim's kvalue_accuracy."""
PADDING_PX = 40
"""Zeros beyond the picture, wider than the reach of the quotient of two PSFs."""
GRID_STEP_PX = 32
"""Fourier grids are multiples of this: few of them, so that their phases are computed once."""
PSF_GRID_PX = 64
"""Frequencies at which the narrowest Gaussian is looked for; not fewer than pixels in a PSF picture."""
FWHM_TO_SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))


class Drawn(NamedTuple):
    """A picture with a round PSF."""

    picture: np.ndarray
    """(y, x) float64, flux per pixel of the asked scale."""
    psf_fwhm_arcsec: float


def smallest_psf_fwhm_arcsec(psf: np.ndarray, *, pixel_scale_arcsec: float) -> float:
    """FWHM of the narrowest Gaussian G with |G(f)| <= MAX_GAIN |P(f)| at every frequency f, P the PSF's transfer.

    ``G = exp(-2 pi^2 sigma^2 f^2)`` gives ``sigma^2 >= -ln(MAX_GAIN |P|) / (2 pi^2 f^2)``.
    """
    size = max(PSF_GRID_PX, *psf.shape)
    transfer = np.abs(fft.rfft2(psf, s=(size, size)).ravel()[1:]) / psf.sum()
    frequency2 = _frequency2((size, size)).ravel()[1:] / pixel_scale_arcsec**2
    needed = -np.log(np.maximum(MAX_GAIN * transfer, 1e-6)) / (2 * np.pi**2 * frequency2)
    return float(np.sqrt(max(needed.max(), 0.0)) / FWHM_TO_SIGMA)


def draw(
    picture: np.ndarray,
    psf: np.ndarray,
    *,
    input_scale_arcsec: float,
    scale_arcsec: float,
    min_fwhm_arcsec: float,
    max_size_px: int,
) -> Drawn:
    """``picture`` deconvolved from ``psf`` (both on pixels of the input scale), with a round PSF, on asked pixels.

    The result covers the picture's own extent, at most ``max_size_px`` wide, about the same centre.
    """
    fwhm = max(min_fwhm_arcsec, smallest_psf_fwhm_arcsec(psf, pixel_scale_arcsec=input_scale_arcsec))
    zoom = scale_arcsec / input_scale_arcsec
    grid = tuple(-(-(n + PADDING_PX) // GRID_STEP_PX) * GRID_STEP_PX for n in picture.shape)
    spectrum = fft.rfft2(picture, s=grid) * _kernel(psf, grid=grid, sigma_px=fwhm * FWHM_TO_SIGMA / input_scale_arcsec)
    spectrum *= _pixel(grid, width_px=zoom)
    if abs(zoom - 1) < 1e-6:
        drawn = fft.irfft2(spectrum, s=grid)[
            _middle(picture.shape[0], max_size_px), _middle(picture.shape[1], max_size_px)
        ]
    else:
        drawn = _sampled(spectrum, grid=grid, shape=picture.shape, max_size_px=max_size_px, zoom=zoom)
    return Drawn(drawn, fwhm)


def draw_whitened(
    picture: np.ndarray,
    psf: np.ndarray,
    *,
    correlation: np.ndarray,
    noise_variance: float,
    input_scale_arcsec: float,
    scale_arcsec: float,
    min_fwhm_arcsec: float,
    max_size_px: int,
    seed: int,
) -> tuple[Drawn, float]:
    """As `draw`, with GalSim's noise added that makes the picture's noise white, and that noise's variance a pixel.

    Whitening adds noise: the deconvolved noise is raised at every frequency to the power it has at its strongest one.
    """
    import galsim

    fwhm = max(min_fwhm_arcsec, smallest_psf_fwhm_arcsec(psf, pixel_scale_arcsec=input_scale_arcsec))
    images = [
        galsim.Image(np.ascontiguousarray(each), scale=input_scale_arcsec) for each in (picture, psf, correlation)
    ]
    # The tuple is how GalSim's own COSMOSGalaxy makes a RealGalaxy without a catalogue (GalSim real.py).
    parts = (*images, input_scale_arcsec, noise_variance)
    galaxy = galsim.RealGalaxy(parts, rng=galsim.BaseDeviate(seed), flux_rescale=1.0)
    seen = galsim.Convolve(galaxy, galsim.Gaussian(fwhm=fwhm), galsim.Pixel(scale_arcsec))
    ny, nx = (min(round(n * input_scale_arcsec / scale_arcsec), max_size_px) for n in picture.shape)
    image = seen.drawImage(nx=nx, ny=ny, scale=scale_arcsec, method="no_pixel", dtype=float)
    variance = seen.noise.whitenImage(image)
    return Drawn(image.array, fwhm), float(variance)


def _kernel(psf: np.ndarray, *, grid: tuple[int, ...], sigma_px: float) -> np.ndarray:
    """(F) Gaussian over the PSF's transfer function about the PSF picture's middle."""
    transfer = fft.rfft2(psf / psf.sum(), s=grid) * _centring(grid, psf.shape)
    target = np.exp(-2 * np.pi**2 * sigma_px**2 * _frequency2(grid))
    passed = np.abs(transfer) > MIN_TRANSFER
    return np.divide(target, transfer, out=np.zeros_like(transfer), where=passed)


def _middle(n: int, max_size_px: int) -> slice:
    """The middle of ``n`` pixels, at most ``max_size_px``, the same centre."""
    cut = max(0, -(-(n - max_size_px) // 2))
    return slice(cut, n - cut)


def _sampled(
    spectrum: np.ndarray, *, grid: tuple[int, ...], shape: tuple[int, ...], max_size_px: int, zoom: float
) -> np.ndarray:
    """Inverse transform at pixels ``zoom`` input pixels apart about the picture's middle; flux per such pixel."""
    full = fft.fft2(fft.irfft2(spectrum, s=grid))
    rows, columns = (
        np.exp(2j * np.pi * np.outer(_positions(n, zoom=zoom, max_size_px=max_size_px), fft.fftfreq(m)))
        for n, m in zip(shape, grid, strict=True)
    )
    return (rows @ full @ columns.T).real * zoom**2 / (grid[0] * grid[1])


def _positions(n: int, *, zoom: float, max_size_px: int) -> np.ndarray:
    """Pixel centres ``zoom`` input pixels apart about the middle of ``n`` input pixels."""
    side = min(round(n / zoom), max_size_px)
    return (np.arange(side) - (side - 1) / 2) * zoom + (n - 1) / 2


@lru_cache(maxsize=256)
def _frequency2(grid: tuple[int, ...]) -> np.ndarray:
    """(F) squared frequency in cycles per pixel."""
    return fft.fftfreq(grid[0])[:, None] ** 2 + fft.rfftfreq(grid[1])[None, :] ** 2


@lru_cache(maxsize=256)
def _pixel(grid: tuple[int, ...], *, width_px: float) -> np.ndarray:
    """(F) transfer function of a square pixel."""
    return np.sinc(width_px * fft.fftfreq(grid[0]))[:, None] * np.sinc(width_px * fft.rfftfreq(grid[1]))[None, :]


@lru_cache(maxsize=256)
def _centring(grid: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """(F) phase that moves the middle of a picture of ``shape`` to the first pixel."""
    rows, columns = (
        np.exp(2j * np.pi * frequency * (n - 1) / 2)
        for frequency, n in zip((fft.fftfreq(grid[0]), fft.rfftfreq(grid[1])), shape, strict=True)
    )
    return rows[:, None] * columns[None, :]
