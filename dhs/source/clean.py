"""From the picture of a real galaxy to a source template: the galaxy's own light, and nothing else.

Why: clipping negative noise to zero and normalising (the seeds' recipe) turns the sky into a pedestal over the whole
box; their bank has the half-light radius of an empty one (SCIENCE.md section 2). Here the local background is
subtracted, the galaxy's footprint is found in a smoothed signal-to-noise map and grown, neighbours are masked, the
light is recentred on its centroid, fades smoothly to zero, and negative noise inside the footprint stays.
Lengths in pixels below are for the 0.03-arcsec pixels of the COSMOS pictures.

Pure numpy and scipy: `clean_galaxy` takes a picture and returns a `CleanGalaxy` or the reason for refusing it.
Shapes: images (y, x); S the stamp.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from dhs.constants import TAPER_END_FRACTION, TAPER_START_FRACTION
from dhs.source import measure

REASONS: tuple[str, ...] = (
    "low_snr",
    "truncated",
    "blended",
    "unresolved",
    "oversized",
    "pedestal",
)
"""Why a galaxy can be refused."""

SMOOTH_SIGMA_PX = 1.5
"""Kernel of the signal-to-noise map in which the footprint is found: about the PSF, the matched filter of a point."""
THRESHOLD_SIGMA = 1.5
"""Isophote of the footprint in the smoothed map, in its own background scatter."""
GROW_PX = 2
GROW_FRACTION = 0.25
"""The isophote is grown by GROW_PX plus this fraction of its radius of equal area: faint wings lie outside it."""
FADE_SIGMA_PX = 1.5
"""Softness of the footprint's rim."""
WINDOW_FLOOR = 1e-3
"""Below this the window is exactly zero: it would only widen the support."""
EDGE_FADE_PX = 4.0
"""Width of the fade to zero at the edge of the available picture."""
ELLIPSE_START = 0.6
ELLIPSE_END = 1.2
"""The halo fades between these multiples of the largest ellipse within the picture."""
BODY_LEVEL = 2.5
"""Light above this multiple of the isophote is the galaxy's body, which does not fade with the halo."""
MAX_LOST_FRACTION = 0.07
"""Light of the footprint that box and picture edges may cut off."""
CENTRE_RADIUS_PX = 12.0
"""The catalogue's galaxy has light this near to the middle of its picture."""
MAX_NEIGHBOUR_FRACTION = 0.05
"""Light of other objects within the galaxy's grown footprint, over the galaxy's own."""
MAX_HALO_FRACTION = 0.08
"""More light than this without a detection is background, whatever the rim of the box says."""
NEIGHBOUR_REACH_PX = 3
"""Neighbours count as on the galaxy within this distance of its footprint."""
CERTAINLY_LOW = 0.7
"""A footprint below this share of the S/N asked for needs no closer look: the faded edges change it by a tenth."""
NEIGHBOUR_PEAK = 3.0
"""An isophote counts as another object when its peak is above this multiple of the threshold (4.5 sigma): no noise."""
BLEND_FLUX_FRACTION = 0.2
BLEND_SEPARATION_ARCSEC = 0.6
"""A second peak that keeps this share of the light at a higher isophote, this far away, is another galaxy."""


class Refused(Exception):
    """A galaxy that makes no template; ``args[0]`` is one of REASONS."""


@dataclass(frozen=True)
class CleanGalaxy:
    """A template and what was measured on it."""

    image: np.ndarray
    """(S, S) float32, unit flux, exactly zero outside the footprint and at the edge."""
    hlr_arcsec: float
    snr: float
    """Flux in the footprint over the noise of that sum, pixel correlation included."""
    pedestal_fraction: float
    """|`dhs.source.measure.edge_pedestal_fraction`| of the template: the same measure as for anybody's bank."""
    halo_fraction: float
    """Light of the template outside the galaxy's isophote: wings, and whatever background was left there."""
    support_radius_arcsec: float
    clumpiness: float


@dataclass(frozen=True)
class CleanLimits:
    """Acceptance of `clean_galaxy`, from `dhs.config.source.BankBuild`."""

    stamp_size_px: int
    pixel_scale_arcsec: float
    denoise_sigma_px: float
    min_snr: float
    hlr_low_arcsec: float
    hlr_high_arcsec: float
    max_pedestal_fraction: float


def clean_galaxy(picture: np.ndarray, *, background: float, sum_noise: float, limits: CleanLimits) -> CleanGalaxy:
    """Template of the galaxy in the middle of ``picture`` (y, x), any flux unit, on the template's pixel scale.

    ``background`` is the sky level per pixel; a sum over N pixels has the noise ``sum_noise * sqrt(N)`` (the root of
    the noise power at zero frequency: pixel correlation included).

    Raises:
        Refused: with the first reason of REASONS that applies.
    """
    return clean_and_cut(picture, background=background, sum_noise=sum_noise, limits=limits)[0]


def clean_and_cut(
    picture: np.ndarray, *, background: float, sum_noise: float, limits: CleanLimits
) -> tuple[CleanGalaxy, "Cut"]:
    """As `clean_galaxy`, and the cut, with which `cut_alike` treats the same galaxy in other bands."""
    image = ndimage.gaussian_filter(picture.astype(np.float64) - background, limits.denoise_sigma_px, mode="nearest")
    scene = segment(image, sum_noise=sum_noise)
    footprint_snr = image[scene.footprint].sum() / (sum_noise * np.sqrt(scene.footprint.sum()))
    if footprint_snr < CERTAINLY_LOW * limits.min_snr:
        raise Refused("low_snr")
    _refuse_blends(scene, pixel_scale_arcsec=limits.pixel_scale_arcsec)
    cut = _cut(scene, size=limits.stamp_size_px)
    flux = float(cut.stamp.sum())
    snr = flux / (sum_noise * np.sqrt((cut.window**2).sum()))
    if flux <= 0 or snr < limits.min_snr:
        raise Refused("low_snr")
    if cut.kept_fraction < 1 - MAX_LOST_FRACTION:
        raise Refused("truncated")
    template = (cut.stamp / flux).astype(np.float32)
    hlr = measure.half_light_radius_arcsec(template, pixel_scale_arcsec=limits.pixel_scale_arcsec)
    if hlr < limits.hlr_low_arcsec:
        raise Refused("unresolved")
    if hlr > limits.hlr_high_arcsec:
        raise Refused("oversized")
    pedestal = abs(float(measure.edge_pedestal_fraction(template[None])[0]))
    halo = float(template[~cut.galaxy].sum())
    if pedestal > limits.max_pedestal_fraction or abs(halo) > MAX_HALO_FRACTION:
        raise Refused("pedestal")
    galaxy = CleanGalaxy(
        image=template,
        hlr_arcsec=hlr,
        snr=float(snr),
        pedestal_fraction=pedestal,
        halo_fraction=halo,
        support_radius_arcsec=measure.support_radius_arcsec(template, pixel_scale_arcsec=limits.pixel_scale_arcsec),
        clumpiness=measure.clumpiness(template),
    )
    return galaxy, cut


def cut_alike(picture: np.ndarray, *, background: float, cut: "Cut", limits: CleanLimits) -> np.ndarray:
    """(S, S) flux per pixel of another band's ``picture`` of the galaxy, through the same centre and window."""
    image = ndimage.gaussian_filter(picture.astype(np.float64) - background, limits.denoise_sigma_px, mode="nearest")
    return _resample(image, offset=cut.offset_px, size=limits.stamp_size_px, order=3) * cut.window


@dataclass(frozen=True)
class Scene:
    """A picture taken apart."""

    image: np.ndarray
    """Background subtracted."""
    smooth: np.ndarray
    """The same, smoothed."""
    galaxy: np.ndarray
    """bool, isophote of the central galaxy."""
    footprint: np.ndarray
    """bool, the isophote grown, neighbours taken out."""
    neighbours: np.ndarray
    """bool, other objects."""
    threshold: float
    """Level of the isophote in ``smooth``."""


def segment(image: np.ndarray, *, sum_noise: float) -> Scene:
    """The central galaxy's footprint and its neighbours; Refused without a galaxy."""
    smooth = ndimage.gaussian_filter(image, SMOOTH_SIGMA_PX, mode="nearest")
    threshold = THRESHOLD_SIGMA * sum_noise / (np.sqrt(4 * np.pi) * SMOOTH_SIGMA_PX)
    galaxy, neighbours = _central(smooth, threshold=threshold)
    grow = GROW_PX + GROW_FRACTION * np.sqrt(galaxy.sum() / np.pi)
    footprint = _within(grow, of=galaxy)
    if neighbours.any():
        footprint &= ~ndimage.binary_dilation(neighbours, iterations=2)
    return Scene(image, smooth, galaxy, footprint, neighbours, threshold)


def _central(smooth: np.ndarray, *, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Isophote of the brightest object near the middle (holes filled), and those of all other objects."""
    labels, n_objects = ndimage.label(smooth > threshold)
    middle = _distance_px(smooth.shape) < CENTRE_RADIUS_PX
    light = np.bincount(labels[middle], weights=smooth[middle], minlength=n_objects + 1)[1:]
    if n_objects == 0 or light.max() <= 0:
        raise Refused("low_snr")
    central = 1 + int(light.argmax())
    others = np.zeros(n_objects + 1, bool)
    others[labels[smooth > NEIGHBOUR_PEAK * threshold]] = True
    others[[0, central]] = False
    return ndimage.binary_fill_holes(labels == central), others[labels]


def _refuse_blends(scene: Scene, *, pixel_scale_arcsec: float) -> None:
    """Refused when neighbours' light falls on the galaxy, or its footprint splits into two galaxies."""
    total = scene.smooth[scene.galaxy].sum()
    if scene.neighbours.any():
        touching = scene.neighbours & _within(NEIGHBOUR_REACH_PX, of=scene.footprint)
        if scene.smooth[touching].sum() > MAX_NEIGHBOUR_FRACTION * total:
            raise Refused("blended")
    box = ndimage.find_objects(scene.galaxy.astype(np.int8))[0]
    smooth = np.where(scene.galaxy[box], scene.smooth[box], 0.0)
    for level in scene.threshold * (smooth.max() / scene.threshold) ** np.linspace(0.1, 0.9, 9):
        labels, n_objects = ndimage.label(smooth > level)
        if n_objects < 2:
            continue
        light = np.bincount(labels.ravel(), weights=smooth.ravel())
        light[0] = 0.0
        first, second = np.argsort(light)[:-3:-1]
        if light[second] <= BLEND_FLUX_FRACTION * total:
            continue
        apart = np.subtract(*ndimage.center_of_mass(smooth, labels, [first, second]))
        if np.hypot(*apart) * pixel_scale_arcsec > BLEND_SEPARATION_ARCSEC:
            raise Refused("blended")


def _within(radius_px: float, *, of: np.ndarray) -> np.ndarray:
    """bool, at most ``radius_px`` away from the pixels of a mask; only the box it can reach is measured."""
    reach = int(radius_px) + 1
    found = ndimage.find_objects(of.astype(np.int8))[0]
    box = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in found)
    grown = np.zeros_like(of)
    grown[box] = ndimage.distance_transform_edt(~of[box]) <= radius_px
    return grown


def _distance_px(shape: tuple[int, ...]) -> np.ndarray:
    """(y, x) distance from the middle of a picture."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    return np.hypot(rows[:, None], columns[None, :])


class Cut(NamedTuple):
    """The light of a scene on the stamp, recentred on its centroid; (S, S) arrays."""

    stamp: np.ndarray
    window: np.ndarray
    """0 to 1, what each pixel was multiplied with."""
    galaxy: np.ndarray
    """bool, inside the isophote."""
    kept_fraction: float
    """Share of the footprint's light that the fades at picture and box edges leave."""
    offset_px: list[float]
    """(y, x) of the stamp's first pixel in the picture."""


def _cut(scene: Scene, *, size: int) -> Cut:
    soft = ndimage.gaussian_filter(scene.footprint.astype(float), FADE_SIGMA_PX, mode="nearest")
    rows, columns = (np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) for n in soft.shape)
    edge = _smoothstep(np.minimum(rows[:, None], columns[None, :]) / EDGE_FADE_PX)
    light = scene.image * soft
    body = scene.galaxy & (scene.smooth > BODY_LEVEL * scene.threshold)
    body = ndimage.gaussian_filter(ndimage.binary_dilation(body, iterations=2).astype(float), 2 * FADE_SIGMA_PX)
    edge = edge * np.maximum(_ellipse_fade(light * edge), _smoothstep(1.5 * body))
    x0, y0 = measure.centroid_px(light * edge)
    offset = [(n - size) / 2 + shift for n, shift in zip(soft.shape, (y0, x0), strict=True)]
    radius = measure.radius_px(size) / (size / 2 * TAPER_END_FRACTION)
    window = _resample(soft * edge, offset=offset, size=size, order=1)
    window *= _smoothstep((1 - radius) / (1 - TAPER_START_FRACTION))
    window[window < WINDOW_FLOOR] = 0
    stamp = _resample(scene.image, offset=offset, size=size, order=3) * window
    galaxy = _resample(scene.galaxy.astype(float), offset=offset, size=size, order=1) >= 0.5
    return Cut(stamp, window, galaxy, float(stamp.sum() / light.sum()), offset)


def _ellipse_fade(light: np.ndarray) -> np.ndarray:
    """Fade to zero towards the largest ellipse of the galaxy's shape that the picture holds: no square halos.

    The pictures of the COSMOS samples are boxes cut tightly around a galaxy, so that its halo fills their corners.
    """
    axis_ratio, angle = measure.shape_of(light)
    x0, y0 = measure.centroid_px(light)
    half_y, half_x = (n / 2 for n in light.shape)
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in light.shape), indexing="ij")
    x, y = x - x0, y - y0
    radius = np.hypot(x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / axis_ratio)
    reach_x = (half_x - abs(x0)) / np.hypot(np.cos(angle), axis_ratio * np.sin(angle))
    reach_y = (half_y - abs(y0)) / np.hypot(np.sin(angle), axis_ratio * np.cos(angle))
    reach = ELLIPSE_END * min(reach_x, reach_y)
    return _smoothstep((1 - radius / reach) / (1 - ELLIPSE_START / ELLIPSE_END))


def _resample(image: np.ndarray, *, offset: list[float], size: int, order: int) -> np.ndarray:
    """(S, S) values of ``image`` at integer steps from the (y, x) ``offset``; zero outside the picture."""
    return ndimage.affine_transform(image, np.ones(2), offset, (size, size), order=order, mode="constant")


def _smoothstep(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
