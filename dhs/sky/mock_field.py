"""What else is on a stamp: field galaxies and stars, at the same densities around every class."""

import numpy as np

from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.sky.depth import flux_of_mag
from dhs.sky.mock_photometry import blue_colour, field_r_mag, mags_of, red_colour, star_colour, star_r_mag
from dhs.sky.mock_scene import Sersic, Star

MARGIN_ARCSEC = 2.0
"""Objects this far outside the stamp are drawn too: their wings reach in."""

BLEND_RADIUS_ARCSEC = 1.5
"""Two objects closer than about one seeing disc are one catalogue entry, the brighter one's."""

CLUSTER_SHARE = 0.3
"""Share of red neighbours with the target's own colours: LRGs live in groups."""


def draw_field(
    rng: np.random.Generator,
    *,
    target_mags: np.ndarray,
    size_px: int,
    galaxies_arcmin2: float,
    stars_arcmin2: float,
) -> list[Sersic | Star]:
    """Poisson numbers of neighbours (r < 24.5) and stars, uniform over the stamp and its margin.

    Objects that outshine the target (r) within BLEND_RADIUS_ARCSEC are left out: 0.1% of the neighbours.
    """
    side_arcsec = size_px * PIXEL_SCALE_ARCSEC + 2.0 * MARGIN_ARCSEC
    area_arcmin2 = (side_arcsec / 60.0) ** 2
    parts: list[Sersic | Star] = []
    for _ in range(rng.poisson(galaxies_arcmin2 * area_arcmin2)):
        x, y = rng.uniform(-0.5, 0.5, 2) * side_arcsec
        parts.append(_field_galaxy(rng, target_mags, x_arcsec=x, y_arcsec=y))
    for _ in range(rng.poisson(stars_arcmin2 * area_arcmin2)):
        x, y = rng.uniform(-0.5, 0.5, 2) * side_arcsec
        g_r, r_z = star_colour(rng)
        parts.append(Star(flux_of_mag(mags_of(star_r_mag(rng), g_r=g_r, r_z=r_z)), x, y))
    return [part for part in parts if not _hides_target(part, target_mags)]


def _hides_target(part: Sersic | Star, target_mags: np.ndarray) -> bool:
    """A brighter object on top of the target: the catalogue would have that object there, not the target."""
    is_near = np.hypot(part.x_arcsec, part.y_arcsec) < BLEND_RADIUS_ARCSEC
    return bool(is_near and part.flux_nmgy[1] > flux_of_mag(target_mags[1]))


def _field_galaxy(rng: np.random.Generator, target_mags: np.ndarray, *, x_arcsec: float, y_arcsec: float) -> Sersic:
    r_mag = field_r_mag(rng)
    # Red galaxies are two fifths of the bright counts and a seventh of the faint ones.
    is_red = rng.random() < np.interp(r_mag, [19.0, 24.0], [0.4, 0.15])
    g_r, r_z = red_colour(rng) if is_red else blue_colour(rng)
    if is_red and rng.random() < CLUSTER_SHARE:
        g_r, r_z = target_mags[0] - target_mags[1], target_mags[1] - target_mags[2]
    half_light = 10.0 ** (-0.33 - 0.11 * (r_mag - 22.0) + rng.normal(0.0, 0.15))
    return Sersic(
        flux_nmgy=flux_of_mag(mags_of(r_mag, g_r=g_r, r_z=r_z)),
        index=float(rng.choice([2.5, 4.0])) if is_red else 1.0,
        half_light_arcsec=float(np.clip(half_light, 0.08, 3.0)),
        axis_ratio=float(rng.uniform(0.5, 1.0) if is_red else rng.uniform(0.2, 1.0)),
        angle_rad=float(rng.uniform(0.0, np.pi)),
        x_arcsec=x_arcsec,
        y_arcsec=y_arcsec,
    )
