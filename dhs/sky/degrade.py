"""The simulated telescope: an HST image of a real lens becomes a DR10-like cutout.

Why: real lenses with a survey cutout are few, and for those without one a published HST image still holds the real
arc. What comes out is *not* a survey cutout and is labelled so wherever it goes: the arc's shape is real, its colours
are assumed (one HST band), its noise is modelled or borrowed.

Steps: (1) sky subtracted and the galaxy extended beyond its small stamp by its fitted elliptical Sersic profile;
(2) lens and arc told apart by `dhs.sky.galaxy_model`, so that each gets its own colours; (3) PSF matched: spectrum
times Moffat(FWHM) / HST PSF, both including their pixels; (4) sampled at the survey's pixel centres, north up, in
nanomaggies (an effective PSF includes the pixel: sampling, not averaging, counts it once); (5) noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from dhs.constants import MAD_TO_SIGMA, PIXEL_SCALE_ARCSEC
from dhs.sky.depth import PSF_BETA
from dhs.sky.galaxy_model import smooth_galaxy
from dhs.sky.hst_image import SharpImage

MARGIN_ARCSEC = 5.0
"""The canvas reaches this far beyond the survey stamp: the PSF's wings."""
BLEND_PX = 12
"""The picture fades into its Sersic profile over this many pixels at its edge."""
MIN_OTF = 1e-3
"""Frequencies at which the HST PSF passes less are left out: a ground-based PSF passes nothing there."""
ARC_INNER_ARCSEC = 0.3
"""Nearer the centre every light is the lens's: no arc lies there and the profile's cusp is not resolved."""
CORE_ARCSEC = 0.2
"""The galaxy's centre is the centroid of its light within this."""
FIT_INNER_ARCSEC = 0.4
FIT_BIN = 2
"""The profile is fitted to pixels binned by this."""


@dataclass(frozen=True)
class SersicFit:
    """Elliptical Sersic profile plus a constant sky, on the image's own pixels."""

    amplitude_nmgy_px: float
    r_eff_px: float
    n: float
    x_px: float
    """From the image's middle."""
    y_px: float
    axis_ratio: float
    angle_rad: float
    sky_nmgy_px: float

    def radius_px(self, shape: tuple[int, ...]) -> np.ndarray:
        """(y, x) circularised elliptical radius on a picture of ``shape``."""
        y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
        x, y = x - self.x_px, y - self.y_px
        major = x * np.cos(self.angle_rad) + y * np.sin(self.angle_rad)
        minor = y * np.cos(self.angle_rad) - x * np.sin(self.angle_rad)
        return np.sqrt(self.axis_ratio * major**2 + minor**2 / self.axis_ratio)

    def light(self, x_px: np.ndarray, y_px: np.ndarray) -> np.ndarray:
        """nMgy per pixel, sky not included."""
        from astropy.modeling.models import Sersic2D

        return Sersic2D.evaluate(
            x_px, y_px, self.amplitude_nmgy_px, self.r_eff_px, self.n, self.x_px, self.y_px, 1 - self.axis_ratio,
            self.angle_rad,
        )  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """The galaxy and what is left of the picture, on a canvas that covers the survey stamp; nMgy per HST pixel."""

    lens: np.ndarray
    arc: np.ndarray
    centre_px: np.ndarray
    """(row, column) of the galaxy's centre on the canvas."""
    fit: SersicFit


def fit_sersic(sharp: SharpImage) -> SersicFit:
    """Robust fit of the outer galaxy about its own core: arcs have little say (soft-L1 loss, the core left out)."""
    from scipy.optimize import least_squares

    binned, x, y = _binned(sharp.image_nmgy)
    core_y, core_x = _core(sharp)
    sky = float(np.percentile(binned, 5))
    noise = MAD_TO_SIGMA * float(np.median(np.abs(np.diff(binned, axis=0)))) / np.sqrt(2)
    use = np.hypot(x - core_x, y - core_y) * sharp.pixel_scale_arcsec > FIT_INNER_ARCSEC
    level = max(float(np.percentile(binned, 90)) - sky, 1e-12)

    def as_fit(p: np.ndarray) -> SersicFit:
        return SersicFit(float(np.exp(p[0])), float(np.exp(p[1])), float(p[2]), core_x, core_y, *map(float, p[3:]))

    def residual(p: np.ndarray) -> np.ndarray:
        fit = as_fit(p)
        return (fit.light(x[use], y[use]) + fit.sky_nmgy_px - binned[use]) / noise

    done = least_squares(
        residual,
        np.array([np.log(level), np.log(1.5 / sharp.pixel_scale_arcsec), 3.0, 0.8, 0.1, sky]),
        bounds=([-60, np.log(2.0), 0.5, 0.2, -np.pi, -np.inf], [60, np.log(2000.0), 8.0, 1.0, np.pi, np.inf]),
        loss="soft_l1",
        f_scale=2.0,
        x_scale=[1, 1, 1, 0.3, 1, max(noise, 1e-12)],
    )
    return as_fit(done.x)


def take_apart(sharp: SharpImage, *, size_px: int) -> Parts:
    """Lens and arc of ``sharp`` on a canvas for a survey stamp of ``size_px``."""
    fit = fit_sersic(sharp)
    image = sharp.image_nmgy - fit.sky_nmgy_px
    scale = sharp.pixel_scale_arcsec
    radius = fit.radius_px(image.shape)
    galaxy = smooth_galaxy(image, good=np.ones(image.shape, bool), radius_px=radius)
    rest = np.where(radius * scale > ARC_INNER_ARCSEC, image - galaxy, 0.0)
    half = int(np.ceil((size_px * PIXEL_SCALE_ARCSEC / np.sqrt(2) + MARGIN_ARCSEC) / scale))
    n = fft.next_fast_len(2 * half + 1)
    axis = np.arange(n) - (n - 1) / 2
    canvas_x, canvas_y = axis[None, :] + fit.x_px, axis[:, None] + fit.y_px
    profile = fit.light(*np.broadcast_arrays(canvas_x, canvas_y))
    weight, on_canvas = _onto_canvas(np.ones_like(image), fit, n), _onto_canvas(image - rest, fit, n)
    fade = _fade(image.shape, fit, n)
    lens = np.where(weight > 0.5, fade * on_canvas + (1 - fade) * profile, profile)
    arc = fade * _onto_canvas(rest, fit, n)
    return Parts(lens, arc, np.array([(n - 1) / 2, (n - 1) / 2]), fit)


def observe(
    light: np.ndarray, *, sharp: SharpImage, centre_px: np.ndarray, fwhm_arcsec: float, size_px: int
) -> np.ndarray:
    """(size, size) nMgy per survey pixel of ``light`` (nMgy per HST pixel) through a Moffat effective PSF."""
    scale = sharp.pixel_scale_arcsec
    matched = fft.ifft2(fft.fft2(light) * _matching(light.shape, sharp.psf, scale, fwhm_arcsec)).real
    axis = (np.arange(size_px) - (size_px - 1) / 2) * PIXEL_SCALE_ARCSEC
    west, north = np.meshgrid(axis, axis)
    column, row = np.tensordot(np.linalg.inv(sharp.to_sky), np.stack([west, north]), axes=1)
    at = np.stack([row + centre_px[0], column + centre_px[1]])
    return ndimage.map_coordinates(matched, at, order=3) * (PIXEL_SCALE_ARCSEC / scale) ** 2


def _matching(shape: tuple[int, ...], psf: np.ndarray, scale: float, fwhm_arcsec: float) -> np.ndarray:
    """Transfer function from the HST PSF to the survey's."""
    axis = [np.minimum(np.arange(n), n - np.arange(n)) * scale for n in shape]
    radius = np.hypot(axis[0][:, None], axis[1][None, :])
    core = fwhm_arcsec / (2 * np.sqrt(2 ** (1 / PSF_BETA) - 1))
    moffat = (PSF_BETA - 1) / (np.pi * core**2) * (1 + (radius / core) ** 2) ** -PSF_BETA * scale**2
    target = fft.fft2(moffat)
    held = np.zeros(shape)
    held[: psf.shape[0], : psf.shape[1]] = psf
    own = fft.fft2(held)
    y, x = _centroid(psf)
    fy, fx = fft.fftfreq(shape[0])[:, None], fft.fftfreq(shape[1])[None, :]
    own = own * np.exp(2j * np.pi * (fy * y + fx * x))
    passes = np.abs(own) > MIN_OTF
    return np.where(passes, target / np.where(passes, own, 1), 0)


def _centroid(psf: np.ndarray) -> tuple[float, float]:
    """(row, column) of the PSF's core: light above a twentieth of the peak, so that wings and noise have no say."""
    core = np.where(psf > psf.max() / 20, psf, 0)
    y, x = np.indices(psf.shape)
    return float((core * y).sum() / core.sum()), float((core * x).sum() / core.sum())


def _onto_canvas(image: np.ndarray, fit: SersicFit, n: int) -> np.ndarray:
    """The picture shifted so that the galaxy is in the middle of an n x n canvas; zero outside."""
    offset = [(image.shape[0] - 1) / 2 + fit.y_px - (n - 1) / 2, (image.shape[1] - 1) / 2 + fit.x_px - (n - 1) / 2]
    return ndimage.affine_transform(image, np.ones(2), offset, (n, n), order=1)


def _fade(shape: tuple[int, ...], fit: SersicFit, n: int) -> np.ndarray:
    """1 inside the picture, 0 outside, smooth over BLEND_PX at its edge; on the canvas."""
    rows, columns = (np.minimum(np.arange(m) + 0.5, m - np.arange(m) - 0.5) for m in shape)
    t = np.clip(np.minimum(rows[:, None], columns[None, :]) / BLEND_PX, 0, 1)
    return _onto_canvas(t * t * (3 - 2 * t), fit, n)


def _binned(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of FIT_BIN x FIT_BIN pixels, and their x and y in pixels from the image's middle."""
    ny, nx = (n // FIT_BIN * FIT_BIN for n in image.shape)
    blocks = image[:ny, :nx].reshape(ny // FIT_BIN, FIT_BIN, nx // FIT_BIN, FIT_BIN).mean(axis=(1, 3))
    y, x = (
        np.arange(n // FIT_BIN) * FIT_BIN + (FIT_BIN - 1) / 2 - (m - 1) / 2
        for n, m in zip((ny, nx), image.shape, strict=True)
    )
    return blocks, *np.meshgrid(x, y)


def _core(sharp: SharpImage) -> tuple[float, float]:
    """(y, x) from the image's middle: centroid of the light about the brightest smoothed pixel of the middle third."""
    smooth = ndimage.gaussian_filter(sharp.image_nmgy, 1.5)
    thirds = tuple(slice(n // 3, n - n // 3) for n in smooth.shape)
    y, x = np.unravel_index(int(smooth[thirds].argmax()), smooth[thirds].shape)
    peak = np.array([y + thirds[0].start, x + thirds[1].start])
    reach = max(2, round(CORE_ARCSEC / sharp.pixel_scale_arcsec))
    box = smooth[peak[0] - reach : peak[0] + reach + 1, peak[1] - reach : peak[1] + reach + 1]
    weight = np.clip(box - np.median(box), 0, None)
    steps = np.arange(-reach, reach + 1)
    y0 = peak[0] + (weight.sum(axis=1) @ steps) / weight.sum() - (smooth.shape[0] - 1) / 2
    x0 = peak[1] + (weight.sum(axis=0) @ steps) / weight.sum() - (smooth.shape[1] - 1) / 2
    return float(y0), float(x0)
