"""What an answer of the cutout service must be before its pixels are believed.

A busy service answers with HTML and status 200, cuts bodies short, or sends another size; each has its own reason.
Faults that may pass (`transient`) are tried again; the others are the target's own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.sky.files_read import RawCutouts, read_cutouts

FITS_BLOCK = 2880
FITS_MAGIC = b"SIMPLE  ="
SCALE_TOLERANCE = 0.01
POSITION_TOLERANCE_ARCSEC = 1.0
"""The service centres a cutout on the position asked for; a header further away belongs to another request."""


class ServiceFault(Exception):
    """Why there is no cutout: a reason of dhs.sky.fetched.NOT_OBTAINED, and one line of detail."""

    def __init__(self, reason: str, detail: str, *, transient: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.transient, self.retry_after_s = reason, detail, transient, retry_after_s


@dataclass(frozen=True)
class Answer:
    """One cutout, bands in our order; ``invvar`` None where the service sent none."""

    image: np.ndarray
    invvar: np.ndarray | None


def check_body(body: bytes, *, content_type: str) -> None:
    """Raise ServiceFault unless ``body`` is a whole number of FITS blocks."""
    if not body.startswith(FITS_MAGIC):
        start = body[:60].decode("latin-1")
        raise ServiceFault("not_fits", f"{content_type or 'no type'}: {start!r}", transient=True)
    if len(body) % FITS_BLOCK:
        raise ServiceFault("truncated", f"{len(body)} bytes, not a multiple of {FITS_BLOCK}", transient=True)


def read_answer(path: Path, *, ra_deg: float, dec_deg: float, size_px: int) -> Answer:
    """The cutout in ``path``, a file that passed `check_body`; ServiceFault where it is not the one asked for."""
    try:
        raw = read_cutouts(path)
    except ValueError as error:
        raise ServiceFault("truncated", str(error).removeprefix(f"{path}: "), transient=True) from None
    if not set(BANDS) <= set(raw.bands) or raw.images.shape[1] != len(raw.bands):
        what = f"bands {', '.join(raw.bands) or 'not said'}, {raw.images.shape[1]} planes"
        raise ServiceFault("wrong_bands", what, transient=False)
    if raw.images.shape[-2:] != (size_px, size_px):
        height, width = raw.images.shape[-2:]
        raise ServiceFault("wrong_size", f"{width}x{height} pixels, not {size_px}x{size_px}", transient=False)
    if not abs(raw.pixel_scale_arcsec / PIXEL_SCALE_ARCSEC - 1.0) <= SCALE_TOLERANCE:
        raise ServiceFault("wrong_scale", f"{raw.pixel_scale_arcsec:.4g} arcsec a pixel", transient=False)
    away = _separation_arcsec(raw, ra_deg, dec_deg)
    if away > POSITION_TOLERANCE_ARCSEC:
        raise ServiceFault("wrong_position", f"centred {away:.1f} arcsec from the position asked", transient=True)
    order = [raw.bands.index(band) for band in BANDS]
    invvar = raw.invvar
    if invvar is not None and invvar.shape != raw.images.shape:
        raise ServiceFault("wrong_size", f"invvar {invvar.shape}, image {raw.images.shape}", transient=False)
    return Answer(raw.images[0, order], None if invvar is None else invvar[0, order])


def _separation_arcsec(raw: RawCutouts, ra_deg: float, dec_deg: float) -> float:
    """Of the header's position from the one asked; 0 where the header says none."""
    ra, dec = float(raw.ra_deg[0]), float(raw.dec_deg[0])
    if not (np.isfinite(ra) and np.isfinite(dec)):
        return 0.0
    east = ((ra - ra_deg + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec_deg))
    return float(np.hypot(east, dec - dec_deg)) * 3600.0
