"""What is measured on every source of a bank, from its pixels alone; what the file says of itself is not believed.

The figures that tell galaxies from noise, and why (separation on the example catalogue: docs/data.md):

* ``pedestal``: clipped noise fills the box evenly; a galaxy leaves the rim dark.
* ``galaxy_light``: the light of the largest object above the rim's own noise. A galaxy is one object.
* ``speckle``: in the outer box, how often neighbouring pixels disagree on being above zero. Along the edge of a
  footprint that is rare (about 0.03 per pair), in noise clipped at zero common (0.29 with ACS's correlation,
  0.42 for white noise). It sees clipped noise at any level, even where the pedestal is still small.
* ``frame_flux``: light in the outermost pixels, which a lens turns into a visible square edge.
* ``box_fill``: how much of its bounding box an isophote at 0.3% of the peak fills; an ellipse pi/4 at most, a galaxy
  cut off by a rectangular picture more.
* ``snr``: from the scatter of the rim where it has any, else from the grain of the faint half of the lit pixels.

Shapes: n sources, C images each, S pixels a side; morphology is measured on the mean image of the bands.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from scipy import ndimage

from dhs.constants import MAD_TO_SIGMA
from dhs.source import measure

FRAME_PX = 2
OUTER_START_HALF_BOXES = 0.6
"""The outer box, where speckle is counted, begins here."""
RIM_START_HALF_BOXES = 0.75
"""Blocks of pixels from here on measure the noise of the rim."""
SMOOTH_PX = 2.0
"""Before the largest object is looked for: isophotes of noise break up, those of a galaxy do not."""
ISOPHOTE_SIGMA = 4.0
ISOPHOTE_FLOOR = 1e-4
"""Isophote above the rim, in its scatter; at least this fraction of the peak, for rims without any noise."""
BLOCK_PX = 6
"""Noise is measured on sums over blocks of this side: most of the correlation of drizzled pixels is inside them."""
MIN_LIT_RIM = 0.35
"""A rim with fewer pixels that are not exactly zero has no noise to measure: half of clipped noise is lit, and at most
0.28 of the rim of a template that is tapered within the box."""
GRAIN_QUANTILES = (0.2, 0.6)
"""The faint half of the lit pixels, without the faintest, which the footprint's soft rim has dimmed."""
GRAIN_TO_SUM = 18.7
"""Noise of a sum per root pixel over the grain, measured on 49 galaxies of the 23.5 example (rank correlation with
their true S/N 0.96): ACS's correlated noise, PSF 0.13 arcsec, denoise 0.5 px. White noise after the same denoising has
2, so that there the S/N from the grain is nine times too low: it warns, and never fails a bank."""
FILL_LEVEL = 3e-3
"""Isophote of `box_fill`, over the peak (its quantile FILL_PEAK_QUANTILE, because of cusps)."""
FILL_PEAK_QUANTILE = 0.999
GROWTH_STEPS = 48
"""Radii of the growth curve, evenly up to the corner of the box."""
CONSTANT_SCATTER = 1e-6
"""An image whose pixels scatter less than this fraction of their mean is one number."""


@dataclass(frozen=True)
class Measured:
    """(N,) float64 figures of a bank's sources, NaN where a source is not usable (`usable`)."""

    flux: np.ndarray
    """(N, C)."""
    finite: np.ndarray
    """(N,) bool."""
    constant: np.ndarray
    """(N,) bool: every pixel the same, or no light at all."""
    lowest: np.ndarray
    """Most negative pixel over the peak; 0 where none is negative."""
    hlr_arcsec: np.ndarray
    """Circularised, of the ellipse of the moments, as `dhs.source.measure` has it."""
    hlr_of_circle_arcsec: np.ndarray
    """Of the circle about the stamp's centre with half of the flux: the other common definition."""
    pedestal: np.ndarray
    """Worst band's share of the flux, either sign."""
    frame_flux: np.ndarray
    galaxy_light: np.ndarray
    speckle: np.ndarray
    box_fill: np.ndarray
    clumpiness: np.ndarray
    snr: np.ndarray
    snr_from_rim: np.ndarray
    """(N,) bool: the rim had noise to measure; else ``snr`` is from the grain."""
    centroid_arcsec: np.ndarray
    """Distance of the centroid from the stamp's centre."""
    support_arcsec: np.ndarray
    growth: np.ndarray
    """(N, GROWTH_STEPS) share of the flux within circles about the centre."""
    thumbnail: np.ndarray
    """(N, t, t) float32 block means, each of unit root sum of squares: for `dhs.source.check.duplicates`."""
    digest: np.ndarray
    """(N,) 16 bytes of blake2b of the pixels."""

    @property
    def usable(self) -> np.ndarray:
        """(N,) bool: finite, with light, not one number."""
        return self.finite & ~self.constant


class Ruler:
    """Masks of one grid, made once; `measure` takes pieces of the bank."""

    def __init__(self, size_px: int, *, pixel_scale_arcsec: float) -> None:
        self.size, self.scale = size_px, pixel_scale_arcsec
        radius = measure.radius_px(size_px) / (size_px / 2)
        self._rim = radius > measure.RING_START_FRACTION
        self._frame = np.ones((size_px, size_px), bool)
        self._frame[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = False
        outer = radius > OUTER_START_HALF_BOXES
        self._pairs = (outer[:, 1:] & outer[:, :-1], outer[1:] & outer[:-1])
        blocks = size_px // BLOCK_PX
        corner = (size_px - blocks * BLOCK_PX) // 2
        self._blocks = slice(corner, corner + blocks * BLOCK_PX)
        inner = radius[self._blocks, self._blocks].reshape(blocks, BLOCK_PX, blocks, BLOCK_PX).min(axis=(1, 3))
        self._rim_blocks = inner > RIM_START_HALF_BOXES
        self.growth_radii_arcsec = np.linspace(0, np.sqrt(2), GROWTH_STEPS + 1)[1:] * 0.5 * size_px * self.scale
        self._outwards = np.argsort(radius, axis=None, kind="stable")
        self._sorted_radius_arcsec = radius.ravel()[self._outwards] * 0.5 * size_px * self.scale
        self._ring_of_pixel = np.searchsorted(self.growth_radii_arcsec, measure.radius_px(size_px).ravel() * self.scale)

    def measure(self, images: np.ndarray) -> Measured:
        """Every figure of (n, C, S, S) float64 images."""
        finite = np.isfinite(images).all(axis=(1, 2, 3))
        flux = np.where(finite[:, None], images.sum(axis=(2, 3)), np.nan)
        mean = images.mean(axis=1)
        level = np.abs(mean.mean(axis=(1, 2)))
        with np.errstate(invalid="ignore"):
            constant = finite & ((mean.std(axis=(1, 2)) <= CONSTANT_SCATTER * level) | (flux <= 0).any(axis=1))
        usable = finite & ~constant
        figures = {key: np.full(len(images), np.nan) for key in PER_SOURCE}
        figures["snr_from_rim"] = np.zeros(len(images), bool)
        for row in np.flatnonzero(usable):
            for key, value in self._source(images[row], mean[row]).items():
                figures[key][row] = value
        return Measured(
            flux=flux,
            finite=finite,
            constant=constant,
            growth=self._growth(mean, usable=usable),
            thumbnail=thumbnails(np.where(usable[:, None, None], mean, 0)),
            digest=digests(images),
            **figures,
        )

    def _source(self, bands: np.ndarray, image: np.ndarray) -> dict[str, float]:
        flux = image.sum()
        pedestals = measure.edge_pedestal_fraction(bands)
        hlr = measure.half_light_radius_arcsec(image, pixel_scale_arcsec=self.scale)
        snr, from_rim = self._snr(image, hlr_px=hlr / self.scale)
        return {
            "lowest": min(float(bands.min()), 0.0) / float(bands.max()),
            "hlr_arcsec": hlr,
            "hlr_of_circle_arcsec": self._hlr_of_circle(image),
            "pedestal": float(np.abs(pedestals).max()),
            "frame_flux": float(np.abs(image[self._frame]).sum() / flux),
            "galaxy_light": self._galaxy_light(image),
            "speckle": self._speckle(image),
            "box_fill": _box_fill(image),
            "clumpiness": measure.clumpiness(image),
            "snr": snr,
            "snr_from_rim": from_rim,
            "centroid_arcsec": float(np.hypot(*measure.centroid_px(image)) * self.scale),
            "support_arcsec": measure.support_radius_arcsec(image, pixel_scale_arcsec=self.scale),
        }

    def _hlr_of_circle(self, image: np.ndarray) -> float:
        growth = np.cumsum(image.ravel()[self._outwards])
        return float(self._sorted_radius_arcsec[np.argmax(growth >= 0.5 * growth[-1])])

    def _galaxy_light(self, image: np.ndarray) -> float:
        """Share of the flux in the brightest connected isophote, the rim's level subtracted."""
        smooth = ndimage.gaussian_filter(image, SMOOTH_PX, mode="nearest")
        level = float(np.median(smooth[self._rim]))
        scatter = MAD_TO_SIGMA * float(np.median(np.abs(smooth[self._rim] - level)))
        isophote = max(level + ISOPHOTE_SIGMA * scatter, ISOPHOTE_FLOOR * float(smooth.max()))
        labels, count = ndimage.label(smooth > isophote)
        if count == 0:
            return 0.0
        above = ndimage.sum_labels(image - level, labels, np.arange(1, count + 1))
        return float(above.max() / image.sum())

    def _speckle(self, image: np.ndarray) -> float:
        """Share of neighbouring pixels in the outer box of which one is above zero and the other is not."""
        lit = image > 0
        across, along = self._pairs
        changes = (lit[:, 1:] != lit[:, :-1])[across].sum() + (lit[1:] != lit[:-1])[along].sum()
        return float(changes / (across.sum() + along.sum()))

    def _snr(self, image: np.ndarray, *, hlr_px: float) -> tuple[float, bool]:
        """S/N of the light above the rim's level in the circle of two half-light radii; True when from the rim."""
        if np.count_nonzero(image[self._rim]) < MIN_LIT_RIM * self._rim.sum():
            return _snr_from_grain(image), False
        light = image.sum() - image[self._rim].mean() * image.size
        cut = image[self._blocks, self._blocks]
        n = len(cut) // BLOCK_PX
        sums = cut.reshape(n, BLOCK_PX, n, BLOCK_PX).sum(axis=(1, 3))[self._rim_blocks]
        power = float(sums.var()) / BLOCK_PX**2
        aperture = min(np.pi * (2 * hlr_px) ** 2, image.size)
        return float(light / np.sqrt(power * aperture)) if power > 0 else np.inf, True

    def _growth(self, images: np.ndarray, *, usable: np.ndarray) -> np.ndarray:
        growth = np.full((len(images), GROWTH_STEPS), np.nan)
        for row in np.flatnonzero(usable):
            rings = np.bincount(self._ring_of_pixel, weights=images[row].ravel(), minlength=GROWTH_STEPS)
            growth[row] = np.cumsum(rings)[:GROWTH_STEPS] / rings.sum()
        return growth


PER_SOURCE: tuple[str, ...] = (
    "lowest",
    "hlr_arcsec",
    "hlr_of_circle_arcsec",
    "pedestal",
    "frame_flux",
    "galaxy_light",
    "speckle",
    "box_fill",
    "clumpiness",
    "snr",
    "centroid_arcsec",
    "support_arcsec",
)
"""Fields of `Measured` with one number a source."""


def _box_fill(image: np.ndarray) -> float:
    """Area of the largest isophote at FILL_LEVEL over that of the upright rectangle around it."""
    labels, count = ndimage.label(image > FILL_LEVEL * np.quantile(image, FILL_PEAK_QUANTILE))
    if count == 0:
        return np.nan
    areas = np.bincount(labels.ravel())[1:]
    rows, columns = ndimage.find_objects(labels)[int(areas.argmax())]
    return float(areas.max() / ((rows.stop - rows.start) * (columns.stop - columns.start)))


def _snr_from_grain(image: np.ndarray) -> float:
    """S/N of a template without a rim, from the scatter between neighbours in its faint half (GRAIN_TO_SUM)."""
    lit = image != 0
    grain = ndimage.convolve(image, np.array([[0, -0.25, 0], [-0.25, 1, -0.25], [0, -0.25, 0]]) / np.sqrt(1.25))
    smooth = ndimage.gaussian_filter(image, SMOOTH_PX)
    low, high = np.quantile(smooth[lit], GRAIN_QUANTILES)
    faint = lit & (smooth >= low) & (smooth <= high)
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(grain[faint])))
    return float(image.sum() / (GRAIN_TO_SUM * scatter * np.sqrt(lit.sum()))) if scatter > 0 else np.inf


THUMBNAIL_PX = 24


def thumbnails(images: np.ndarray) -> np.ndarray:
    """(n, t, t) float32 block means of (n, S, S), t at most THUMBNAIL_PX, each of unit root sum of squares.

    The blocks are centred on the stamp, so that a turned image has a turned thumbnail.
    """
    size = images.shape[-1]
    block = -(-size // THUMBNAIL_PX)
    block += size % 2 and not block % 2  # an odd stamp is an odd number of odd blocks
    t = -(-size // block)
    t += (t * block - size) % 2
    margin = (t * block - size) // 2
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
    small = padded.reshape(-1, t, block, t, block).mean(axis=(2, 4))
    norm = np.sqrt((small**2).sum(axis=(1, 2), keepdims=True))
    return np.divide(small, norm, out=np.zeros_like(small), where=norm > 0).astype(np.float32)


def digests(images: np.ndarray) -> np.ndarray:
    """(n,) 16-byte blake2b of each source's pixels."""
    return np.array([blake2b(image.tobytes(), digest_size=16).digest() for image in images], dtype="V16")


def joined(pieces: list[Measured]) -> Measured:
    """The pieces of a bank as one."""
    fields = Measured.__dataclass_fields__
    return Measured(**{key: np.concatenate([getattr(piece, key) for piece in pieces]) for key in fields})
