"""Draws lenses and source positions for given galaxies, from the configured priors (SCIENCE section 3).

Every draw takes a fixed number of variates from its own generator; the arithmetic runs on whole batches.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from dhs.config.lens import LensConfig
from dhs.inject.strength import Galaxies, StrengthPrior, between
from dhs.lens.sie import radial_caustics

MIN_AXIS_RATIO = 0.2
"""Flattest mass drawn; flatter isothermal lenses are not galaxies."""

_UNIFORMS, _NORMALS = 9, 5
"""Variates of one geometry, beside those of the theta_E prior."""

Rngs = Sequence[np.random.Generator]
ChooseSource = Callable[[np.ndarray], np.ndarray]
"""`dhs.source.base.Source.choose`."""

POLAR: tuple[str, ...] = ("shear", "shear_angle_rad", "source_offset_theta_e")
"""What may be given beside columns of `Geometry`: the shear's size and direction (gamma1 = shear cos, gamma2 = shear
sin), and the distance of the source from the image of the lens's centre, in theta_E, in a drawn direction."""


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
    sigma_v_km_s: np.ndarray
    z_lens: np.ndarray
    z_source: np.ndarray
    natural_weight: np.ndarray
    source_index: np.ndarray
    source_x_arcsec: np.ndarray
    source_y_arcsec: np.ndarray
    source_rotation_rad: np.ndarray

    def take(self, index: np.ndarray) -> "Geometry":
        """The geometries at ``index``."""
        return Geometry(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def draw_geometry(
    rngs: Iterable[np.random.Generator],
    *,
    galaxies: Galaxies,
    lens: LensConfig,
    strength: StrengthPrior,
    choose_source: ChooseSource,
    given: Mapping[str, np.ndarray] | None = None,
) -> Geometry:
    """One lens and source position for each of P generators and ``galaxies``; ``given`` as `geometry_of` takes it."""
    n_uniforms, n_normals = n_variates(strength)
    # Uniforms and normals of one draw together: a generator may serve several draws of this batch.
    variates = [(rng.random(n_uniforms), rng.standard_normal(n_normals)) for rng in rngs]
    return geometry_of(
        np.array([v[0] for v in variates]),
        np.array([v[1] for v in variates]),
        galaxies=galaxies,
        lens=lens,
        strength=strength,
        choose_source=choose_source,
        given=given,
    )


def n_variates(strength: StrengthPrior) -> tuple[int, int]:
    """Uniforms and normals of one draw."""
    return _UNIFORMS + strength.n_uniforms, _NORMALS + strength.n_normals


def geometry_of(
    u: np.ndarray,
    normal: np.ndarray,
    *,
    galaxies: Galaxies,
    lens: LensConfig,
    strength: StrengthPrior,
    choose_source: ChooseSource,
    given: Mapping[str, np.ndarray] | None = None,
) -> Geometry:
    """One lens and source position for each of P ``galaxies`` from its variates, as many a row as `n_variates` says.

    ``given`` (P,) columns of `Geometry`, or names of POLAR, are taken instead of drawn, and what depends on them
    follows: the variates stay the same.
    """
    given = {} if given is None else given
    drawn = strength.draw(u[:, 0], u[:, _UNIFORMS:], normal[:, _NORMALS:], galaxies=galaxies)
    theta_e = given.get("theta_e_arcsec", drawn.theta_e_arcsec)
    q, phi = _mass_shape(u[:, 1:3], normal[:, 0:2], galaxies.axis_ratio, galaxies.position_angle_rad, lens=lens)
    q, phi = given.get("axis_ratio", q), given.get("phi_rad", phi)
    shear = given.get("shear", np.abs(normal[:, 2]) * lens.shear_sigma)
    shear_angle = given.get("shear_angle_rad", 2 * np.pi * u[:, 3])
    gamma1 = given.get("gamma1", shear * np.cos(shear_angle))
    gamma2 = given.get("gamma2", shear * np.sin(shear_angle))
    x = given.get("lens_x_arcsec", galaxies.x_arcsec + normal[:, 3] * lens.centre_jitter_arcsec)
    y = given.get("lens_y_arcsec", galaxies.y_arcsec + normal[:, 4] * lens.centre_jitter_arcsec)
    if "source_offset_theta_e" in given:
        offset = _polar(theta_e * given["source_offset_theta_e"], turn=u[:, 6])
    else:
        offset = _source_offset(u[:, 4:7], lens=lens, theta_e=theta_e, q=q, phi=phi)
    columns = {
        **drawn._asdict(),
        "axis_ratio": q,
        "phi_rad": phi,
        "gamma1": gamma1,
        "gamma2": gamma2,
        "lens_x_arcsec": x,
        "lens_y_arcsec": y,
        "source_index": choose_source(u[:, 7]),
        # The shear acts about the frame's centre: the lens's centre maps to x - (g1 x + g2 y), and so on.
        "source_x_arcsec": x - (gamma1 * x + gamma2 * y) + offset[:, 0],
        "source_y_arcsec": y - (gamma2 * x - gamma1 * y) + offset[:, 1],
        "source_rotation_rad": 2 * np.pi * u[:, 8],
    }
    if "theta_e_arcsec" in given:  # what it was drawn from no longer says how strong the lens is, or how rare
        unknown = np.full(len(x), np.nan)
        columns |= {"sigma_v_km_s": unknown, "natural_weight": unknown.copy()}
    return Geometry(**(columns | {name: values for name, values in given.items() if name not in POLAR}))


def _mass_shape(
    u: np.ndarray, normal: np.ndarray, light_axis_ratio: np.ndarray, light_angle_rad: np.ndarray, *, lens: LensConfig
) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(light_axis_ratio) & np.isfinite(light_angle_rad) & lens.follow_light
    q = np.clip(light_axis_ratio + normal[:, 0] * lens.axis_ratio_scatter, MIN_AXIS_RATIO, 1.0)
    phi = light_angle_rad + np.radians(normal[:, 1] * lens.angle_scatter_deg)
    return np.where(known, q, between(u[:, 0], lens.axis_ratio)), np.where(known, phi, np.pi * u[:, 1])


def _source_offset(
    u: np.ndarray, *, lens: LensConfig, theta_e: np.ndarray, q: np.ndarray, phi: np.ndarray
) -> np.ndarray:
    """(P, 2) offset from the source-plane image of the lens's centre, uniform in area."""
    outward = np.sqrt(u[:, 1])
    if lens.source_offset == "fraction":
        return _polar(theta_e * lens.source_offset_fraction * outward, turn=u[:, 2])
    # The caustic is star-shaped about the centre: choose a triangle of its fan by area, then a point in it.
    vertices = radial_caustics(theta_e, axis_ratio=q, phi_rad=phi)
    following = np.roll(vertices, -1, axis=1)
    areas = np.abs(vertices[..., 0] * following[..., 1] - vertices[..., 1] * following[..., 0])
    cumulative = np.cumsum(areas, axis=1)
    sector = np.minimum((cumulative < u[:, :1] * cumulative[:, -1:]).sum(axis=1), areas.shape[1] - 1)
    rows, along = np.arange(len(u)), u[:, 2:3]
    return outward[:, None] * ((1 - along) * vertices[rows, sector] + along * following[rows, sector])


def _polar(radius: np.ndarray, *, turn: np.ndarray) -> np.ndarray:
    """(P, 2) vectors of (P,) ``radius``; ``turn`` in [0, 1) is the direction."""
    return radius[:, None] * np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], axis=1)
