"""Cutouts from Legacy Survey coadd bricks, whole pixels, nothing resampled.

Files (legacysurvey.org/dr10/files): `<root>/<brick[:3]>/<brick>/legacysurvey-<brick>-<product>.fits.fz`, products
`image-g`, `invvar-g`, `psfsize-g` (and r, z) and `maskbits`, compressed in tiles of 100x100: RICE with a step of 1e-4
nMgy (image) or of 1/16 of the noise (invvar), SUBTRACTIVE_DITHER_2, so an exact zero stays zero; psfsize without loss.
`root` is a folder or an fsspec URL. Each file is opened once for all targets of its brick, and each tile decompressed
once, if a target needs it.

A stamp is cut at whole pixels, as it lies in the coadd (x towards smaller RA, y towards North): the noise and its
correlation stay the coadd's own. The target is then up to half a pixel from the stamp's centre (n-1)/2; by how much
is stored (`centre_arcsec`). Bricks overlap by 23 pixels on each side and each has its own projection, so pixels of two
bricks are never put together: a target whose stamp does not fit its brick is cut from the neighbour that holds it
whole, and has the reason `edge` where there is none.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.sky.brick_grid import bricks_around
from dhs.sky.fetched import Fetched, empty_fetched
from dhs.sky.tile_plane import TilePlane, open_plane

SCALE_TOLERANCE = 0.01
"""Relative; a brick of another pixel scale is not a DR10 coadd."""

NEIGHBOUR_REACH_DEG = 30.0 / 3600.0
"""How far a brick's image may reach beyond its box (23 pixels are 6 arcsec; some slack for other surveys)."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AstropyUserWarning)
"""What astropy raises on files that are truncated, damaged or no FITS at all."""


def brick_file(root: str, brick: str, product: str) -> str:
    """Path or URL of ``product`` (`image-g`, `maskbits`, ...) of a brick."""
    return f"{root.rstrip('/')}/{brick[:3]}/{brick}/legacysurvey-{brick}-{product}.fits.fz"


def brick_exists(root: str, brick: str) -> bool:
    """True where the brick has an r image."""
    path = brick_file(root, brick, "image-r")
    if "://" not in path:
        return Path(path).is_file()
    import fsspec

    filesystem, inside = fsspec.core.url_to_fs(path)
    return bool(filesystem.exists(inside))


class BrickReader:
    """Cuts stamps of ``size_px`` from the bricks under ``root``; keeps one brick-sized buffer per data type."""

    def __init__(self, root: str, *, size_px: int) -> None:
        self._root, self._size = root, size_px
        self._buffers: dict[tuple[tuple[int, ...], str], np.ndarray] = {}

    def fetch(self, ra_deg: np.ndarray, dec_deg: np.ndarray, *, brick: np.ndarray) -> Fetched:
        """Cutouts of (n,) positions; ``brick`` is each one's own, empty where it has no position."""
        fetched = empty_fetched(len(ra_deg), size_px=self._size, invvar_source="coadd")
        for row in np.flatnonzero(brick == "").tolist():
            fetched.fail(row, "bad_position", f"RA {ra_deg[row]}, Dec {dec_deg[row]}")
        for name in np.unique(brick[brick != ""]).tolist():
            self._fill(fetched, np.flatnonzero(brick == name), name, ra_deg, dec_deg)
        for row, reason in enumerate(fetched.reason):
            if reason in ("edge", "outside_brick", "brick_missing"):
                self._try_neighbours(fetched, row, str(brick[row]), ra_deg, dec_deg)
        return fetched

    def _try_neighbours(self, fetched: Fetched, row: int, own: str, ra_deg: np.ndarray, dec_deg: np.ndarray) -> None:
        first = fetched.reason[row], fetched.detail[row]
        for name in bricks_around(float(ra_deg[row]), float(dec_deg[row]), within_deg=NEIGHBOUR_REACH_DEG):
            if name != own:
                self._fill(fetched, np.array([row]), name, ra_deg, dec_deg)
                if not fetched.reason[row]:
                    return
        fetched.reason[row], fetched.detail[row] = first

    def _fill(self, fetched: Fetched, rows: np.ndarray, brick: str, ra_deg: np.ndarray, dec_deg: np.ndarray) -> None:
        """Cut ``rows`` from ``brick``; a fault of the brick is the reason of all of them."""
        try:
            self._cut(fetched, rows, brick, ra_deg, dec_deg)
        except FileNotFoundError as error:
            for row in rows.tolist():
                fetched.fail(row, "brick_missing", str(error))
        except UNREADABLE as error:
            for row in rows.tolist():
                fetched.fail(row, "brick_unreadable", f"brick {brick}: {error}")

    def _cut(self, fetched: Fetched, rows: np.ndarray, brick: str, ra_deg: np.ndarray, dec_deg: np.ndarray) -> None:
        half = 0.5 * (self._size - 1)
        with open_plane(brick_file(self._root, brick, "image-r")) as plane:
            x, y = _pixels(plane.header, ra_deg[rows], dec_deg[rows])
            shape = plane.shape
            left, bottom = np.rint(x - half), np.rint(y - half)
            whole = (left >= 0) & (bottom >= 0) & (left + self._size <= shape[1]) & (bottom + self._size <= shape[0])
            in_image = (np.rint(x) >= 0) & (np.rint(y) >= 0) & (np.rint(x) < shape[1]) & (np.rint(y) < shape[0])
            for i in np.flatnonzero(~whole).tolist():
                where = f"at pixel ({x[i]:.1f}, {y[i]:.1f}) of {shape[1]}x{shape[0]} of brick {brick}"
                fetched.fail(int(rows[i]), "edge" if in_image[i] else "outside_brick", where)
            rows, x, y = rows[whole], x[whole], y[whole]
            if len(rows) == 0:
                return
            corner = Corner(left[whole].astype(int), bottom[whole].astype(int), self._size, shape)
            fetched.images[rows, BANDS.index("r")] = self._windows(plane, corner)
        for i, band in enumerate(BANDS):
            if band != "r":
                fetched.images[rows, i] = self._read(brick, f"image-{band}", corner)
            fetched.invvar[rows, i] = self._read(brick, f"invvar-{band}", corner)
            fetched.psfsize_arcsec[rows, i] = self._psfsize(brick, band, x, y, shape=shape)
        # Bits 0-15; DR10's bit 16 (SUB_BLOB) says how a source was fitted, not what its pixels are worth.
        mask = self._read(brick, "maskbits", corner, kind="i4") & 0xFFFF
        fetched.maskbits[rows] = mask.astype(np.uint16).view(np.int16)
        offset = np.stack([x - (corner.left + half), y - (corner.bottom + half)], axis=1)
        fetched.centre_arcsec[rows] = offset * PIXEL_SCALE_ARCSEC
        for row in rows.tolist():
            fetched.reason[row], fetched.detail[row], fetched.brick[row] = "", "", brick

    def _psfsize(self, brick: str, band: str, x: np.ndarray, y: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
        """(n,) FWHM in arcsec at the targets' pixels; NaN where the brick has no map or no exposure there."""
        pixel = Corner(np.rint(x).astype(int), np.rint(y).astype(int), 1, shape)
        try:
            value = self._read(brick, f"psfsize-{band}", pixel)[:, 0, 0]
        except FileNotFoundError:
            return np.full(len(x), np.nan, np.float32)
        return np.where(value > 0, value, np.nan)

    def _read(self, brick: str, product: str, corner: "Corner", *, kind: str = "f4") -> np.ndarray:
        with open_plane(brick_file(self._root, brick, product)) as plane:
            return self._windows(plane, corner, kind=kind)

    def _windows(self, plane: TilePlane, corner: "Corner", *, kind: str = "f4") -> np.ndarray:
        """(n, size, size) windows of one plane."""
        if plane.shape != corner.shape:
            raise ValueError(f"a plane has shape {plane.shape}, image-r {corner.shape}")
        if (plane.shape, kind) not in self._buffers:
            self._buffers[plane.shape, kind] = np.empty(plane.shape, kind)
        buffer = self._buffers[plane.shape, kind]
        height, width = plane.tile_shape
        for row, first, last in _needed_tiles(corner, plane.tile_shape):
            tiles = plane.read(row, first, last)
            y, x = row * height, first * width
            buffer[y : y + tiles.shape[0], x : x + tiles.shape[1]] = tiles
        windows = np.lib.stride_tricks.sliding_window_view(buffer, (corner.size, corner.size))
        return windows[corner.bottom, corner.left]


class Corner(NamedTuple):
    """First pixels (n,) of windows of ``size`` a side in planes of ``shape``."""

    left: np.ndarray
    bottom: np.ndarray
    size: int
    shape: tuple[int, int]


def _pixels(header: fits.Header, ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y in the brick, counted from 0, pixel centres whole; NaN on the sky's far side. ValueError: no coadd."""
    unit = str(header.get("BUNIT", "nanomaggy")).lower()
    if unit not in ("nanomaggy", "nanomaggies", "nmgy"):
        raise ValueError(f"unit {unit!r}, not nanomaggy")
    wcs = WCS(header, naxis=2)
    scale = np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600.0
    if not abs(scale / PIXEL_SCALE_ARCSEC - 1.0) <= SCALE_TOLERANCE:
        raise ValueError(f"pixel scale {scale:.4g} arcsec, not {PIXEL_SCALE_ARCSEC}")
    (ra0, dec0), ra, dec = np.radians(wcs.wcs.crval), np.radians(ra_deg), np.radians(dec_deg)
    near = np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(ra - ra0) > 0.5
    x, y = np.full(len(ra), np.nan), np.full(len(ra), np.nan)
    if near.any():
        x[near], y[near] = wcs.wcs_world2pix(ra_deg[near], dec_deg[near], 0)
    return x, y


def _needed_tiles(corner: Corner, tile: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """(row, first column, last column) of tiles that hold every window: runs of neighbours in a row of tiles."""
    n_rows, n_columns = -(-corner.shape[0] // tile[0]), -(-corner.shape[1] // tile[1])
    needed = np.zeros((n_rows, n_columns + 2), bool)  # a column of False on either side ends every run
    reach = corner.size - 1
    for y, x in zip(corner.bottom.tolist(), corner.left.tolist(), strict=True):
        needed[y // tile[0] : (y + reach) // tile[0] + 1, x // tile[1] + 1 : (x + reach) // tile[1] + 2] = True
    for row in np.flatnonzero(needed.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(needed[row].astype(np.int8))).tolist()
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            yield row, first, end - 1
