"""Unit traps of survey catalogues: depth as magnitude or inverse variance, right ascension in hours.

`psfdepth` is the inverse variance of a point source's flux (nMgy^-2) in sweeps and Tractor files, and an AB magnitude
in the survey-brick table. Inverse variances range from a few to a few thousand and follow the exposure time; magnitudes
are all within a few of 24. The two overlap (a depth of 22.5 mag is an inverse variance of 25), so values alone do not
decide: GALDEPTH / PSFDEPTH is 0.4 to 0.85 of inverse variances (0.2 to 1.0 mag) and above 0.9 of magnitudes.
"""

import numpy as np

from dhs.constants import AB_ZERO_POINT_MAG

DEPTH_SIGMAS = 5.0

MAG_RANGE = (18.0, 28.0)
"""Depths of optical surveys as 5-sigma AB magnitudes."""

MAG_GALDEPTH_RATIO_MIN = 0.9
"""GALDEPTH / PSFDEPTH above this is a ratio of magnitudes."""

INVVAR_MIN = 40.0
"""A brick-table depth above this (mag) is no magnitude."""

RA_TOLERANCE_DEG = 0.3
"""A brick is 0.25 degrees wide; its name gives its centre to 0.1 degrees of RA."""


def depth_mag(psfdepth_invvar: np.ndarray) -> np.ndarray:
    """5-sigma AB depth, float32, of an inverse variance in nMgy^-2: 22.5 - 2.5 log10(5 / sqrt(invvar)); 0 gives NaN."""
    invvar = np.asarray(psfdepth_invvar, float)
    positive = np.isfinite(invvar) & (invvar > 0)
    sigma = 1.0 / np.sqrt(np.where(positive, invvar, 1.0))
    return np.where(positive, AB_ZERO_POINT_MAG - 2.5 * np.log10(DEPTH_SIGMAS * sigma), np.nan).astype(np.float32)


def require_invvar(psfdepth: np.ndarray, galdepth: np.ndarray | None, *, where: str) -> None:
    """Raise ValueError where PSFDEPTH holds AB magnitudes instead of inverse variances.

    ``psfdepth``, ``galdepth``: same shape, as the file has them; without GALDEPTH the range of the values decides.
    """
    good = np.isfinite(psfdepth) & (psfdepth > 0)
    if not good.any():
        return
    low, high = np.percentile(psfdepth[good], [1.0, 99.0])
    if not (MAG_RANGE[0] <= low and high <= MAG_RANGE[1]):
        return
    if galdepth is not None and np.median(galdepth[good] / psfdepth[good]) < MAG_GALDEPTH_RATIO_MIN:
        return
    raise ValueError(
        f"{where}: PSFDEPTH from {low:.2f} to {high:.2f} are AB magnitudes; allowed: inverse variances in nMgy^-2, as "
        "sweeps and Tractor files have them (invvar = 25 * 10**((2 * mag - 45) / 2.5))"
    )


def require_magnitudes(psfdepth: np.ndarray, *, where: str) -> None:
    """Raise ValueError where a survey-brick table's psfdepth holds inverse variances instead of AB magnitudes."""
    good = np.isfinite(psfdepth) & (psfdepth > 0)
    if good.any() and np.percentile(psfdepth[good], 99.0) > INVVAR_MIN:
        raise ValueError(
            f"{where}: psfdepth up to {psfdepth[good].max():.1f} are inverse variances; allowed: AB magnitudes "
            "(5 sigma), as the survey-brick table has them"
        )


def require_degrees(ra_deg: np.ndarray, dec_deg: np.ndarray, brickname: np.ndarray, *, where: str) -> None:
    """Raise ValueError unless positions are degrees and lie in the bricks that BRICKNAME names (0347m150: 34.7, -15.0).

    Judged by the majority: one odd row does not stop a survey.
    """
    ra_brick, dec_brick = brick_centres(brickname)
    if _share_near(ra_deg, dec_deg, ra_brick, dec_brick) > 0.5:
        return
    if _share_near(15.0 * ra_deg, dec_deg, ra_brick, dec_brick) > 0.5:
        raise ValueError(f"{where}: RA is in hours (up to {np.nanmax(ra_deg):.4f}); allowed: degrees (hours * 15)")
    raise ValueError(
        f"{where}: positions do not lie in their bricks (row 1: RA {ra_deg[0]}, Dec {dec_deg[0]}, brick "
        f"{brickname[0]}); allowed: ICRS degrees"
    )


def brick_centres(brickname: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec in degrees that names such as 0347m150 encode, to 0.1 degrees; NaN where a name is no brick's."""
    unique, inverse = np.unique(brickname, return_inverse=True)
    centres = np.array([_brick_centre(str(name)) for name in unique]).reshape(-1, 2)
    return centres[inverse, 0], centres[inverse, 1]


def _brick_centre(name: str) -> tuple[float, float]:
    if len(name) != 8 or name[4] not in "pm" or not (name[:4] + name[5:]).isdigit():
        return np.nan, np.nan
    return int(name[:4]) / 10.0, int(name[5:]) / 10.0 * (1.0 if name[4] == "p" else -1.0)


def _share_near(ra: np.ndarray, dec: np.ndarray, ra_brick: np.ndarray, dec_brick: np.ndarray) -> float:
    """Share of positions within a brick's size of their brick's centre."""
    away = np.abs((ra - ra_brick + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec_brick))
    near = (away < RA_TOLERANCE_DEG) & (np.abs(dec - dec_brick) < RA_TOLERANCE_DEG)
    return float(near.mean()) if len(near) else 1.0
