"""Distances of one flat cosmology: astropy's, tabulated once, interpolated in the hot loop.

Flat LambdaCDM with H0 = 70 km/s/Mpc and Omega_m = 0.3, the cosmology in which the scaling relations used here were
measured (Bernardi+2003, Choi+2007). theta_E does not depend on H0; Planck 2018 changes D_ls/D_s by about 1%.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.cosmology import FlatLambdaCDM

HUBBLE_KM_S_MPC = 70.0
OMEGA_M = 0.3
MAX_REDSHIFT = 10.0
N_NODES = 4001

SPEED_OF_LIGHT_KM_S = 299_792.458
ARCSEC_PER_RAD = 206_264.806


def cosmology() -> "FlatLambdaCDM":
    """The astropy cosmology behind the tables."""
    from astropy.cosmology import FlatLambdaCDM

    return FlatLambdaCDM(H0=HUBBLE_KM_S_MPC, Om0=OMEGA_M)


def comoving_distance_mpc(redshift: np.ndarray) -> np.ndarray:
    """Line-of-sight comoving distance, redshifts 0 to MAX_REDSHIFT; relative error below 1e-5 for z > 0.01."""
    nodes, distance = _table()
    return np.interp(redshift, nodes, distance)


def distance_modulus_mag(redshift: np.ndarray) -> np.ndarray:
    """m - M without K-correction: ``5 log10(D_L / 10 pc)``, ``D_L = (1 + z) D_C`` (flat)."""
    redshift = np.asarray(redshift, dtype=np.float64)
    return 5.0 * np.log10((1.0 + redshift) * comoving_distance_mpc(redshift)) + 25.0


def volume_per_redshift(redshift: np.ndarray) -> np.ndarray:
    """Comoving volume per redshift and steradian, Mpc^3: ``c / H0 D_C^2 / E(z)`` (Hogg 1999, eq. 28, flat)."""
    redshift = np.asarray(redshift, dtype=np.float64)
    expansion = np.sqrt(OMEGA_M * (1.0 + redshift) ** 3 + 1.0 - OMEGA_M)
    return SPEED_OF_LIGHT_KM_S / HUBBLE_KM_S_MPC * comoving_distance_mpc(redshift) ** 2 / expansion


def distance_ratio(z_lens: np.ndarray, z_source: np.ndarray) -> np.ndarray:
    """``D_ls / D_s = 1 - D_C(z_l) / D_C(z_s)`` (flat; Hogg 1999, eq. 19); 0 where the source is not behind the lens."""
    return np.maximum(1.0 - comoving_distance_mpc(z_lens) / comoving_distance_mpc(z_source), 0.0)


@lru_cache(maxsize=1)
def _table() -> tuple[np.ndarray, np.ndarray]:
    nodes = np.linspace(0.0, MAX_REDSHIFT, N_NODES)
    return nodes, cosmology().comoving_distance(nodes).value
