"""Tractor's SHAPE_E1, SHAPE_E2 as axis ratio and position angle of the stamp.

Tractor (ellipses.py, EllipseE) has e = hypot(e1, e2) = (1 - b/a) / (1 + b/a) and theta = arctan2(e2, e1) / 2; its basis
maps the unit vector along the major axis to (delta RA cos Dec, delta Dec) = r (sin theta, cos theta): theta is counted
from North through East. Coadds and cutouts have North up and East to the left, so x grows towards smaller RA: the
major axis is (x, y) = (-sin theta, cos theta), at theta + 90 degrees counter-clockwise from +x.
"""

import numpy as np


def axis_ratio_and_angle(
    shape_e1: np.ndarray, shape_e2: np.ndarray, *, has_shape: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """b/a in (0, 1] and the angle of the major axis in [0, pi), counter-clockwise from +x of the stamp; float32 (N,).

    NaN where ``has_shape`` is False (REX is round by construction, PSF has none) and where |e| is not below 1.
    """
    e1, e2 = np.asarray(shape_e1, float), np.asarray(shape_e2, float)
    ellipticity = np.hypot(e1, e2)
    known = has_shape & (ellipticity < 1.0)
    ratio = np.where(known, (1.0 - ellipticity) / (1.0 + ellipticity), np.nan)
    angle = np.where(known, (0.5 * np.arctan2(e2, e1) + 0.5 * np.pi) % np.pi, np.nan)
    return ratio.astype(np.float32), np.minimum(angle, np.nextafter(np.pi, 0.0)).astype(np.float32)
