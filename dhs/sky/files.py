"""`sky=files`: cutouts from the user's own NPZ and FITS files (formats: dhs.sky.files_read).

Bands, pixel scale, unit, size and values are checked; nothing is resampled. Stamps are cut from the middle: the first
kept pixel is (n - stamp) // 2. The galaxy, at (n-1)/2 of the file, is then at the stamp's own centre where n and stamp
are both even or both odd; else it lies half a pixel further towards +x and +y (no crop can do better).

What a file lacks: the noise is measured per band in the stamp's outer ring (1.4826 MAD of r > half the half-size);
the seeing is that of its PSF images, else ``config.psf_fwhm_arcsec``; no mask bits; the galaxy's centre is measured
(dhs.sky.centroid); without a position the split goes by the hash of "file:id".
"""

from typing import Any

import numpy as np

from dhs.config.sky import FilesSky
from dhs.constants import BANDS, CLASSES
from dhs.rng import stable_hash
from dhs.sky.centroid import measured_centres_arcsec
from dhs.sky.cutouts import CutoutSet, good_pixels
from dhs.sky.depth import depth_of_sigma
from dhs.sky.files_read import RawCutouts, fault, read_cutouts
from dhs.sky.psf_images import checked_psf_images, fwhm_px
from dhs.sky.ring_noise import ring_sigma
from dhs.sky.splits import split_of_id, split_of_position

UNITS = ("nanomaggy", "nanomaggies", "nmgy")

SCALE_TOLERANCE = 0.01
"""Relative: DES coadds (0.263 arcsec) pass for DECaLS (0.262); nothing is resampled."""

FWHM_RANGE_ARCSEC = (0.3, 6.0)
"""A ground-based seeing outside is a wrong unit."""


def load_files_sky(config: FilesSky) -> CutoutSet:
    """The cutouts of ``config.paths``, in order. ValueError (one line: file, what, allowed) at the first fault."""
    parts = [_checked_columns(read_cutouts(path), config) for path in config.files]
    psf_images = _common_size([part.pop("psf_images") for part in parts])
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = columns.pop("name").tolist()
    origin = columns.pop("origin")
    _check_distinct(names)
    n = len(names)
    unknown = np.full(n, np.nan, np.float32)
    x, y = measured_centres_arcsec(
        columns["images"],
        good=good_pixels(columns["invvar"], columns["maskbits"]),
        psf_fwhm_arcsec=columns["psf_fwhm_arcsec"],
        pixel_scale_arcsec=config.pixel_scale_arcsec,
    )
    return CutoutSet(
        target_id=np.array([stable_hash(name) >> 1 for name in names], np.int64),
        kind=np.full(n, CLASSES.index(config.kind), np.int8),
        split=_splits(columns["ra_deg"], columns["dec_deg"], names, config),
        mag=np.full((n, len(BANDS)), np.nan, np.float32),
        axis_ratio=unknown,
        position_angle_rad=unknown.copy(),
        redshift=unknown.copy(),
        origin=origin if (origin != "").any() else None,
        centre_x_arcsec=x,
        centre_y_arcsec=y,
        psf_images=psf_images,
        **columns,
    )


def _checked_columns(raw: RawCutouts, config: FilesSky) -> dict[str, Any]:
    """Columns of a CutoutSet, and `name`, of one file."""
    order = _band_order(raw)
    _check_scale_and_unit(raw, config)
    _check_shapes(raw, config.stamp_size_px)
    images = _crop(raw.images[:, order], config.stamp_size_px).astype(np.float32)
    if not np.isfinite(images).all():
        raise fault(raw.path, f"{int((~np.isfinite(images)).sum())} pixels are not finite", "finite nanomaggies")
    psf_images = None
    if raw.psf_images is not None:
        psf_images = checked_psf_images(_in_order(raw, order), path=raw.path, names=raw.ids)
    fwhm = _fwhm(raw, order, config, psf_images=psf_images)
    if raw.invvar is None:
        invvar = _measured_invvar(raw, images)
    else:
        invvar = _crop(raw.invvar[:, order], config.stamp_size_px).astype(np.float32)
    maskbits = np.zeros(images[:, 0].shape, np.int16)
    if raw.maskbits is not None:
        maskbits = _crop(raw.maskbits, config.stamp_size_px).astype(np.int16)
    return {
        "images": images,
        "invvar": invvar,
        "maskbits": maskbits,
        "psf_fwhm_arcsec": fwhm,
        "psf_images": psf_images,
        "psf_depth_mag": _depth(raw, invvar, fwhm, config),
        "ra_deg": np.array(raw.ra_deg, np.float64),
        "dec_deg": np.array(raw.dec_deg, np.float64),
        "origin": np.full(len(images), raw.origin),
        "name": np.array([f"{raw.path.name}:{name}" for name in raw.ids]),
    }


def _band_order(raw: RawCutouts) -> list[int]:
    if sorted(raw.bands) != sorted(BANDS):
        raise fault(raw.path, f"bands {', '.join(raw.bands) or 'not said'}", "g, r, z once each, in any order")
    return [raw.bands.index(band) for band in BANDS]


def _check_scale_and_unit(raw: RawCutouts, config: FilesSky) -> None:
    want = config.pixel_scale_arcsec
    if not abs(raw.pixel_scale_arcsec / want - 1.0) <= SCALE_TOLERANCE:
        raise fault(
            raw.path, f"pixel scale {raw.pixel_scale_arcsec:.4g} arcsec", f"{want} within 1% (pixel_scale_arcsec)"
        )
    if raw.unit.strip().lower() not in UNITS:
        raise fault(raw.path, f"unit {raw.unit!r}", f"{', '.join(UNITS)} (AB zero point 22.5); convert the pixels")


def _check_shapes(raw: RawCutouts, stamp_size_px: int) -> None:
    n, n_bands, height, width = raw.images.shape
    if n == 0 or n_bands != len(BANDS):
        raise fault(raw.path, f"images have shape {raw.images.shape}", "(N,3,H,W) or (3,H,W), N at least 1")
    if min(height, width) < stamp_size_px:
        raise fault(raw.path, f"images of {width}x{height} px", f"at least stamp_size_px = {stamp_size_px} a side")
    if raw.invvar is not None:
        if raw.invvar.shape != raw.images.shape:
            raise fault(raw.path, f"invvar has shape {raw.invvar.shape}", f"that of the images, {raw.images.shape}")
        if not np.all(np.isfinite(raw.invvar) & (raw.invvar >= 0)):
            raise fault(raw.path, "invvar has negative or non-finite values", "0 (no data) or more")
    if raw.maskbits is not None and (raw.maskbits.shape != (n, height, width) or raw.maskbits.dtype.kind not in "iu"):
        raise fault(
            raw.path, f"maskbits {raw.maskbits.dtype} {raw.maskbits.shape}", f"integers ({n}, {height}, {width})"
        )


def _crop(array: np.ndarray, size_px: int) -> np.ndarray:
    """The middle ``size_px`` pixels of the last two axes."""
    top, left = (array.shape[-2] - size_px) // 2, (array.shape[-1] - size_px) // 2
    return array[..., top : top + size_px, left : left + size_px]


def _in_order(raw: RawCutouts, order: list[int]) -> np.ndarray:
    """PSF images in our bands' order; a wrong number of bands is left for the check to name."""
    assert raw.psf_images is not None
    return raw.psf_images[:, order] if raw.psf_images.shape[1] == len(order) else raw.psf_images


def _common_size(parts: list[np.ndarray | None]) -> np.ndarray | None:
    """All PSF images, narrower ones with zeros around them; None unless every file has some."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    widest = max(part.shape[-1] for part in known)
    pads = [(widest - part.shape[-1]) // 2 for part in known]
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, 0), (pad, pad), (pad, pad))) for part, pad in zip(known, pads, strict=True)]
    )


def _fwhm(raw: RawCutouts, order: list[int], config: FilesSky, *, psf_images: np.ndarray | None) -> np.ndarray:
    """(N, 3) float32 PSF FWHM in arcsec: the file's, that of its PSF images, or the configured one."""
    if raw.psf_fwhm_arcsec is not None:
        fwhm = raw.psf_fwhm_arcsec[:, order].astype(np.float32)
    elif psf_images is not None:
        sizes = [[fwhm_px(image) for image in bands] for bands in psf_images]
        fwhm = np.array(sizes, np.float32) * np.float32(config.pixel_scale_arcsec)
    else:
        return np.tile(np.array(config.psf_fwhm_arcsec, np.float32), (len(raw.images), 1))
    low, high = FWHM_RANGE_ARCSEC
    if not np.all((fwhm >= low) & (fwhm <= high)):
        raise fault(raw.path, f"psf_fwhm_arcsec from {fwhm.min()} to {fwhm.max()}", f"{low} to {high} arcsec")
    return fwhm


def _measured_invvar(raw: RawCutouts, images: np.ndarray) -> np.ndarray:
    """Constant 1/sigma^2 per cutout and band, sigma = 1.4826 MAD of the outer ring."""
    sigma = ring_sigma(images)
    if not np.all(sigma > 0):
        raise fault(raw.path, "the outer ring is constant: no noise to measure", "pixels with noise, or invvar")
    return np.broadcast_to((sigma**-2.0)[..., None, None], images.shape).astype(np.float32)


def _depth(raw: RawCutouts, invvar: np.ndarray, fwhm_arcsec: np.ndarray, config: FilesSky) -> np.ndarray:
    """(N, 3) float32 5-sigma point-source depth, from the median invvar of the pixels with data."""
    has_data = invvar > 0
    if not has_data.any(axis=(-2, -1)).all():
        raise fault(raw.path, "a band of a cutout has invvar = 0 everywhere", "data in g, r and z")
    typical = np.nanmedian(np.where(has_data, invvar, np.nan), axis=(-2, -1)).astype(np.float64)
    depth = depth_of_sigma(typical**-0.5, fwhm_arcsec=fwhm_arcsec, pixel_scale_arcsec=config.pixel_scale_arcsec)
    return depth.astype(np.float32)


def _splits(ra_deg: np.ndarray, dec_deg: np.ndarray, names: list[str], config: FilesSky) -> np.ndarray:
    split = split_of_id(names, config=config.split)
    placed = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    split[placed] = split_of_position(ra_deg[placed], dec_deg[placed], config=config.split)
    return split


def _check_distinct(names: list[str]) -> None:
    values, counts = np.unique(names, return_counts=True)
    if counts.max() > 1:
        twice = str(values[counts.argmax()])
        raise ValueError(f"paths: cutout {twice!r} comes {counts.max()} times; allowed: distinct file names and ids")
