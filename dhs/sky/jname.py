"""J-names: the position that an object's name claims.

The IAU form truncates, never rounds: ``SDSS J002907.77-005550.5`` is a box of 0.01 s by 0.1 arcsec that begins at
00:29:07.77 -00:55:50.5 and extends away from zero. A short name, ``J0029-0055``, is a box of a minute of time by an
arcminute: it can prove a position wrong, never right. Hence a distance to the *box*, and the box's size beside it.
"""

import re
from typing import NamedTuple

import numpy as np

_NAME = re.compile(r"J?\s*(\d{2})(\d{2})(?:(\d{2})(\.\d+)?)?\s*([+\-\u2212])\s*(\d{2})(\d{2})(?:(\d{2})(\.\d+)?)?\s*$")


class NamedPosition(NamedTuple):
    """The box of positions that a J-name stands for, degrees ICRS."""

    ra_low_deg: float
    ra_high_deg: float
    dec_low_deg: float
    dec_high_deg: float

    @property
    def size_arcsec(self) -> float:
        """The box's larger side on the sky."""
        cos = np.cos(np.radians(0.5 * (self.dec_low_deg + self.dec_high_deg)))
        return 3600 * max((self.ra_high_deg - self.ra_low_deg) * cos, self.dec_high_deg - self.dec_low_deg)


def decode_jname(name: str) -> NamedPosition:
    """The box of ``name`` (``SDSS J002907.77-005550.5``, ``SDSSJ0029-0055``, ``J002907-005550``).

    Raises:
        ValueError: no J-name in it, or hours, minutes or degrees out of range.
    """
    match = _NAME.search(name.strip())
    if match is None:
        raise ValueError(f"name = {name!r}: holds no J-name such as J002907.77-005550.5")
    hh, hm, hs, hf, sign, dd, dm, ds, df = match.groups()
    ra_step, ra_hours = _sexagesimal(hh, hm, hs, hf)
    dec_step, dec = _sexagesimal(dd, dm, ds, df)
    if int(hh) > 23 or int(hm) > 59 or int(dd) > 90 or int(dm) > 59 or int(hs or 0) > 59 or int(ds or 0) > 59:
        raise ValueError(f"name = {name!r}: its J-name is no position (hours below 24, minutes and seconds below 60)")
    low, high = (dec, dec + dec_step) if sign == "+" else (-dec - dec_step, -dec)
    return NamedPosition(15 * ra_hours, 15 * (ra_hours + ra_step), low, high)


def distance_arcsec(named: NamedPosition, *, ra_deg: float, dec_deg: float) -> float:
    """Distance on the sky from the position to the nearest point of the box; 0 inside it."""
    centre = 0.5 * (named.ra_low_deg + named.ra_high_deg)
    ra = centre + (ra_deg - centre + 180) % 360 - 180
    dx = max(named.ra_low_deg - ra, 0.0, ra - named.ra_high_deg) * np.cos(np.radians(dec_deg))
    dy = max(named.dec_low_deg - dec_deg, 0.0, dec_deg - named.dec_high_deg)
    return float(3600 * np.hypot(dx, dy))


def _sexagesimal(units: str, minutes: str, seconds: str | None, fraction: str | None) -> tuple[float, float]:
    """Size of the last digit and the value, in ``units``."""
    if seconds is None:
        return 1 / 60, int(units) + int(minutes) / 60
    last_digit = 10.0 ** -(len(fraction) - 1) if fraction else 1.0
    return last_digit / 3600, int(units) + int(minutes) / 60 + float(seconds + (fraction or "")) / 3600
