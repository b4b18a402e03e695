"""Writes coadd bricks as legacypipe does: names, headers, TAN projection, tile compression.

Compression as in legacypipe's survey.py: image `R 100,100; qz -1e-4` (RICE, a step of 1e-4 nMgy), invvar
`R 100,100; qz 16` (a step of noise/16), psfsize `G 100,100; qz 0` (without loss); `qz` is SUBTRACTIVE_DITHER_2.
"""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from dhs.constants import BANDS

TILE = (100, 100)
SCALE_DEG = 0.262 / 3600.0
IMAGE_STEP_NMGY = 1e-4

COMPRESSION: dict[str, dict[str, Any]] = {
    "image": {"compression_type": "RICE_1", "quantize_level": -IMAGE_STEP_NMGY, "quantize_method": 2},
    "invvar": {"compression_type": "RICE_1", "quantize_level": 16, "quantize_method": 2},
    "maskbits": {"compression_type": "RICE_1"},
    "psfsize": {"compression_type": "GZIP_1", "quantize_level": 0},
}


def brick_header(
    brick: str, *, shape: tuple[int, int], centre_deg: tuple[float, float], band: str = "r"
) -> fits.Header:
    """Header of a coadd: the brick's centre at the image's centre, North up, East left."""
    header = fits.Header()
    header["SURVEY"], header["BRICKNAM"], header["FILTER"] = "LegacySurvey", brick, band
    header["BUNIT"] = "nanomaggy"
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = centre_deg
    header["CRPIX1"], header["CRPIX2"] = shape[1] / 2 + 0.5, shape[0] / 2 + 0.5
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -SCALE_DEG, 0.0, 0.0, SCALE_DEG
    header["EQUINOX"] = 2000.0
    return header


def write_brick(
    root: Path,
    brick: str,
    *,
    images: np.ndarray,
    invvar: np.ndarray,
    maskbits: np.ndarray,
    psfsize: np.ndarray,
    centre_deg: tuple[float, float],
) -> Path:
    """The ten files of a brick under ``root``; (3, H, W) arrays and an (H, W) mask. Returns the brick's folder."""
    folder = root / brick[:3] / brick
    folder.mkdir(parents=True, exist_ok=True)
    for i, band in enumerate(BANDS):
        for product, planes in (("image", images), ("invvar", invvar), ("psfsize", psfsize)):
            _write(folder, brick, f"{product}-{band}", planes[i], product, centre_deg, band)
    _write(folder, brick, "maskbits", maskbits, "maskbits", centre_deg, "r")
    return folder


def _write(
    folder: Path, brick: str, name: str, plane: np.ndarray, product: str, centre: tuple[float, float], band: str
) -> None:
    header = brick_header(brick, shape=plane.shape, centre_deg=centre, band=band)
    hdu = fits.CompImageHDU(plane, header, name=product.upper(), tile_shape=TILE, **COMPRESSION[product])
    path = folder / f"legacysurvey-{brick}-{name}.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)


def read_plane(root: Path, brick: str, product: str) -> np.ndarray:
    """A whole plane as astropy reads it."""
    with fits.open(root / brick[:3] / brick / f"legacysurvey-{brick}-{product}.fits.fz") as hdus:
        return np.array(hdus[1].data)
