"""`sky=mock`: a DR10-like survey drawn with GalSim. No download; cached on disk.

Galaxy i is a pure function of (seed, i) and of the configuration: the same alone, in any chunk, on any number of
processes, in a set of any size. What it imitates and where the figures come from: mock_conditions (seeing, depth),
mock_noise (noise, masks), mock_photometry, mock_redshift, mock_galaxies (classes), mock_field (neighbours). What it
does not: large galaxies, saturated stars, PSF ellipticity and wings, artefacts, extinction, clustering beyond a shared
colour.
"""

from dataclasses import dataclass, replace

import numpy as np

from dhs.config.sky import ClassWeights, MockSky
from dhs.constants import CLASSES, PIXEL_SCALE_ARCSEC
from dhs.rng import Purpose, keyed_rng
from dhs.sky.depth import sigma_of_depth
from dhs.sky.mock_conditions import Conditions, draw_conditions
from dhs.sky.mock_field import draw_field
from dhs.sky.mock_galaxies import MAX_OFFSET_PX, Galaxy, Place, draw_galaxy_of_class, lrg_of_mags
from dhs.sky.mock_noise import add_noise, draw_bad_pixels, draw_noise
from dhs.sky.mock_redshift import draw_photometric_redshift
from dhs.sky.mock_scene import draw_scene


@dataclass(frozen=True)
class MockGalaxy:
    """One stamp of the mock survey. Bands g, r, z; nanomaggies; ``noise_sigma_nmgy`` is 1/sqrt(invvar)."""

    image: np.ndarray
    noise_sigma_nmgy: np.ndarray
    no_data: np.ndarray
    maskbits: np.ndarray
    psf_fwhm_arcsec: np.ndarray
    psf_depth_mag: np.ndarray
    ra_deg: float
    dec_deg: float
    kind: int
    mag: np.ndarray
    axis_ratio: float
    position_angle_rad: float
    redshift: float
    centre_x_arcsec: float
    centre_y_arcsec: float


def draw_mock_galaxy(config: MockSky, *, index: int) -> MockGalaxy:
    """Galaxy ``index`` of the survey of ``config``."""
    rng = keyed_rng(config.seed, Purpose.MOCK_SKY, 0, index)
    kind = class_of_fraction(rng.random(), weights=config.class_weights)
    conditions = draw_conditions(rng)
    place = _draw_place(rng, size_px=config.stamp_size_px)
    galaxy = draw_galaxy_of_class(rng, class_name=CLASSES[kind], place=place)
    return _observe(rng, galaxy, kind=kind, place=place, conditions=conditions, config=config)


def draw_mock_lrg(
    config: MockSky, *, rng: np.random.Generator, mags: np.ndarray, redshift: float, conditions: Conditions
) -> MockGalaxy:
    """An LRG of given g, r, z magnitudes (3,), redshift, seeing and depth; its field and noise as `config` has them."""
    place = _draw_place(rng, size_px=config.stamp_size_px)
    galaxy = lrg_of_mags(rng, place, mags=mags)
    drawn = _observe(rng, galaxy, kind=CLASSES.index("lrg"), place=place, conditions=conditions, config=config)
    return replace(drawn, redshift=redshift)


def _draw_place(rng: np.random.Generator, *, size_px: int) -> Place:
    x, y = rng.uniform(-MAX_OFFSET_PX, MAX_OFFSET_PX, 2) * PIXEL_SCALE_ARCSEC
    return Place(x, y, size_px)


def _observe(
    rng: np.random.Generator, galaxy: Galaxy, *, kind: int, place: Place, conditions: Conditions, config: MockSky
) -> MockGalaxy:
    """``galaxy`` among its neighbours, through the seeing, with noise and bad pixels."""
    size_px = place.size_px
    field = draw_field(
        rng,
        target_mags=galaxy.mags,
        size_px=size_px,
        galaxies_arcmin2=config.neighbour_density_arcmin2,
        stars_arcmin2=config.star_density_arcmin2,
    )
    scene = draw_scene([*galaxy.parts, *field], psf_fwhm_arcsec=conditions.psf_fwhm_arcsec, stamp_size_px=size_px)
    sigma = sigma_of_depth(
        conditions.psf_depth_mag, fwhm_arcsec=conditions.psf_fwhm_arcsec, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC
    )
    unit_noise = draw_noise(rng, size_px=size_px, correlation=config.noise_correlation)
    image = add_noise(scene, sigma_nmgy=sigma, unit_noise=unit_noise)
    bad = draw_bad_pixels(rng, size_px=size_px)
    image[bad.no_data] = 0.0  # what DR10 writes where no exposure has data
    return MockGalaxy(
        image=image,
        noise_sigma_nmgy=sigma.astype(np.float32),
        no_data=bad.no_data,
        maskbits=bad.maskbits,
        psf_fwhm_arcsec=conditions.psf_fwhm_arcsec,
        psf_depth_mag=conditions.psf_depth_mag,
        ra_deg=conditions.ra_deg,
        dec_deg=conditions.dec_deg,
        kind=kind,
        mag=galaxy.mags.astype(np.float32),
        axis_ratio=galaxy.axis_ratio,
        position_angle_rad=galaxy.angle_rad % np.pi,
        redshift=draw_photometric_redshift(rng, mags=galaxy.mags),
        centre_x_arcsec=float(place.x_arcsec),
        centre_y_arcsec=float(place.y_arcsec),
    )


def class_of_fraction(fraction: float, *, weights: ClassWeights) -> int:
    """Index into constants.CLASSES of a uniform number in [0, 1), by the weights."""
    cumulative = np.cumsum([getattr(weights, name) for name in CLASSES])
    return int(np.searchsorted(cumulative, fraction * cumulative[-1], side="right"))
