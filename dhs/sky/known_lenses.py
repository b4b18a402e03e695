"""Known lenses on the sky: the 32,838 of lenscat (Vujeva et al. 2024), positions only, read from its own table.

The package's own import drags in plotting and gravitational-wave sky maps; its catalogue is one CSV, found without
importing it.
"""

import csv
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord

from dhs.sky.anchors import read_anchors


class KnownLenses(NamedTuple):
    """M lenses and candidates of every kind (galaxies, groups, clusters)."""

    name: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray


def _first_name(aliases: str) -> str:
    """One of "178 | J1631+1854 | SDSSJ163150.33+185404.1": the first that names a position, else the first."""
    names = [name.strip() for name in aliases.split("|")]
    return next((name for name in names if "J" in name), names[0])


@cache
def lenscat() -> KnownLenses:
    """lenscat's catalogue; ValueError when the package is not installed."""
    spec = find_spec("lenscat")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("lenscat is not installed: its table is the second catalogue; pip install --no-deps lenscat")
    path = Path(spec.submodule_search_locations[0]) / "data" / "catalog.csv"
    with path.open(newline="") as file:
        rows = [
            (_first_name(row["name"]), float(row["RA [deg]"]), float(row["DEC [deg]"])) for row in csv.DictReader(file)
        ]
    name, ra, dec = zip(*rows, strict=True)
    return KnownLenses(np.array(name), np.array(ra), np.array(dec))


def read_known_lenses(path: Path) -> KnownLenses:
    """A user's second catalogue: CSV with name, ra_deg, dec_deg (as `dhs.sky.anchors.read_anchors` checks it)."""
    listed = read_anchors(path)
    return KnownLenses(listed.name, listed.ra_deg, listed.dec_deg)


def nearest(ra_deg: np.ndarray, dec_deg: np.ndarray, *, known: KnownLenses) -> tuple[np.ndarray, np.ndarray]:
    """Row of the nearest known lens and its distance in arcsec, (N,) each."""
    here = SkyCoord(np.asarray(ra_deg) * units.deg, np.asarray(dec_deg) * units.deg)
    there = SkyCoord(known.ra_deg * units.deg, known.dec_deg * units.deg)
    row, separation, _ = here.match_to_catalog_sky(there)
    return np.asarray(row), separation.arcsec
