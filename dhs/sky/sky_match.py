"""Nearest neighbours on the sphere, and lists of positions that users bring (CSV)."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

ARCSEC_PER_RAD = np.degrees(1.0) * 3600.0

RA_NAMES = ("ra_deg", "ra", "RA", "RA_deg", "RAJ2000", "TARGET_RA")
DEC_NAMES = ("dec_deg", "dec", "DEC", "DEC_deg", "DEJ2000", "TARGET_DEC")

HOURS_MAX = 24.0
HOURS_DEC_SPAN_DEG = 30.0
"""A list whose right ascensions all lie below 24 while its declinations span more than this is in hours."""


class SkyIndex:
    """Positions that others are matched with; exact great-circle distances through chords of the unit sphere."""

    def __init__(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> None:
        self._n = len(ra_deg)
        self._tree = cKDTree(_unit_vectors(ra_deg, dec_deg)) if self._n else None

    def __len__(self) -> int:
        return self._n

    def nearest(
        self, ra_deg: np.ndarray, dec_deg: np.ndarray, *, within_arcsec: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row of the nearest position, -1 where none lies within the radius, and its distance in arcsec (inf)."""
        n = len(ra_deg)
        if self._tree is None or n == 0:
            return np.full(n, -1), np.full(n, np.inf)
        limit = 2.0 * np.sin(0.5 * within_arcsec / ARCSEC_PER_RAD)
        chord, row = self._tree.query(_unit_vectors(ra_deg, dec_deg), distance_upper_bound=limit * (1 + 1e-9))
        found = np.isfinite(chord)
        distance = np.full(n, np.inf)
        distance[found] = 2.0 * np.arcsin(np.minimum(0.5 * chord[found], 1.0)) * ARCSEC_PER_RAD
        return np.where(found, row, -1), distance


def _unit_vectors(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    ra, dec = np.radians(np.asarray(ra_deg, float)), np.radians(np.asarray(dec_deg, float))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def check_positions(ra_deg: np.ndarray, dec_deg: np.ndarray, *, where: str) -> None:
    """Raise ValueError (one line) where positions of a list are not degrees, or RA is in hours."""
    wrong = ~(np.isfinite(ra_deg) & np.isfinite(dec_deg) & (ra_deg >= 0) & (ra_deg <= 360) & (np.abs(dec_deg) <= 90))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{where}: position of row {row} = ({ra_deg[row]}, {dec_deg[row]}): allowed are RA 0 to 360 and Dec -90 to "
            f"90 degrees ({int(wrong.sum())} of {len(wrong)} rows are wrong)"
        )
    if len(ra_deg) > 20 and ra_deg.max() <= HOURS_MAX and np.ptp(dec_deg) > HOURS_DEC_SPAN_DEG:
        raise ValueError(
            f"{where}: RA goes up to {ra_deg.max():.3f} only while Dec spans {np.ptp(dec_deg):.0f} degrees: RA in "
            "hours; give degrees (hours * 15)"
        )


def read_positions_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec in degrees of a CSV with a header; ValueError (one line) at the first fault."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give a CSV with columns ra and dec")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or []
        ra_name, dec_name = _column(names, RA_NAMES, path), _column(names, DEC_NAMES, path)
        rows = list(reader)
    try:
        ra = np.array([float(row[ra_name]) for row in rows])
        dec = np.array([float(row[dec_name]) for row in rows])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}; columns {ra_name} and {dec_name} must be degrees") from None
    if len(rows) == 0:
        raise ValueError(f"{path}: has no rows; leave it out of task.exclusion.csv")
    check_positions(ra, dec, where=str(path))
    return ra, dec


def _column(names: Sequence[str], known: Sequence[str], path: Path) -> str:
    for name in known:
        if name in names:
            return name
    raise ValueError(f"{path}: no column {' or '.join(known)}; it has {', '.join(names) or 'none'}")
