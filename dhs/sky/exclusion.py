"""Known lenses are neither hosts nor negatives: what lies within 11 arcsec of one is left out and counted."""

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dhs.config.targets import Exclusion
from dhs.sky.sky_match import SkyIndex, read_positions_csv


def known_lenses(config: Exclusion) -> SkyIndex:
    """Index of every position that ``config`` excludes."""
    lists = [read_positions_csv(path) for path in config.csv]
    if config.lenscat:
        lists.append(lenscat_positions())
    if not lists:
        return SkyIndex(np.empty(0), np.empty(0))
    return SkyIndex(np.concatenate([ra for ra, _ in lists]), np.concatenate([dec for _, dec in lists]))


def near_known_lens(ra_deg: np.ndarray, dec_deg: np.ndarray, *, lenses: SkyIndex, radius_arcsec: float) -> np.ndarray:
    """(N,) bool: within ``radius_arcsec`` of a known lens."""
    row, _ = lenses.nearest(ra_deg, dec_deg, within_arcsec=radius_arcsec)
    return row >= 0


def lenscat_positions() -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec in degrees of lenscat (Vujeva et al. 2024), from its bundled CSV.

    The table is read without importing the package, whose import takes seconds and draws in plotting and sky maps; no
    network is used. ValueError when lenscat is not installed.
    """
    spec = find_spec("lenscat")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            "lenscat is not installed: pip install lenscat, or task.exclusion.lenscat=false with your list"
        )
    path = Path(spec.submodule_search_locations[0]) / "data" / "catalog.csv"
    with path.open(newline="") as file:
        rows = [(float(row["RA [deg]"]), float(row["DEC [deg]"])) for row in csv.DictReader(file)]
    ra, dec = np.array(rows).T
    return ra % 360.0, dec
