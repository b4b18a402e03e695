"""Redshifts of the mock survey: what a photometric catalogue would give for the magnitudes of each galaxy.

The posterior mean over an early type's colour track (`dhs.early_types`), an intrinsic scatter of the red sequence, and
a luminosity prior (M_r about -22, half a magnitude above M* of early types: Bernardi+2003, AJ 125, 1849), plus the
scatter of photometric redshifts of LRGs, 0.02 (1 + z) (Zhou+2021, MNRAS 501, 3309). The other classes pass the
same LRG cuts, so they get the redshift that a catalogue would: an LRG's.
"""

import numpy as np

from dhs.early_types import G_R, R_Z, REDSHIFT, absolute_r_mag

GRID = np.arange(0.06, 1.05, 0.01)
COLOUR_SIGMA = np.array([0.20, 0.12])
"""Scatter of g-r and r-z about the track: red-sequence width, photometric errors, template mismatch."""
LUMINOSITY_MAG, LUMINOSITY_SIGMA_MAG = -22.0, 0.7
"""M_r (AB, today, H0 = 70) of LRGs."""
SCATTER = 0.02
"""Photometric redshift scatter over (1 + z)."""


def redshift_of_mags(mags: np.ndarray) -> float:
    """Posterior mean redshift of an early type of g, r, z magnitudes (3,)."""
    g_r, r_z = mags[0] - mags[1], mags[1] - mags[2]
    offset = (g_r - np.interp(GRID, REDSHIFT, G_R)) ** 2 / COLOUR_SIGMA[0] ** 2
    offset += (r_z - np.interp(GRID, REDSHIFT, R_Z)) ** 2 / COLOUR_SIGMA[1] ** 2
    luminosity = absolute_r_mag(np.full(len(GRID), mags[2]), redshift=GRID)
    offset += (luminosity - LUMINOSITY_MAG) ** 2 / LUMINOSITY_SIGMA_MAG**2
    posterior = np.exp(-0.5 * (offset - offset.min()))
    return float((GRID * posterior).sum() / posterior.sum())


def draw_photometric_redshift(rng: np.random.Generator, *, mags: np.ndarray) -> float:
    """As a catalogue would have it: `redshift_of_mags` with photometric scatter, inside the grid."""
    redshift = redshift_of_mags(mags)
    return float(np.clip(redshift + SCATTER * (1.0 + redshift) * rng.standard_normal(), GRID[0], GRID[-1]))
