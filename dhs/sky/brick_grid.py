"""The Legacy Survey's brick grid: which brick a position belongs to, by arithmetic alone.

Rows of bricks are 0.25 degrees high and centred on multiples of 0.25 degrees of Dec; a row has the least even number of
columns that makes a brick at most 0.25 degrees wide at the row's edge nearest the equator; one brick at each pole
(desiutil.brick). Names are RA and Dec of the centre in tenths of a degree, cut off: 0347m150. A brick's image of
3600x3600 pixels (0.262 degrees) reaches about 23 pixels beyond its own box on each side.
"""

import numpy as np

BRICK_SIZE_DEG = 0.25


def brick_of_position(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Name of the brick whose box holds each position, (N,) `<U8`. Degrees, finite, Dec in [-90, 90]."""
    return brick_name(*_row_and_column(np.asarray(ra_deg, float), np.asarray(dec_deg, float)))


def bricks_around(ra_deg: float, dec_deg: float, *, within_deg: float) -> list[str]:
    """The brick of a position, then those whose box is within ``within_deg`` of it, nearest first."""
    row, column = (int(value[0]) for value in _row_and_column(np.array([ra_deg]), np.array([dec_deg])))
    centre = (column + 0.5) / _columns(np.array([row]))[0]
    last_row = round(180.0 / BRICK_SIZE_DEG)
    found: dict[str, float] = {}
    for other in range(max(row - 1, 0), min(row + 1, last_row) + 1):
        n = int(_columns(np.array([other]))[0])
        nearest = int(np.floor(centre * n))
        for near in {(nearest + step) % n for step in (-1, 0, 1)}:
            name = str(brick_name(np.array([other]), np.array([near]))[0])
            found[name] = _distance_to_box(ra_deg, dec_deg, row=other, column=near, n_columns=n)
    within = [name for name, distance in found.items() if distance <= within_deg]
    return sorted(within, key=lambda name: (found[name], name))


def brick_name(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Names of the bricks at (N,) rows, counted from the south pole, and columns, from RA 0."""
    ra = (column + 0.5) * 360.0 / _columns(row)
    dec = -90.0 + row * BRICK_SIZE_DEG
    tenths_ra, tenths_dec = np.floor(ra * 10.0).astype(int), np.floor(np.abs(dec) * 10.0).astype(int)
    return np.array(
        [
            f"{east:04d}{'m' if south else 'p'}{north:03d}"
            for east, north, south in zip(tenths_ra.tolist(), tenths_dec.tolist(), (dec < 0).tolist(), strict=True)
        ],
        dtype="<U8",
    )


def _row_and_column(ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row = np.floor((dec_deg + 90.0) / BRICK_SIZE_DEG + 0.5).astype(int)
    n = _columns(row)
    return row, np.minimum(np.floor((ra_deg % 360.0) / 360.0 * n).astype(int), n - 1)


def _columns(row: np.ndarray) -> np.ndarray:
    centre = np.abs(-90.0 + row * BRICK_SIZE_DEG)
    widest = np.cos(np.radians(centre - 0.5 * BRICK_SIZE_DEG))
    n = (2 * np.ceil(0.5 * 360.0 / BRICK_SIZE_DEG * widest)).astype(int)
    return np.where(centre >= 90.0, 1, n)


def _distance_to_box(ra_deg: float, dec_deg: float, *, row: int, column: int, n_columns: int) -> float:
    """Degrees from a position to the nearest point of a brick's box (flat sky; 0 inside)."""
    half_ra = 180.0 / n_columns
    away_ra = abs((ra_deg - (2 * column + 1) * half_ra + 180.0) % 360.0 - 180.0) - half_ra
    away_dec = abs(dec_deg - (-90.0 + row * BRICK_SIZE_DEG)) - 0.5 * BRICK_SIZE_DEG
    return float(np.hypot(max(away_ra, 0.0) * np.cos(np.radians(dec_deg)), max(away_dec, 0.0)))
