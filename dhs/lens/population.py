"""The natural law of lenses: how theta_E, sigma_v and the redshifts are distributed on the sky.

    p(theta_E, z_l, z_s) ~ dV/dz_l  phi(sigma) dsigma/dtheta_E  n(z_s)  theta_E^2

phi is the velocity-dispersion function of Choi, Park & Vogeley (2007, ApJ 658, 884), constant in comoving density;
n(z_s) ~ z^2 exp(-(z/z0)^1.5), z0 = median / 1.412 (Smail, Ellis & Fitchett 1994); theta_E^2 is the cross-section of an
isothermal lens. The integrals are those of Collett (2015, ApJ 811, 20). Not in it: magnification bias (the
acceptance cuts do that part), evolution of phi, and the dependence of the cross-section on axis ratio (some per cent).

With x = (sigma / sigma*)^beta, sigma^4 phi(sigma) is a gamma distribution of x, so everything in sigma is analytic and
only (z_l, z_s) is tabulated, by z_l and by the share t of the way from z_l to the farthest source.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gamma, gammainc, gammaincinv

from dhs.config.base import Range
from dhs.config.lens import LensPopulation
from dhs.cosmology import distance_ratio, volume_per_redshift
from dhs.lens.velocity_dispersion import SIS_ARCSEC, einstein_radius_arcsec

N_LENS, N_SOURCE, N_THETA = 64, 96, 256

MEDIAN_OVER_SCALE = 1.412
"""Median of n(z) over z0."""


class NaturalDraw(NamedTuple):
    """(P,) each."""

    theta_e_arcsec: np.ndarray
    sigma_v_km_s: np.ndarray
    z_lens: np.ndarray
    z_source: np.ndarray


class SourceRedshifts:
    """n(z) up to ``source_redshift_max``: with t = (z / z0)^1.5 it is a gamma distribution of shape 2."""

    def __init__(self, population: LensPopulation) -> None:
        self._scale = population.source_redshift_median / MEDIAN_OVER_SCALE
        self._high = population.source_redshift_max
        self._below_high = float(gammainc(2.0, (self._high / self._scale) ** 1.5))

    def density(self, redshift: np.ndarray) -> np.ndarray:
        """n(z), not normalised."""
        return np.square(redshift) * np.exp(-((redshift / self._scale) ** 1.5))

    def beyond(self, redshift: np.ndarray) -> np.ndarray:
        """Share of all sources that lie beyond ``redshift``."""
        below = gammainc(2.0, (np.asarray(redshift) / self._scale) ** 1.5)
        return np.clip(1.0 - below / self._below_high, 0.0, 1.0)

    def draw_beyond(self, u: np.ndarray, *, redshift: np.ndarray) -> np.ndarray:
        """Inverse CDF at uniforms ``u`` of n(z) beyond ``redshift`` (broadcast)."""
        rank = self._below_high * (1.0 - self.beyond(redshift) * (1.0 - u))
        return self._scale * gammaincinv(2.0, rank) ** (2.0 / 3.0)


class NaturalLaw:
    """The law within an interval of theta_E, tables built once."""

    def __init__(self, population: LensPopulation, *, theta_e_arcsec: Range) -> None:
        self._population, self._limits = population, theta_e_arcsec
        self._shape = (population.alpha + 4.0) / population.beta
        z_lens, t = _mid(population.lens_redshift.low, population.lens_redshift.high, N_LENS), _mid(0.0, 1.0, N_SOURCE)
        z_source = z_lens[:, None] + t * (population.source_redshift_max - z_lens[:, None])
        ratio = distance_ratio(z_lens[:, None], z_source)
        share = volume_per_redshift(z_lens)[:, None] * SourceRedshifts(population).density(z_source) * ratio**2
        share *= (population.source_redshift_max - z_lens)[:, None]
        low, high = self._ranks(ratio)
        self._cumulative = np.cumsum((share * (high - low)).ravel())
        self._theta = np.geomspace(theta_e_arcsec.low, theta_e_arcsec.high, N_THETA)
        density = np.array([(share * self._theta_density(theta, ratio)).sum() for theta in self._theta])
        total = np.trapezoid(density, self._theta)
        self._density = density / total if total > 0 else np.ones(N_THETA)

    def density(self, theta_e_arcsec: np.ndarray) -> np.ndarray:
        """p(theta_E) per arcsec, normalised over the interval, at theta_E inside it."""
        return np.interp(theta_e_arcsec, self._theta, self._density)

    def draw(self, u: np.ndarray) -> NaturalDraw:
        """P lenses from (P, 4) uniforms."""
        population = self._population
        cell = np.searchsorted(self._cumulative, u[:, 0] * self._cumulative[-1], side="right")
        row, column = np.divmod(np.minimum(cell, len(self._cumulative) - 1), N_SOURCE)
        span = population.lens_redshift.high - population.lens_redshift.low
        z_lens = population.lens_redshift.low + span * (row + u[:, 1]) / N_LENS
        z_source = z_lens + (population.source_redshift_max - z_lens) * (column + u[:, 2]) / N_SOURCE
        low, high = self._ranks(distance_ratio(z_lens, z_source))
        x = gammaincinv(self._shape, low + u[:, 3] * (high - low))
        sigma = population.sigma_star_km_s * x ** (1.0 / population.beta)
        theta = einstein_radius_arcsec(sigma, z_lens=z_lens, z_source=z_source)
        return NaturalDraw(np.clip(theta, self._limits.low, self._limits.high), sigma, z_lens, z_source)

    def _ranks(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cumulative share of sigma^4 phi below the sigma of either end of the interval, at D_ls / D_s = ``ratio``."""
        return (
            gammainc(self._shape, self._x(self._limits.low, ratio)),
            gammainc(self._shape, self._x(self._limits.high, ratio)),
        )

    def _x(self, theta_e_arcsec: float, ratio: np.ndarray) -> np.ndarray:
        sigma = np.sqrt(theta_e_arcsec / (SIS_ARCSEC * np.maximum(ratio, 1e-6)))
        return (sigma / self._population.sigma_star_km_s) ** self._population.beta

    def _theta_density(self, theta_e_arcsec: float, ratio: np.ndarray) -> np.ndarray:
        """sigma^4 phi(sigma) dsigma / dtheta_E: with dx/dtheta = x beta / (2 theta)."""
        x, shape = self._x(theta_e_arcsec, ratio), self._shape
        return x**shape * np.exp(-x) / gamma(shape) * self._population.beta / (2.0 * theta_e_arcsec)


def _mid(low: float, high: float, n: int) -> np.ndarray:
    """Middles of ``n`` equal cells."""
    return low + (high - low) * (np.arange(n) + 0.5) / n
