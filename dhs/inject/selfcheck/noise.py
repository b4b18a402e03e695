"""Checks of the noise that arcs add (`inject.arc_noise`): none, or the Poisson noise of the arc's own light.

The arc's noise is the stamp minus galaxy minus the noise-free arc of the recipe. Its variance must be ``arc / gain``,
the gain of a sky-limited coadd ``sky * median(invvar)`` (electrons per nanomaggy), its correlation the configured one,
and it must end where the arc ends.
"""

from typing import NamedTuple

import numpy as np

from dhs.constants import BANDS
from dhs.inject.selfcheck.light import gain_e_per_nmgy, painted
from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.rows import Check, at_most, close

BRIGHT_FRACTION = 0.01
"""Of the arc's peak: where its noise is measured, well above the rounding of the galaxy's pixels."""

MAX_LAG_PX = 5


class ArcNoise(NamedTuple):
    """What injection added beside the noise-free arcs of the stamps, (n, bands, N, N) each."""

    residual_nmgy: np.ndarray
    sigma_nmgy: np.ndarray
    """Expected of the arc's own photons."""
    bright: np.ndarray
    """bool: pixels where it is measured."""

    @property
    def unit(self) -> np.ndarray:
        """Residuals over their expected sigma; 0 elsewhere."""
        return np.where(self.bright, self.residual_nmgy / np.where(self.bright, self.sigma_nmgy, 1), 0)


def arc_noise(physics: Physics) -> ArcNoise:
    """Residuals of the stamps, and what they should be."""
    arcs = painted(physics, physics.stamps.recipes).double().numpy()
    gain = gain_e_per_nmgy(physics)[:, :, None, None]
    sigma = np.sqrt(np.clip(arcs, 0, None) / gain)
    bright = arcs > BRIGHT_FRACTION * arcs.max(axis=(-2, -1), keepdims=True)
    return ArcNoise(physics.arcs_nmgy - arcs, sigma, bright)


def noise(physics: Physics) -> list[Check]:
    """Nothing, or the configured noise: variance, mean, correlation."""
    if physics.config.inject.arc_noise == "none":
        return _no_noise(physics)
    found = arc_noise(physics)
    why = "the arc's own photons: the gain (150 e-/nMgy is 50 to 1,000 times too small), or the noise of something else"
    rows = []
    for i, band in enumerate(BANDS):
        unit = found.unit[:, i][found.bright[:, i]]
        quantity = f"variance of the arcs' noise / (arc / gain), {band}, {unit.size} pixels"
        rows.append(
            close("noise", quantity, expected=1, got=float(unit.var()), allowed=variance_allowed(unit.size), why=why)
        )
        why_mean = "the arc's noise has a mean: light is added or lost"
        quantity = f"mean of the arcs' noise / its sigma, {band}"
        rows.append(
            close("noise", quantity, expected=0, got=float(unit.mean()), allowed=mean_allowed(unit.size), why=why_mean)
        )
    along = autocorrelation(found.unit, found.bright)
    for lag, label in ((along[0, 1], "x"), (along[1, 0], "y")):
        why = "the arc's noise is not correlated like the coadd's: a texture that marks positives"
        quantity = f"lag-1 correlation of the arcs' noise along {label}"
        want = expected_lag1(physics)
        rows.append(close("noise", quantity, expected=want, got=float(lag), allowed=LAG_ALLOWED, why=why))
    return rows


LAG_ALLOWED = 0.03
"""Five sigma of the lag-1 correlation over 3e4 pixels; white noise in place of 0.13 is four times that."""


def variance_allowed(n: int) -> float:
    """Five sigma of the variance of ``n`` correlated normal pixels, 3% at least (the arc's sampling)."""
    return max(0.03, 5 * np.sqrt(2 * 1.5 / n))


def mean_allowed(n: int) -> float:
    """Five sigma of the mean of ``n`` pixels with a coadd's correlation."""
    return float(5 * np.sqrt(2 / n))


def expected_lag1(physics: Physics) -> float:
    """Configured correlation of neighbouring pixels."""
    inject = physics.config.inject
    return inject.arc_noise_lag1 if inject.arc_noise == "poisson_correlated" else 0.0


def autocorrelation(unit: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(L, L) mean product of pixels (dy, dx) apart, both within ``where``, over the variance; lags 0 to 5."""
    out = np.empty((MAX_LAG_PX + 1, MAX_LAG_PX + 1))
    n = unit.shape[-1]
    for dy, dx in np.ndindex(*out.shape):
        first, second = unit[..., : n - dy, : n - dx], unit[..., dy:, dx:]
        pairs = where[..., : n - dy, : n - dx] & where[..., dy:, dx:]
        out[dy, dx] = (first * second)[pairs].mean()
    return out / out[0, 0]


def _no_noise(physics: Physics) -> list[Check]:
    """The residual is nothing beside the coadd's noise."""
    residual = physics.arcs_nmgy - painted(physics, physics.stamps.recipes).double().numpy()
    invvar = np.median(np.asarray(physics.cutouts.invvar[physics.stamps.recipes.row]), axis=(-2, -1))
    rms = np.sqrt((residual**2).mean(axis=(-2, -1)) * invvar)
    return [
        at_most(
            "noise",
            f"rms of what is added beside the arc / noise of the coadd, {band}",
            expected=0,
            got=float(rms[:, i].max()),
            limit=1e-3,
            why="noise that controls do not have marks the positives",
        )
        for i, band in enumerate(BANDS)
    ]
