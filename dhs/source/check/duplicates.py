"""The same galaxy twice: the same pixels, or the same picture turned, mirrored or nearly so.

Exact copies share the hash of their pixels. Turned and mirrored ones are found among neighbours in a few figures that
no turn or flip changes (half-light radius, clumpiness, the thumbnail's sums of powers), and then compared
thumbnail by thumbnail in all eight orientations. What is not found: the same galaxy cut at another centre.

Shapes: N sources, t pixels a side of a thumbnail.
"""

import numpy as np
from scipy.spatial import cKDTree

from dhs.source.check.measure import Measured

INVARIANT_TOLERANCE = 2e-3
"""Neighbours differ by less than this, relatively, in every invariant figure."""
NEAR_RESIDUAL = 3e-4
"""Root sum of squares of the difference of two thumbnails of unit root sum of squares: below it, one galaxy. The
nearest two of 4,000 random Sersic profiles differ by 3e-3 (and any two by N^-1/2 of that with more); rounding to
float16 makes 1e-4."""
MAX_NEIGHBOURS = 8
"""Nearest sources compared with each source."""


def exact_copies(measured: Measured) -> np.ndarray:
    """(N,) bool: pixels that an earlier source has."""
    copies = np.ones(len(measured.digest), bool)
    _, first = np.unique(measured.digest, return_index=True)
    copies[first] = False
    return copies & measured.usable


def near_copies(measured: Measured) -> np.ndarray:
    """(N,) bool: an earlier source has nearly the same picture in one of eight orientations; exact ones count too."""
    rows = np.flatnonzero(measured.usable)
    copies = np.zeros(len(measured.digest), bool)
    if len(rows) < 2:
        return copies
    figures = _invariants(measured, rows)
    neighbours = min(MAX_NEIGHBOURS + 1, len(rows))
    distance, other = cKDTree(figures).query(figures, k=neighbours, p=np.inf, distance_upper_bound=INVARIANT_TOLERANCE)
    here, column = np.nonzero(np.isfinite(distance))
    pairs = np.unique(np.sort(np.stack([here, other[here, column]]), axis=0), axis=1)
    for earlier, later in pairs[:, pairs[0] != pairs[1]].T:
        if not copies[rows[later]]:
            copies[rows[later]] = same_picture(measured.thumbnail[rows[earlier]], measured.thumbnail[rows[later]])
    return copies | exact_copies(measured)


def same_picture(first: np.ndarray, second: np.ndarray) -> bool:
    """True when two (t, t) thumbnails agree in one of the eight orientations of a square."""
    turned = [np.rot90(image, k) for image in (second, second.T) for k in range(4)]
    return min(float(np.linalg.norm(first - image)) for image in turned) < NEAR_RESIDUAL


def _invariants(measured: Measured, rows: np.ndarray) -> np.ndarray:
    """(n, 5) logarithms of figures that turns and flips leave alone."""
    thumbnail = measured.thumbnail[rows].astype(np.float64)
    figures = (
        measured.hlr_arcsec[rows],
        measured.clumpiness[rows],
        np.abs(thumbnail).sum(axis=(1, 2)),
        (np.abs(thumbnail) ** 3).sum(axis=(1, 2)),
        (thumbnail**4).sum(axis=(1, 2)),
    )
    return np.log(np.maximum(np.stack(figures, axis=1), 1e-12))
