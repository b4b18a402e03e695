"""Luminous red galaxies by magnitude and colour: the cuts v1 to v5 (SCIENCE section 4).

Magnitudes are AB, from FLUX / MW_TRANSMISSION by default: a galaxy's colour must not depend on the dust before it. At
E(B-V) = 0.1 dust moves r-z by 0.10 and z-W1 by 0.10 mag. `observed` takes FLUX as it is, which is what the published
DR10 parents (shared data) were cut on: all 7,730 pass v3 so, with extremes within 0.001 mag of its three thresholds.
"""

from typing import NamedTuple

import numpy as np

from dhs.constants import AB_ZERO_POINT_MAG


class LrgCut(NamedTuple):
    """z < z_mag_max, r - z > r_z_min, z - W1 > z_w1_min, AB magnitudes."""

    z_mag_max: float
    r_z_min: float
    z_w1_min: float


LRG_CUTS: dict[str, LrgCut] = {
    "v1": LrgCut(20.0, 0.5, 1.6),
    "v2": LrgCut(20.4, 0.4, 1.6),
    "v3": LrgCut(20.4, 0.4, 0.8),
    "v4": LrgCut(21.0, 0.4, 0.8),
    "v5": LrgCut(21.5, 0.3, 0.8),
}
"""SCIENCE section 4; v3 is v3_color_relaxed. The order is that of the bits of `lrg_bits`."""


def magnitude(flux_nmgy: np.ndarray, *, transmission: np.ndarray | None = None) -> np.ndarray:
    """AB magnitude of (N,) fluxes, float64; NaN where the flux is not positive.

    ``transmission``: Galactic transmission in (0, 1] to divide by; None: the magnitude as observed.
    """
    flux = np.asarray(flux_nmgy, float) / (1.0 if transmission is None else np.asarray(transmission, float))
    positive = np.isfinite(flux) & (flux > 0)
    return np.where(positive, AB_ZERO_POINT_MAG - 2.5 * np.log10(np.where(positive, flux, 1.0)), np.nan)


def passes(r_mag: np.ndarray, z_mag: np.ndarray, w1_mag: np.ndarray, *, cut: LrgCut) -> np.ndarray:
    """(N,) bool; a galaxy without one of the magnitudes (NaN) does not pass."""
    return (z_mag < cut.z_mag_max) & (r_mag - z_mag > cut.r_z_min) & (z_mag - w1_mag > cut.z_w1_min)


def lrg_bits(r_mag: np.ndarray, z_mag: np.ndarray, w1_mag: np.ndarray) -> np.ndarray:
    """(N,) int8: bit k is set where the k-th of LRG_CUTS is passed (bit 2: v3)."""
    bits = np.zeros(np.shape(z_mag), np.int8)
    for k, cut in enumerate(LRG_CUTS.values()):
        bits |= (passes(r_mag, z_mag, w1_mag, cut=cut).astype(np.int8) << k).astype(np.int8)
    return bits
