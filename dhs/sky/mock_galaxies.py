"""The central galaxies of the mock survey, one recipe a class.

LRGs host the lenses. The other classes are what a lens finder mistakes for lenses: galaxies that pass the same LRG
colour cuts. So their r magnitudes follow the LRGs' (``negative_r_mag``), and their total colours those of the late
types in the DR10 LRG catalogue (``as_selected``), whose arms, rings and tails stay bluer than their cores. The hardest
class is lrg_companion, whose central galaxy is an LRG: blue galaxies an arc's distance from it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dhs.sky.depth import flux_of_mag, mag_of_flux
from dhs.sky.mock_photometry import (
    blue_colour,
    faint_blue_colour,
    late_type_colour,
    lrg_mags,
    mags_of,
    red_colour,
)
from dhs.sky.mock_scene import Part, Sersic, Structure
from dhs.sky.mock_structure import blue_ring, plane_coordinates, spiral_arms, tidal_tail

SERSIC_INDICES = np.array([3.0, 3.5, 4.0, 4.5, 5.0, 5.5])
SERSIC_INDEX_SHARES = np.array([0.14, 0.18, 0.32, 0.18, 0.11, 0.07])
"""Few values, because GalSim builds one table per index; LRGs peak at de Vaucouleurs."""

INNER_SHARE = np.array([0.44, 0.50, 0.56])
"""Light of an LRG in its inner profile, g, r, z: early types are redder inside (about -0.1 mag a dex in g-r)."""

INNER_SIZE, OUTER_SIZE = 0.85, 1.2
"""Half-light radii of the two profiles over the galaxy's own."""

MAX_OFFSET_PX = 0.5
"""Sub-pixel phase of the galaxy centre, each axis: a stamp cut from a coadd has every phase alike."""


@dataclass(frozen=True)
class Galaxy:
    """A central galaxy: its light, total magnitudes (3,) and the shape of its light."""

    parts: list[Part]
    mags: np.ndarray
    axis_ratio: float
    angle_rad: float


@dataclass(frozen=True)
class Place:
    """Where a central galaxy is drawn: its centre relative to the stamp's."""

    x_arcsec: float
    y_arcsec: float
    size_px: int


def draw_galaxy_of_class(rng: np.random.Generator, *, class_name: str, place: Place) -> Galaxy:
    """A galaxy of a class of constants.CLASSES at ``place``."""
    galaxy = RECIPES[class_name](rng, place)
    return galaxy if class_name in ("lrg", "lrg_companion") else as_selected(rng, galaxy)


def as_selected(rng: np.random.Generator, galaxy: Galaxy) -> Galaxy:
    """``galaxy`` with the total colours of a late type that passes the LRG cuts; r and inner contrasts are kept.

    Without it total g-r alone would tell the negatives from the lens hosts (AUC 0.98), and a finder need not look.
    """
    total = mag_of_flux(sum((part.flux_nmgy for part in galaxy.parts), np.zeros(3)))
    g_r, r_z = late_type_colour(rng)
    shift = mags_of(total[1], g_r=g_r, r_z=r_z) - total
    parts = [replace(part, flux_nmgy=part.flux_nmgy * 10.0 ** (-0.4 * shift)) for part in galaxy.parts]
    return replace(galaxy, parts=parts, mags=galaxy.mags + shift)


def draw_lrg(rng: np.random.Generator, place: Place) -> Galaxy:
    """An LRG of the survey's magnitudes."""
    return lrg_of_mags(rng, place, mags=lrg_mags(rng))


def lrg_of_mags(rng: np.random.Generator, place: Place, *, mags: np.ndarray) -> Galaxy:
    """Early type of g, r, z magnitudes (3,); axis ratio peaks at 0.8, mild colour gradient.

    Half-light radius 0.93 arcsec at z = 19.5 (about 6 kpc at redshift 0.5), R ~ flux^0.33, scatter 0.12 dex: the
    concentration of real DES LRGs (flux in 1 over 3 arcsec, z band) is 0.53, of these 0.50 at 0.95 arcsec seeing.
    """
    half_light = np.clip(10.0 ** (-0.03 - 0.13 * (mags[2] - 19.5) + rng.normal(0.0, 0.12)), 0.5, 3.0)
    return _early_type(rng, place, mags=mags, half_light_arcsec=float(half_light))


def draw_lrg_companion(rng: np.random.Generator, place: Place) -> Galaxy:
    """An LRG with one to three bright companions, 1-5 arcsec from it, often blue, sometimes brighter."""
    lrg = draw_lrg(rng, place)
    n_companions = int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
    companions: list[Part] = [_companion(rng, place, lrg) for _ in range(n_companions)]
    return Galaxy(lrg.parts + companions, lrg.mags, lrg.axis_ratio, lrg.angle_rad)


def draw_spiral(rng: np.random.Generator, place: Place) -> Galaxy:
    """Red bulge, yellow disc, blue log-spiral arms; inclined by up to 60 degrees."""
    r_mag = negative_r_mag(rng, brighter_mag=0.25)
    half_light = float(np.clip(2.5 * 10.0 ** (-0.11 * (r_mag - 20.0) + rng.normal(0.0, 0.10)), 1.3, 4.0))
    axis_ratio, angle = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.0, np.pi))
    bulge_share, arm_share = rng.uniform(0.15, 0.45), rng.uniform(0.45, 0.7)
    g_r, r_z = red_colour(rng)
    blue = blue_colour(rng)
    middle = (0.5 * (g_r + blue[0]), 0.5 * (r_z + blue[1]))
    bulge = flux_of_mag(mags_of(r_mag, g_r=0.85 * g_r, r_z=0.85 * r_z)) * bulge_share
    disc = flux_of_mag(mags_of(r_mag, g_r=middle[0], r_z=middle[1])) * (1.0 - bulge_share) * (1.0 - arm_share)
    arms = flux_of_mag(mags_of(r_mag, g_r=blue[0], r_z=blue[1])) * (1.0 - bulge_share) * arm_share
    plane = _plane(place, axis_ratio, angle)
    parts: list[Part] = [
        Sersic(bulge, 3.0, float(rng.uniform(0.15, 0.3)) * half_light, 0.85, angle, place.x_arcsec, place.y_arcsec),
        Sersic(disc, 1.0, half_light * np.sqrt(axis_ratio), axis_ratio, angle, place.x_arcsec, place.y_arcsec),
        Structure(arms, spiral_arms(rng, *plane, scale_arcsec=half_light / 1.678)),
    ]
    return Galaxy(parts, mag_of_flux(bulge + disc + arms), axis_ratio, angle)


def draw_ring(rng: np.random.Generator, place: Place) -> Galaxy:
    """A red or yellow core, and a blue ring, full or partial, 1-4 arcsec in radius, with a faint disc inside it."""
    r_mag = negative_r_mag(rng, brighter_mag=0.25)
    radius = float(rng.uniform(1.2, 4.0))
    axis_ratio, angle = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.0, np.pi))
    ring_share = rng.uniform(0.3, 0.6)
    g_r, r_z = red_colour(rng)
    blue = blue_colour(rng)
    core_mags = mags_of(r_mag - 2.5 * np.log10(1.0 - ring_share), g_r=g_r, r_z=r_z)
    core = _early_type(rng, place, mags=core_mags, half_light_arcsec=float(rng.uniform(0.18, 0.35)) * radius)
    ring = flux_of_mag(mags_of(r_mag, g_r=blue[0], r_z=blue[1])) * ring_share
    disc = 0.15 * ring
    width = float(rng.uniform(0.09, 0.17)) * radius
    ring_map = blue_ring(rng, *_plane(place, axis_ratio, angle), ring_arcsec=radius, width_arcsec=width)
    parts: list[Part] = [
        *core.parts,
        Sersic(disc, 1.0, 0.8 * radius, axis_ratio, angle, place.x_arcsec, place.y_arcsec),
        Structure(0.85 * ring, ring_map),
    ]
    return Galaxy(parts, mag_of_flux(flux_of_mag(core_mags) + ring), core.axis_ratio, core.angle_rad)


def draw_merger(rng: np.random.Generator, place: Place) -> Galaxy:
    """Two or three overlapping galaxies, one or two tidal tails; magnitudes and shape are the primary's."""
    primary = _merging_galaxy(rng, negative_r_mag(rng), place.x_arcsec, place.y_arcsec)
    parts = [*primary.parts]
    for _ in range(int(rng.choice([1, 2], p=[0.7, 0.3]))):
        distance, azimuth = rng.uniform(0.9, 3.2), rng.uniform(0.0, 2.0 * np.pi)
        x, y = place.x_arcsec + distance * np.cos(azimuth), place.y_arcsec + distance * np.sin(azimuth)
        parts += _merging_galaxy(rng, primary.mags[1] + rng.uniform(-0.1, 1.6), x, y).parts
    for _ in range(int(rng.choice([1, 2]))):
        light = flux_of_mag(primary.mags + rng.uniform(0.8, 2.0) - np.array([0.3, 0.0, -0.2]))
        parts.append(
            Structure(light, tidal_tail(rng, place.size_px, x0_arcsec=place.x_arcsec, y0_arcsec=place.y_arcsec))
        )
    return Galaxy(parts, primary.mags, primary.axis_ratio, primary.angle_rad)


def draw_edge_on(rng: np.random.Generator, place: Place) -> Galaxy:
    """A thin disc, redder than its light because it is dusty, and a bulge."""
    r_mag = negative_r_mag(rng)
    axis_ratio, angle = float(rng.uniform(0.10, 0.22)), float(rng.uniform(0.0, np.pi))
    length = float(np.clip(2.6 * 10.0 ** (-0.10 * (r_mag - 20.0) + rng.normal(0.0, 0.12)), 1.3, 4.5))
    bulge_share = rng.uniform(0.05, 0.4)
    g_r, r_z = red_colour(rng)
    blue = blue_colour(rng)
    dust = rng.uniform(0.0, 0.5)
    bulge = flux_of_mag(mags_of(r_mag, g_r=0.9 * g_r, r_z=0.9 * r_z)) * bulge_share
    disc = flux_of_mag(mags_of(r_mag, g_r=blue[0] + dust, r_z=blue[1] + 0.7 * dust)) * (1.0 - bulge_share)
    parts: list[Part] = [
        Sersic(disc, 1.0, length * np.sqrt(axis_ratio), axis_ratio, angle, place.x_arcsec, place.y_arcsec),
        Sersic(bulge, 3.0, 0.18 * length, float(rng.uniform(0.6, 0.9)), angle, place.x_arcsec, place.y_arcsec),
    ]
    return Galaxy(parts, mag_of_flux(bulge + disc), axis_ratio, angle)


def negative_r_mag(rng: np.random.Generator, *, brighter_mag: float = 0.0) -> float:
    """r of a late type or merger: an LRG's, 0.1 mag brighter, which lies between equal r and equal z (r-z is smaller).

    ``brighter_mag`` is the width of a half-normal on top: arms and rings are only told apart on bright galaxies.
    """
    return float(lrg_mags(rng)[1]) - 0.1 - brighter_mag * abs(float(rng.standard_normal()))


def _early_type(rng: np.random.Generator, place: Place, *, mags: np.ndarray, half_light_arcsec: float) -> Galaxy:
    index = float(rng.choice(SERSIC_INDICES, p=SERSIC_INDEX_SHARES))
    axis_ratio, angle = float(0.4 + 0.6 * rng.beta(3.0, 1.8)), float(rng.uniform(0.0, np.pi))
    flux = flux_of_mag(mags)
    shape = (axis_ratio, angle, place.x_arcsec, place.y_arcsec)
    parts: list[Part] = [
        Sersic(flux * INNER_SHARE, index, INNER_SIZE * half_light_arcsec, *shape),
        Sersic(flux * (1.0 - INNER_SHARE), index, OUTER_SIZE * half_light_arcsec, *shape),
    ]
    return Galaxy(parts, mags, axis_ratio, angle)


def _companion(rng: np.random.Generator, place: Place, lrg: Galaxy) -> Sersic:
    """Half of the blue ones are elongated along the tangent, as an arc is."""
    is_blue = rng.random() < 0.65
    g_r, r_z = faint_blue_colour(rng) if is_blue else red_colour(rng)
    r_mag = lrg.mags[1] + rng.uniform(-0.5, 2.5)
    distance, azimuth = rng.uniform(1.0, 5.0), rng.uniform(0.0, 2.0 * np.pi)
    is_tangential = is_blue and rng.random() < 0.5
    angle = azimuth + 0.5 * np.pi + rng.normal(0.0, 0.35) if is_tangential else rng.uniform(0.0, np.pi)
    return Sersic(
        flux_nmgy=flux_of_mag(mags_of(r_mag, g_r=g_r, r_z=r_z)),
        index=1.0 if is_blue else 4.0,
        half_light_arcsec=float(np.clip(0.5 * 10.0 ** (-0.1 * (r_mag - 21.5) + rng.normal(0.0, 0.15)), 0.15, 1.3)),
        axis_ratio=float(rng.uniform(0.25, 0.6) if is_tangential else rng.uniform(0.35, 1.0)),
        angle_rad=float(angle),
        x_arcsec=place.x_arcsec + distance * np.cos(azimuth),
        y_arcsec=place.y_arcsec + distance * np.sin(azimuth),
    )


def _merging_galaxy(rng: np.random.Generator, r_mag: float, x_arcsec: float, y_arcsec: float) -> Galaxy:
    """A disc with a bulge, or a spheroid; wet and dry mergers both exist."""
    is_red = rng.random() < 0.45
    g_r, r_z = red_colour(rng) if is_red else blue_colour(rng)
    flux = flux_of_mag(mags_of(r_mag, g_r=g_r, r_z=r_z))
    half_light = float(np.clip(1.1 * 10.0 ** (-0.1 * (r_mag - 20.5) + rng.normal(0.0, 0.12)), 0.4, 2.5))
    axis_ratio, angle = float(rng.uniform(0.4, 1.0)), float(rng.uniform(0.0, np.pi))
    core_share = 0.7 if is_red else 0.2
    reddening = 0.3 if not is_red else 0.0
    core = flux * core_share * 10.0 ** (-0.4 * np.array([reddening, 0.0, -reddening]))
    disc = flux * (1.0 - core_share)
    parts: list[Part] = [
        Sersic(core, 4.0, 0.6 * half_light, 0.5 * (1.0 + axis_ratio), angle, x_arcsec, y_arcsec),
        Sersic(disc, 1.0, half_light, axis_ratio, angle, x_arcsec, y_arcsec),
    ]
    return Galaxy(parts, mag_of_flux(core + disc), axis_ratio, angle)


def _plane(place: Place, axis_ratio: float, angle_rad: float) -> tuple[np.ndarray, np.ndarray]:
    return plane_coordinates(
        place.size_px,
        x0_arcsec=place.x_arcsec,
        y0_arcsec=place.y_arcsec,
        axis_ratio=axis_ratio,
        angle_rad=angle_rad,
    )


RECIPES: dict[str, Callable[[np.random.Generator, Place], Galaxy]] = {
    "lrg": draw_lrg,
    "lrg_companion": draw_lrg_companion,
    "spiral": draw_spiral,
    "ring": draw_ring,
    "merger": draw_merger,
    "edge_on": draw_edge_on,
}
