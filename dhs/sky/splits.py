"""Train, val and test by sky position: a hash of the HEALPix pixel decides, so one galaxy is never in two splits.

The fraction of a pixel is the first 64 bits of SHA-256("{salt}:{nside}:{pixel}") over 2**64. Fractions below
``train`` are train, below ``train + val`` val, the rest test: stable for ever, on every machine, whatever else
is in the set. Galaxies without a position are split by the same hash of their id.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from astropy import units
from astropy_healpix import HEALPix

from dhs.config.sky import SplitConfig


def split_of_position(ra_deg: np.ndarray, dec_deg: np.ndarray, *, config: SplitConfig) -> np.ndarray:
    """Split of each position, (N,) int8, an index into constants.SPLITS.

    ``ra_deg``, ``dec_deg``: (N,) degrees, ICRS. ValueError where one is not finite or dec is beyond a pole.
    """
    ra, dec = np.asarray(ra_deg, float), np.asarray(dec_deg, float)
    wrong = ~(np.isfinite(ra) & (np.abs(dec) <= 90.0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"position of row {row} = ({ra[row]}, {dec[row]}): must be finite with dec in [-90, 90] degrees; "
            "split galaxies without a position by their id (split_of_id)"
        )
    healpix = HEALPix(nside=config.nside, order="nested")
    pixels = healpix.lonlat_to_healpix(ra * units.deg, dec * units.deg)
    unique, inverse = np.unique(pixels, return_inverse=True)
    keys = [f"{config.salt}:{config.nside}:{pixel}" for pixel in unique.tolist()]
    return _splits_of_keys(keys, config)[inverse]


def split_of_id(ids: Sequence[str], *, config: SplitConfig) -> np.ndarray:
    """Split of each galaxy without a position, (N,) int8, by the hash of "{salt}:id:{id}"."""
    return _splits_of_keys([f"{config.salt}:id:{name}" for name in ids], config)


def _splits_of_keys(keys: list[str], config: SplitConfig) -> np.ndarray:
    edges = [config.train, config.train + config.val]
    return np.searchsorted(edges, [_fraction(key) for key in keys], side="right").astype(np.int8)


def _fraction(key: str) -> float:
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64
