"""What smooth galaxies and pure noise would measure: the two ends between which a bank's clumpiness lies.

Clumpiness alone says little: a compact galaxy has more of it than a large one, and noise has most of all. So each
source of a sample is compared with the Sersic profile of its own half-light radius, concentration and axis ratio, and
with noise that went through the seeds' recipe (denoise, clip at zero, normalise).

Shapes: n sources, S pixels a side.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import brentq
from scipy.special import gammaincinv

from dhs.rng import Purpose, keyed_rng
from dhs.source import measure
from dhs.source.check.read import BankFile

SERSIC_INDEX_RANGE = (0.3, 6.0)
OUTER_FRACTION = 0.8
"""The concentration is the radius of this share of the light over that of half of it; cores are the PSF's."""
MIN_R_E_ARCSEC = 0.02
DRAWN_AT_ONCE = 16
NOISE_CORRELATION_SIGMA_PX = 0.53
"""White noise smoothed so has, after the recipe, the clumpiness of ACS's drizzled noise (0.67,
`galsim.getCOSMOSNoise`; a test compares)."""
NOISE_DENOISE_SIGMA_PX = 0.5
"""The seeds' denoising."""
N_NOISE = 32
PSF_OF_UNKNOWN_ARCSEC = 0.10
"""FWHM of a bank of real galaxies that does not store it: the seeds'."""
FWHM_TO_SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))


@dataclass(frozen=True)
class NoiseReference:
    """Medians over N_NOISE boxes of pure noise."""

    clumpiness: float
    hlr_arcsec: float
    """Of an evenly lit box, exactly: noise scatters about it."""


@dataclass(frozen=True)
class MatchedSersic:
    """(n,) figures of the sample ``rows`` and of the smooth profiles drawn for it."""

    rows: np.ndarray
    sersic_index: np.ndarray
    r_e_arcsec: np.ndarray
    clumpiness: np.ndarray
    """Of the matched profile."""
    noise_likeness: np.ndarray
    """(source - Sersic) / (noise - Sersic): 0 as smooth as a Sersic profile, 1 as rough as noise."""


def noise_reference(bank: BankFile, *, seed: int) -> NoiseReference:
    """Noise with ACS's correlation through the seeds' recipe, on the bank's grid."""
    rng = keyed_rng(seed, Purpose.BANK, 1, 0)
    noise = rng.normal(size=(N_NOISE, bank.size_px, bank.size_px))
    sigma = np.hypot(NOISE_CORRELATION_SIGMA_PX, NOISE_DENOISE_SIGMA_PX)
    clipped = np.clip(ndimage.gaussian_filter(noise, (0, sigma, sigma), mode="wrap"), 0, None)
    box = measure.flat_box_half_light_radius_arcsec(bank.size_px, pixel_scale_arcsec=bank.pixel_scale_arcsec)
    return NoiseReference(float(np.median([measure.clumpiness(image) for image in clipped])), box)


def match_sersic(
    bank: BankFile, *, rows: np.ndarray, images: np.ndarray, clumpiness: np.ndarray, noise: NoiseReference
) -> MatchedSersic:
    """Smooth twins of (n, S, S) ``images``, the sources ``rows``, whose measured ``clumpiness`` (n,) is compared."""
    scale = bank.pixel_scale_arcsec
    fwhm = _psf_fwhm_arcsec(bank, rows)
    shapes = np.array([_shape(image, scale=scale) for image in images])
    hlr, concentration, axis_ratio, angle = shapes.T
    # Gaussian PSFs add their squared half-light radii, FWHM / 2 each, to a Gaussian's; near enough for a match.
    r_e = np.sqrt(np.maximum(hlr**2 - (0.5 * fwhm) ** 2, MIN_R_E_ARCSEC**2))
    index = np.array([sersic_index_of(value) for value in concentration])
    smooth = _draw(index, r_e, axis_ratio, angle, fwhm=fwhm, size_px=bank.size_px, scale=scale)
    twin = np.array([measure.clumpiness(image) for image in smooth])
    likeness = (clumpiness - twin) / np.maximum(noise.clumpiness - twin, 1e-3)
    return MatchedSersic(rows, index, r_e, twin, likeness)


def sersic_index_of(concentration: float) -> float:
    """Sersic index whose profile has this ratio of the radii of 80% and of half of the light, within the range."""

    def excess(n: float) -> float:
        b = gammaincinv(2 * n, 0.5)
        return float((gammaincinv(2 * n, OUTER_FRACTION) / b) ** n - concentration)

    low, high = SERSIC_INDEX_RANGE
    if excess(low) >= 0:
        return low
    return high if excess(high) <= 0 else float(brentq(excess, low, high, xtol=1e-3))


def _shape(image: np.ndarray, *, scale: float) -> tuple[float, float, float, float]:
    """Half-light radius in arcsec, concentration, axis ratio, position angle."""
    axis_ratio, angle = measure.shape_of(image)
    half = measure.half_light_radius_arcsec(image, pixel_scale_arcsec=scale)
    x0, y0 = measure.centroid_px(image)
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in image.shape), indexing="ij")
    x, y = x - x0, y - y0
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    order = np.argsort(axis_ratio * along**2 + across**2 / axis_ratio, axis=None)
    growth = np.cumsum(image.ravel()[order])
    area = int(np.argmax(growth >= OUTER_FRACTION * growth[-1])) + 1
    return half, float(np.sqrt(area / np.pi) * scale / half), axis_ratio, angle


def _psf_fwhm_arcsec(bank: BankFile, rows: np.ndarray) -> np.ndarray:
    """(n,) FWHM of the templates' PSF: stored, none for drawn profiles, else that of the seeds."""
    if "psf_fwhm_arcsec" in bank.meta:
        return np.nan_to_num(bank.meta["psf_fwhm_arcsec"][rows].astype(np.float64))
    drawn = str(bank.attributes.get("galaxy_kind", "")) in ("sersic", "clumpy")
    return np.full(len(rows), 0.0 if drawn else PSF_OF_UNKNOWN_ARCSEC)


def _draw(
    index: np.ndarray,
    r_e: np.ndarray,
    axis_ratio: np.ndarray,
    angle: np.ndarray,
    *,
    fwhm: np.ndarray,
    size_px: int,
    scale: float,
) -> np.ndarray:
    """(n, S, S) profiles, tapered at the box as ours are, with a Gaussian PSF, unit flux."""
    from dhs.source.parametric import box_radius_arcsec
    from dhs.source.sersic import SersicParameters, SersicRaster, mirror

    even = size_px + size_px % 2  # the raster mirrors half a stamp; one pixel more changes no clumpiness
    raster = SersicRaster(even, pixel_scale_arcsec=scale)
    end = np.full(len(index), box_radius_arcsec(even, pixel_scale_arcsec=scale))
    parameters = SersicParameters(index, r_e, axis_ratio, angle, gammaincinv(2 * index, 0.5), end)
    images = np.empty((len(index), even, even))
    for start in range(0, len(index), DRAWN_AT_ONCE):
        part = SersicParameters(*(values[start : start + DRAWN_AT_ONCE] for values in parameters))
        images[start : start + DRAWN_AT_ONCE] = mirror(raster.draw(part)).numpy()
    for image, sigma in zip(images, fwhm * FWHM_TO_SIGMA / scale, strict=True):
        ndimage.gaussian_filter(image, sigma, mode="constant", output=image)
    return images / images.sum(axis=(1, 2), keepdims=True)
