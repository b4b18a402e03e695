"""Draws one lens and its source for a given galaxy, from the configured priors (SCIENCE sections 2 and 3)."""

import math
from typing import NamedTuple

import numpy as np

from dhs.config.base import Range
from dhs.config.injection import ColourConfig, GridLens, LensConfig, SeedSedColour
from dhs.lens.sie import radial_caustic

MIN_AXIS_RATIO = 0.2
"""Flattest mass drawn; flatter isothermal lenses are not galaxies."""


class Host(NamedTuple):
    """What of the galaxy shapes its lens; NaN where unknown."""

    axis_ratio: float
    position_angle_rad: float


class ArcDraw(NamedTuple):
    """One draw of everything that makes an arc; names and units as in RecipeBatch."""

    theta_e_arcsec: float
    axis_ratio: float
    phi_rad: float
    gamma1: float
    gamma2: float
    lens_x_arcsec: float
    lens_y_arcsec: float
    source_index: int
    source_x_arcsec: float
    source_y_arcsec: float
    source_rotation_rad: float
    source_mag: tuple[float, float, float]


def draw_arc(
    rng: np.random.Generator, *, host: Host, lens: LensConfig, colour: ColourConfig, n_sources: int
) -> ArcDraw:
    """One lens and source. The same generator state gives the same draw; the number of variates used is fixed."""
    u, normal = rng.random(11), rng.standard_normal(7)
    theta_e = _theta_e(u[0], lens)
    q, phi = _mass_shape(u[1], u[2], normal[0], normal[1], host=host, lens=lens)
    shear = abs(normal[2]) * lens.shear_sigma
    shear_angle = 2 * math.pi * u[3]
    gamma1, gamma2 = shear * math.cos(shear_angle), shear * math.sin(shear_angle)
    x, y = normal[3] * lens.centre_jitter_arcsec, normal[4] * lens.centre_jitter_arcsec
    offset_x, offset_y = _source_offset(u[4], u[5], u[6], lens=lens, theta_e=theta_e, q=q, phi=phi)
    return ArcDraw(
        theta_e_arcsec=theta_e,
        axis_ratio=q,
        phi_rad=phi,
        gamma1=gamma1,
        gamma2=gamma2,
        lens_x_arcsec=x,
        lens_y_arcsec=y,
        source_index=min(int(u[7] * n_sources), n_sources - 1),
        # The shear acts about the frame's centre: the lens's centre maps to x - (g1 x + g2 y), and so on.
        source_x_arcsec=x - (gamma1 * x + gamma2 * y) + offset_x,
        source_y_arcsec=y - (gamma2 * x - gamma1 * y) + offset_y,
        source_rotation_rad=2 * math.pi * u[8],
        source_mag=_magnitudes(u[9], u[10], normal[5], normal[6], colour=colour),
    )


def _theta_e(u: float, lens: LensConfig) -> float:
    if isinstance(lens, GridLens):
        grid = lens.theta_e_arcsec
        return grid[min(int(u * len(grid)), len(grid) - 1)]
    return _between(u, lens.theta_e_arcsec)


def _mass_shape(
    u_q: float, u_phi: float, n_q: float, n_phi: float, *, host: Host, lens: LensConfig
) -> tuple[float, float]:
    if lens.follow_light and math.isfinite(host.axis_ratio) and math.isfinite(host.position_angle_rad):
        q = host.axis_ratio + n_q * lens.axis_ratio_scatter
        phi = host.position_angle_rad + math.radians(n_phi * lens.angle_scatter_deg)
        return min(max(q, MIN_AXIS_RATIO), 1.0), phi
    return _between(u_q, lens.axis_ratio), math.pi * u_phi


def _source_offset(
    u_sector: float, u_a: float, u_b: float, *, lens: LensConfig, theta_e: float, q: float, phi: float
) -> tuple[float, float]:
    """Offset from the source-plane image of the lens's centre, uniform in area."""
    if lens.source_offset == "fraction":
        radius = theta_e * lens.source_offset_fraction * math.sqrt(u_a)
        return radius * math.cos(2 * math.pi * u_b), radius * math.sin(2 * math.pi * u_b)
    # The caustic is star-shaped about the centre: choose a triangle of its fan by area, then a point in it.
    vertices = radial_caustic(theta_e, axis_ratio=q, phi_rad=phi)
    following = np.roll(vertices, -1, axis=0)
    areas = np.abs(vertices[:, 0] * following[:, 1] - vertices[:, 1] * following[:, 0])
    cumulative = np.cumsum(areas)
    sector = min(int(np.searchsorted(cumulative, u_sector * cumulative[-1])), len(areas) - 1)
    outward = math.sqrt(u_a)
    point = outward * ((1 - u_b) * vertices[sector] + u_b * following[sector])
    return float(point[0]), float(point[1])


def _magnitudes(
    u_r: float, u_extra: float, n_gr: float, n_rz: float, *, colour: ColourConfig
) -> tuple[float, float, float]:
    r = _power_law_magnitude(u_r, colour.r_mag, colour.r_mag_slope)
    if isinstance(colour, SeedSedColour):
        evolution = min(max((_between(u_extra, colour.source_redshift) - 1) / 2, 0.0), 1.0)
        return r - 0.30 * (1 + 0.3 * evolution), r, r + 0.20 * (1 + 0.2 * evolution)
    red = u_extra < colour.red_fraction
    g_r = (colour.red_g_r_mean if red else colour.g_r_mean) + n_gr * colour.g_r_sigma
    r_z = (colour.red_r_z_mean if red else colour.r_z_mean) + n_rz * colour.r_z_sigma
    return r + g_r, r, r - r_z


def _power_law_magnitude(u: float, limits: Range, slope: float) -> float:
    """Inverse CDF of p(m) ~ 10**(slope m) on [low, high]."""
    span = limits.high - limits.low
    if abs(slope) < 1e-6 or span == 0:
        return limits.low + u * span
    return limits.low + math.log10(1 + u * (10 ** (slope * span) - 1)) / slope


def _between(u: float, limits: Range) -> float:
    return limits.low + u * (limits.high - limits.low)
