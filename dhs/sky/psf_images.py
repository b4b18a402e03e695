"""PSF images that come with cutouts (a coadd's PSF for each object and band): checked, recentred, measured.

A PSF image holds the share of a star's flux that falls into each pixel, the star at the middle of an odd square. Its
centre is that of a Gaussian-weighted centroid, which noise and lopsided wings do not move. Up to SURVEY_OFFSET_PX
it is the survey's own business (its astrometry is made with the same PSF) and nothing is touched; up to
MAX_OFFSET_PX the image is shifted back by Fourier interpolation, which is said; beyond, and for every other fault,
the file is refused with the galaxy and the band named.
"""

import logging
from pathlib import Path

import numpy as np

from dhs.constants import BANDS

FLUX_RANGE = (0.9, 1.02)
"""Sum of a PSF image: what lies outside 63 px of a coadd PSF is a few per cent at most."""

NEGATIVE_LIMIT = 0.02
"""Negative pixels down to this share of the peak are noise."""

SURVEY_OFFSET_PX, MAX_OFFSET_PX = 0.1, 1.0
"""A coadd PSF of DR9 lies within 0.03 px of its centre; 0.5 px is a kernel made with an even side."""

MIN_SIZE_PX = 9

log = logging.getLogger("dhs")


def checked_psf_images(images: np.ndarray, *, path: Path, names: list[str]) -> np.ndarray:
    """(N, bands, K, K) float32 of ``images`` as a file has them, recentred where they need it.

    Raises:
        ValueError: one line with file, cutout, band and value.
    """
    if images.ndim != 4 or images.shape[:2] != (len(names), len(BANDS)) or images.shape[2] != images.shape[3]:
        raise _fault(path, f"psf has shape {images.shape}", f"({len(names)}, {len(BANDS)}, K, K) or (3, K, K)")
    size = images.shape[-1]
    if size % 2 == 0 or size < MIN_SIZE_PX:
        raise _fault(
            path, f"psf is {size} px wide", f"an odd number of pixels from {MIN_SIZE_PX} on, the star in the middle"
        )
    out = images.astype(np.float64)
    worst = 0.0
    for row, band in np.ndindex(*images.shape[:2]):
        image = out[row, band]
        where = f"psf of {names[row]!r} in {BANDS[band]}"
        _check_flux(image, path=path, where=where)
        x, y = centroid_px(image)
        offset = float(np.hypot(x, y))
        if not offset <= MAX_OFFSET_PX:
            raise _fault(
                path, f"{where} is off its middle by ({x:+.2f}, {y:+.2f}) px", f"{MAX_OFFSET_PX} px; recentre it"
            )
        if offset > SURVEY_OFFSET_PX:
            out[row, band] = shifted(image, -x, -y)
            worst = max(worst, offset)
    if worst > 0:
        log.warning("%s: PSF images were off their middle by up to %.2f px and have been recentred", path, worst)
    return out.astype(np.float32)


def centroid_px(image: np.ndarray) -> tuple[float, float]:
    """(x, y) of the star from the middle: iterated centroid under a Gaussian of the star's own width."""
    axis = np.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    peak_y, peak_x = np.unravel_index(int(image.argmax()), image.shape)
    x, y = float(axis[peak_x]), float(axis[peak_y])
    sigma = fwhm_px(image) / 2.355
    for _ in range(50):
        weight = image * np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * sigma**2))
        total = weight.sum()
        step_x, step_y = (weight.sum(axis=0) @ axis) / total - x, (weight.sum(axis=1) @ axis) / total - y
        # The weight halves the step of a Gaussian of its own width.
        x, y = x + 2 * step_x, y + 2 * step_y
        if max(abs(step_x), abs(step_y)) < 1e-5:
            break
    return x, y


def fwhm_px(image: np.ndarray, *, zoom: int = 8) -> float:
    """Diameter of the circle of the area above half the peak, after ``zoom`` times Fourier interpolation."""
    size = image.shape[-1]
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    before = zoom * size // 2 - size // 2  # zero frequency to the middle of the wider spectrum
    wide = np.pad(spectrum, (before, (zoom - 1) * size - before))
    fine = np.fft.ifft2(np.fft.ifftshift(wide)).real
    return float(2 * np.sqrt(np.count_nonzero(fine >= fine.max() / 2) / np.pi) / zoom)


def shifted(image: np.ndarray, x_px: float, y_px: float) -> np.ndarray:
    """``image`` moved by (+x, +y) pixels, its sum kept."""
    rows, columns = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])
    phase = np.exp(-2j * np.pi * (columns * x_px + rows * y_px))
    return np.fft.ifft2(np.fft.fft2(image) * phase).real


def _check_flux(image: np.ndarray, *, path: Path, where: str) -> None:
    if not np.isfinite(image).all():
        raise _fault(path, f"{where} is not finite", "the share of a star's flux in each pixel")
    flux = image.sum()
    if not FLUX_RANGE[0] <= flux <= FLUX_RANGE[1]:
        raise _fault(
            path, f"{where} sums to {flux:.4g}", f"{FLUX_RANGE[0]} to {FLUX_RANGE[1]}, the share of a star's flux"
        )
    if image.min() < -NEGATIVE_LIMIT * image.max():
        raise _fault(
            path, f"{where} falls to {image.min():.3g}", f"not below -{NEGATIVE_LIMIT} of its peak, {image.max():.3g}"
        )


def _fault(path: Path, what: str, allowed: str) -> ValueError:
    return ValueError(f"{path}: {what}; allowed: {allowed}")
