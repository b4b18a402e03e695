"""theta_E priors: grid, uniform, natural, photometric (`lens=`), each with the weight that turns it into nature's.

`natural_weight` of a draw is p_natural(theta_E) / p_prior(theta_E), so that sums over stamps weighted with it estimate
what a survey would see. Grid, uniform and natural weights have mean 1 over the prior's draws. The hosts of
`photometric` are the survey's own galaxies, so theirs is the cross-section, the share of sources behind the lens and
the share of redraws inside the interval: ``(theta_E / 1")^2 P(z_s > z_l) n_in / n``, meaningful up to a constant.
Weights speak of the prior: acceptance cuts come after.
"""

from typing import NamedTuple, Protocol

import numpy as np

from dhs.config.base import Range
from dhs.config.lens import GridLens, LensConfig, NaturalLens, PhotometricLens, UniformLens
from dhs.constants import BANDS
from dhs.early_types import absolute_r_mag
from dhs.lens.population import NaturalLaw, SourceRedshifts
from dhs.lens.velocity_dispersion import einstein_radius_arcsec, log_sigma_of_luminosity
from dhs.sky.cutouts import CutoutSet

MIN_REDSHIFT = 0.01
"""A nearer galaxy is no lens, and its distance no longer follows from its redshift."""


class Galaxies(NamedTuple):
    """What the priors know of P galaxies; (P,) float64, NaN where unknown."""

    axis_ratio: np.ndarray
    position_angle_rad: np.ndarray
    x_arcsec: np.ndarray
    """Centre of the light in the stamp; 0 where unknown."""
    y_arcsec: np.ndarray
    z_mag: np.ndarray
    redshift: np.ndarray


class Strength(NamedTuple):
    """(P,) each; NaN where the prior does not say."""

    theta_e_arcsec: np.ndarray
    sigma_v_km_s: np.ndarray
    z_lens: np.ndarray
    z_source: np.ndarray
    natural_weight: np.ndarray


class StrengthPrior(Protocol):
    """Turns one uniform, and as many more variates as it asks for, into a lens."""

    n_uniforms: int
    """Uniforms beyond the first."""
    n_normals: int

    def draw(self, first: np.ndarray, u: np.ndarray, normal: np.ndarray, *, galaxies: Galaxies) -> Strength:
        """P lenses from (P,) ``first``, (P, n_uniforms), (P, n_normals)."""
        ...


def galaxies_of(cutouts: CutoutSet, rows: np.ndarray) -> Galaxies:
    """What ``cutouts`` know of the galaxies ``rows``."""
    x, y = (
        np.zeros(len(rows)) if column is None else np.nan_to_num(np.asarray(column[rows], dtype=np.float64))
        for column in (cutouts.centre_x_arcsec, cutouts.centre_y_arcsec)
    )
    shape, angle, redshift = (
        np.asarray(column[rows], dtype=np.float64)
        for column in (cutouts.axis_ratio, cutouts.position_angle_rad, cutouts.redshift)
    )
    return Galaxies(shape, angle, x, y, np.asarray(cutouts.mag[rows, BANDS.index("z")], dtype=np.float64), redshift)


def build_strength(lens: LensConfig) -> StrengthPrior:
    """The prior that ``lens.name`` asks for, its tables built."""
    match lens:
        case GridLens():
            return GridStrength(lens)
        case UniformLens():
            return UniformStrength(lens)
        case NaturalLens():
            return NaturalStrength(lens)
        case PhotometricLens():
            return PhotometricStrength(lens)


def require_known(lens: LensConfig, cutouts: CutoutSet, *, hosts: np.ndarray) -> None:
    """ValueError when ``lens`` needs what some of the ``hosts`` (rows) do not have."""
    if not isinstance(lens, PhotometricLens) or lens.unknown != "error":
        return
    missing = int((~_is_known(galaxies_of(cutouts, hosts))).sum())
    if missing:
        raise ValueError(
            f"lens = photometric: {missing} of {len(hosts)} host galaxies have no z magnitude or no redshift above "
            f"{MIN_REDSHIFT}; give them in the sky's columns, choose lens=natural, or set lens.unknown=uniform"
        )


class UniformStrength:
    """Uniform in an interval."""

    n_uniforms = n_normals = 0

    def __init__(self, lens: UniformLens) -> None:
        self._limits = lens.theta_e_arcsec
        self._law = NaturalLaw(lens.population, theta_e_arcsec=self._limits)

    def draw(self, first: np.ndarray, u: np.ndarray, normal: np.ndarray, *, galaxies: Galaxies) -> Strength:
        theta = between(first, self._limits)
        width = self._limits.high - self._limits.low
        weight = self._law.density(theta) * width if width > 0 else np.ones(len(theta))
        return _without_physics(theta, weight, galaxies)


class GridStrength:
    """One of some values, each as likely; its weight is nature's share of the values nearest to it."""

    n_uniforms = n_normals = 0

    def __init__(self, lens: GridLens) -> None:
        self._grid = np.array(lens.theta_e_arcsec)
        self._weight = _grid_weights(lens)

    def draw(self, first: np.ndarray, u: np.ndarray, normal: np.ndarray, *, galaxies: Galaxies) -> Strength:
        index = np.minimum((first * len(self._grid)).astype(int), len(self._grid) - 1)
        return self.of_place(index, galaxies=galaxies)

    def of_place(self, index: np.ndarray, *, galaxies: Galaxies) -> Strength:
        """The lenses of (P,) places in ``theta_e_arcsec``."""
        return _without_physics(self._grid[index], self._weight[index], galaxies)


class NaturalStrength:
    """As nature has it; the lens's redshift and dispersion are the law's, not the host galaxy's."""

    n_uniforms, n_normals = 4, 0

    def __init__(self, lens: NaturalLens) -> None:
        self._law = NaturalLaw(lens.population, theta_e_arcsec=lens.theta_e_arcsec)

    def draw(self, first: np.ndarray, u: np.ndarray, normal: np.ndarray, *, galaxies: Galaxies) -> Strength:
        return Strength(*self._law.draw(u), natural_weight=np.ones(len(u)))


class PhotometricStrength:
    """M_r from the galaxy's z magnitude and redshift -> sigma_v (scatter) -> theta_E for a source drawn behind it."""

    def __init__(self, lens: PhotometricLens) -> None:
        self._lens, self._sources = lens, SourceRedshifts(lens.population)
        self.n_uniforms = self.n_normals = lens.redraws

    def draw(self, first: np.ndarray, u: np.ndarray, normal: np.ndarray, *, galaxies: Galaxies) -> Strength:
        limits = self._lens.theta_e_arcsec
        known = _is_known(galaxies)
        z_lens = np.where(known, galaxies.redshift, 0.5)[:, None]
        z_mag = np.where(known, galaxies.z_mag, 20.0)[:, None]
        log_sigma = log_sigma_of_luminosity(absolute_r_mag(z_mag, redshift=z_lens))
        sigma = 10.0 ** (log_sigma + normal * self._lens.sigma_scatter_dex)
        z_source = self._sources.draw_beyond(u, redshift=z_lens)
        theta = einstein_radius_arcsec(sigma, z_lens=z_lens, z_source=z_source)
        inside = (theta >= limits.low) & (theta <= limits.high)
        rows, chosen = np.arange(len(u)), inside.argmax(axis=1)  # the first inside; the very first where none is
        theta_e = np.where(known, theta[rows, chosen], between(first, limits))
        weight = theta_e**2 * self._sources.beyond(z_lens[:, 0]) * inside.mean(axis=1)
        return Strength(
            theta_e,
            np.where(known, sigma[rows, chosen], np.nan),
            np.where(known, z_lens[:, 0], galaxies.redshift),
            np.where(known, z_source[rows, chosen], np.nan),
            np.where(known, weight, np.nan),
        )


def between(u: np.ndarray, limits: Range) -> np.ndarray:
    """Uniforms ``u`` stretched to ``limits``."""
    return limits.low + u * (limits.high - limits.low)


def _is_known(galaxies: Galaxies) -> np.ndarray:
    return np.isfinite(galaxies.z_mag) & np.isfinite(galaxies.redshift) & (galaxies.redshift > MIN_REDSHIFT)


def _without_physics(theta_e: np.ndarray, weight: np.ndarray, galaxies: Galaxies) -> Strength:
    unknown = np.full(len(theta_e), np.nan)
    return Strength(theta_e, unknown, galaxies.redshift, unknown.copy(), weight)


def _grid_weights(lens: GridLens) -> np.ndarray:
    """Nature's mass nearest to each value (between the middles of neighbours), relative to equal shares; mean 1."""
    values, place = np.unique(lens.theta_e_arcsec, return_inverse=True)
    if len(values) == 1:
        return np.ones(len(lens.theta_e_arcsec))
    law = NaturalLaw(lens.population, theta_e_arcsec=Range(low=float(values[0]), high=float(values[-1])))
    middles = 0.5 * (values[1:] + values[:-1])
    edges = np.concatenate([values[:1], middles, values[-1:]])
    mass = np.array([_mass(law, low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)])
    per_entry = (mass / np.bincount(place))[place]
    return per_entry / per_entry.mean()


def _mass(law: NaturalLaw, low: float, high: float) -> float:
    theta = np.linspace(low, high, 65)
    return float(np.trapezoid(law.density(theta), theta))
