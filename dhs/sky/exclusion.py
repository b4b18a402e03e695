"""Known lenses are neither hosts nor negatives: what lies within 11 arcsec of one is left out and counted."""

import numpy as np

from dhs.config.targets import Exclusion
from dhs.sky.known_lenses import lenscat
from dhs.sky.sky_match import SkyIndex, read_positions_csv


def known_lenses(config: Exclusion) -> SkyIndex:
    """Index of every position that ``config`` excludes."""
    lists = [read_positions_csv(path) for path in config.csv]
    if config.lenscat:
        catalogue = lenscat()
        lists.append((catalogue.ra_deg % 360.0, catalogue.dec_deg))
    if not lists:
        return SkyIndex(np.empty(0), np.empty(0))
    return SkyIndex(np.concatenate([ra for ra, _ in lists]), np.concatenate([dec for _, dec in lists]))


def near_known_lens(ra_deg: np.ndarray, dec_deg: np.ndarray, *, lenses: SkyIndex, radius_arcsec: float) -> np.ndarray:
    """(N,) bool: within ``radius_arcsec`` of a known lens."""
    row, _ = lenses.nearest(ra_deg, dec_deg, within_arcsec=radius_arcsec)
    return row >= 0
