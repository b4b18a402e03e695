"""Draws lenses and sources for given galaxies, from the configured priors (SCIENCE sections 2 and 3).

Every draw takes a fixed number of variates from its own generator; the arithmetic runs on whole batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from dhs.config.base import Range
from dhs.config.injection import ColourConfig, GridLens, LensConfig, SeedSedColour
from dhs.constants import BANDS
from dhs.lens.sie import radial_caustics

MIN_AXIS_RATIO = 0.2
"""Flattest mass drawn; flatter isothermal lenses are not galaxies."""

_UNIFORMS, _NORMALS = 9, 5
"""Variates of one geometry."""

Rngs = Sequence[np.random.Generator]
ChooseSource = Callable[[np.ndarray], np.ndarray]
"""`dhs.source.base.Source.choose`."""


@dataclass(frozen=True)
class Geometry:
    """P lenses and source positions; names and units as in RecipeBatch."""

    theta_e_arcsec: np.ndarray
    axis_ratio: np.ndarray
    phi_rad: np.ndarray
    gamma1: np.ndarray
    gamma2: np.ndarray
    lens_x_arcsec: np.ndarray
    lens_y_arcsec: np.ndarray
    source_index: np.ndarray
    source_x_arcsec: np.ndarray
    source_y_arcsec: np.ndarray
    source_rotation_rad: np.ndarray

    def take(self, index: np.ndarray) -> "Geometry":
        """The geometries at ``index``."""
        return Geometry(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def draw_geometry(
    rngs: Rngs,
    *,
    light_axis_ratio: np.ndarray,
    light_angle_rad: np.ndarray,
    lens: LensConfig,
    choose_source: ChooseSource,
) -> Geometry:
    """One lens and source position for each of P generators; (P,) shapes of the galaxies' light, NaN where unknown."""
    # Uniforms and normals of one draw together: a generator may serve several draws of this batch.
    variates = [(rng.random(_UNIFORMS), rng.standard_normal(_NORMALS)) for rng in rngs]
    u, normal = np.array([v[0] for v in variates]), np.array([v[1] for v in variates])
    theta_e = _theta_e(u[:, 0], lens)
    q, phi = _mass_shape(u[:, 1:3], normal[:, 0:2], light_axis_ratio, light_angle_rad, lens=lens)
    shear, shear_angle = np.abs(normal[:, 2]) * lens.shear_sigma, 2 * np.pi * u[:, 3]
    gamma1, gamma2 = shear * np.cos(shear_angle), shear * np.sin(shear_angle)
    x, y = normal[:, 3] * lens.centre_jitter_arcsec, normal[:, 4] * lens.centre_jitter_arcsec
    offset = _source_offset(u[:, 4:7], lens=lens, theta_e=theta_e, q=q, phi=phi)
    return Geometry(
        theta_e_arcsec=theta_e,
        axis_ratio=q,
        phi_rad=phi,
        gamma1=gamma1,
        gamma2=gamma2,
        lens_x_arcsec=x,
        lens_y_arcsec=y,
        source_index=choose_source(u[:, 7]),
        # The shear acts about the frame's centre: the lens's centre maps to x - (g1 x + g2 y), and so on.
        source_x_arcsec=x - (gamma1 * x + gamma2 * y) + offset[:, 0],
        source_y_arcsec=y - (gamma2 * x - gamma1 * y) + offset[:, 1],
        source_rotation_rad=2 * np.pi * u[:, 8],
    )


def draw_magnitudes(rngs: Rngs, *, colour: ColourConfig, n_draws: int) -> np.ndarray:
    """(P, n_draws, bands) unlensed AB magnitudes."""
    u = np.array([rng.random((n_draws, 2)) for rng in rngs]).reshape(-1, n_draws, 2)
    normal = np.array([rng.standard_normal((n_draws, 2)) for rng in rngs]).reshape(-1, n_draws, 2)
    r = _power_law_magnitude(u[..., 0], colour.r_mag, colour.r_mag_slope)
    if isinstance(colour, SeedSedColour):
        evolution = np.clip((_between(u[..., 1], colour.source_redshift) - 1) / 2, 0, 1)
        mags = {"g": r - 0.30 * (1 + 0.3 * evolution), "r": r, "z": r + 0.20 * (1 + 0.2 * evolution)}
    else:
        red = u[..., 1] < colour.red_fraction
        g_r = np.where(red, colour.red_g_r_mean, colour.g_r_mean) + normal[..., 0] * colour.g_r_sigma
        r_z = np.where(red, colour.red_r_z_mean, colour.r_z_mean) + normal[..., 1] * colour.r_z_sigma
        mags = {"g": r + g_r, "r": r, "z": r - r_z}
    return np.stack([mags[band] for band in BANDS], axis=-1)


def _theta_e(u: np.ndarray, lens: LensConfig) -> np.ndarray:
    if isinstance(lens, GridLens):
        grid = np.array(lens.theta_e_arcsec)
        return grid[np.minimum((u * len(grid)).astype(int), len(grid) - 1)]
    return _between(u, lens.theta_e_arcsec)


def _mass_shape(
    u: np.ndarray, normal: np.ndarray, light_axis_ratio: np.ndarray, light_angle_rad: np.ndarray, *, lens: LensConfig
) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(light_axis_ratio) & np.isfinite(light_angle_rad) & lens.follow_light
    q = np.clip(light_axis_ratio + normal[:, 0] * lens.axis_ratio_scatter, MIN_AXIS_RATIO, 1.0)
    phi = light_angle_rad + np.radians(normal[:, 1] * lens.angle_scatter_deg)
    return np.where(known, q, _between(u[:, 0], lens.axis_ratio)), np.where(known, phi, np.pi * u[:, 1])


def _source_offset(
    u: np.ndarray, *, lens: LensConfig, theta_e: np.ndarray, q: np.ndarray, phi: np.ndarray
) -> np.ndarray:
    """(P, 2) offset from the source-plane image of the lens's centre, uniform in area."""
    outward = np.sqrt(u[:, 1])
    if lens.source_offset == "fraction":
        radius = theta_e * lens.source_offset_fraction * outward
        return radius[:, None] * np.stack([np.cos(2 * np.pi * u[:, 2]), np.sin(2 * np.pi * u[:, 2])], axis=1)
    # The caustic is star-shaped about the centre: choose a triangle of its fan by area, then a point in it.
    vertices = radial_caustics(theta_e, axis_ratio=q, phi_rad=phi)
    following = np.roll(vertices, -1, axis=1)
    areas = np.abs(vertices[..., 0] * following[..., 1] - vertices[..., 1] * following[..., 0])
    cumulative = np.cumsum(areas, axis=1)
    sector = np.minimum((cumulative < u[:, :1] * cumulative[:, -1:]).sum(axis=1), areas.shape[1] - 1)
    rows, along = np.arange(len(u)), u[:, 2:3]
    return outward[:, None] * ((1 - along) * vertices[rows, sector] + along * following[rows, sector])


def _power_law_magnitude(u: np.ndarray, limits: Range, slope: float) -> np.ndarray:
    """Inverse CDF of p(m) ~ 10**(slope m) on [low, high]."""
    span = limits.high - limits.low
    if abs(slope) < 1e-6 or span == 0:
        return limits.low + u * span
    return limits.low + np.log10(1 + u * (10 ** (slope * span) - 1)) / slope


def _between(u: np.ndarray, limits: Range) -> np.ndarray:
    return limits.low + u * (limits.high - limits.low)
