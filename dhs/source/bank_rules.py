"""What makes an HDF5 file a bank of galaxies: its schema, its grid, unit flux, and that it is not mostly noise.

Every fault is a ValueError of one line: file, object, what is wrong, remedy. The layout itself is in `dhs.source.bank`.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from dhs.config.source import BankedSource
from dhs.constants import BANDS
from dhs.source import measure
from dhs.source.bank_read import FLUX_TOLERANCE, StackFigures, read_stack

SCHEMA_VERSION = 1
REQUIRED_META: tuple[str, ...] = ("index", "hlr_arcsec", "clumpiness")
BANDS_ATTRIBUTE = "".join(BANDS)
"""Attribute ``bands`` of a bank with an image per band: their order."""
MAX_MEDIAN_EDGE_PEDESTAL = 0.05
"""Share of the flux in a flat pedestal, median over the bank; a cleaned bank has 0, the seeds' recipe much more."""
MAX_MEDIAN_HLR_OF_FLAT_BOX = 0.75
"""Median half-light radius over that of an empty box; the seeds' bank had 0.94."""
REBUILD = "rebuild it with inject.py task=bank"


def check_schema(file: h5py.File, *, config: BankedSource) -> None:
    """ValueError unless datasets, attributes and shapes are those of a bank on the configuration's grid."""
    path = config.bank_file
    missing = [key for key in ("images", *(f"meta/{key}" for key in REQUIRED_META)) if key not in file]
    missing += [key for key in ("src_pixscale_arcsec", "stamp_size") if key not in file.attrs]
    if missing:
        raise ValueError(f"bank {path}: {missing[0]} is missing, so this is no source bank; {REBUILD}")
    version = int(file.attrs.get("schema_version", 0))
    if version > SCHEMA_VERSION:
        raise ValueError(f"bank {path}: schema_version {version}, this program reads up to {SCHEMA_VERSION}; {REBUILD}")
    scale = float(file.attrs["src_pixscale_arcsec"])
    if not np.isclose(scale, config.pixel_scale_arcsec, rtol=1e-6):
        raise ValueError(
            f"bank {path}: src_pixscale_arcsec = {scale:g}, but source.pixel_scale_arcsec = "
            f"{config.pixel_scale_arcsec:g}; change that or {REBUILD}"
        )
    _check_stack_shape(file, config=config)
    shape = file["images"].shape
    short = [key for key, column in file["meta"].items() if getattr(column, "shape", None) != shape[:1]]
    if short:
        raise ValueError(f"bank {path}: meta/{short[0]} has not one value for each of {shape[0]} images; {REBUILD}")


def _check_stack_shape(file: h5py.File, *, config: BankedSource) -> None:
    """ValueError unless ``images`` is a stack of numbers of the configured size, with the bands it must have."""
    path, images = config.bank_file, file["images"]
    size, shape = int(file.attrs["stamp_size"]), images.shape
    if size != config.stamp_size_px or len(shape) not in (3, 4) or shape[-2:] != (size, size) or shape[0] == 0:
        raise ValueError(
            f"bank {path}: images {shape}, stamp_size {size}, but source.stamp_size_px = {config.stamp_size_px}; "
            f"change that or {REBUILD}"
        )
    if images.dtype.name not in FLUX_TOLERANCE:
        raise ValueError(f"bank {path}: images are {images.dtype}, must be {' or '.join(FLUX_TOLERANCE)}; {REBUILD}")
    bands = str(file.attrs.get("bands", ""))
    if len(shape) == 4 and (bands != BANDS_ATTRIBUTE or shape[1] != len(BANDS)):
        raise ValueError(
            f"bank {path}: {shape[1]} images a source, attribute bands = {bands!r}; "
            f"must be {len(BANDS)} and {BANDS_ATTRIBUTE!r}; {REBUILD}"
        )


def checked_stack(
    path: Path, dataset: h5py.Dataset, *, out: np.ndarray, meta: Mapping[str, np.ndarray], scale: float
) -> None:
    """Fill ``out`` and refuse what is no bank of galaxies."""
    try:
        figures = read_stack(dataset, out=out)
    except ValueError as error:
        raise ValueError(f"bank {path}: {error}; {REBUILD}") from None
    check_images(path, figures, dtype=dataset.dtype, names=meta["index"])
    _refuse_noise(path, figures, hlr_arcsec=meta["hlr_arcsec"], size_px=out.shape[-1], scale=scale)


def check_images(path: Path, figures: StackFigures, *, dtype: np.dtype, names: np.ndarray) -> None:
    """ValueError unless every image is finite with unit flux; ``names`` are the sources' catalogue rows."""
    finite = np.isfinite(figures.flux).all(axis=1)
    if not finite.all():
        raise ValueError(f"bank {path}: source {names[~finite][0]} holds NaN or infinity; {REBUILD}")
    off = np.abs(figures.flux - 1)
    if (off > FLUX_TOLERANCE[dtype.name]).any():
        row, channel = np.unravel_index(int(off.argmax()), off.shape)
        band = f" in {BANDS[channel]}" if off.shape[1] > 1 else ""
        raise ValueError(
            f"bank {path}: source {names[row]} has flux {figures.flux[row, channel]:.6g}{band}, must be 1; {REBUILD}"
        )


def _refuse_noise(path: Path, figures: StackFigures, *, hlr_arcsec: np.ndarray, size_px: int, scale: float) -> None:
    """ValueError when pedestal or half-light radius say that the bank is mostly noise (SCIENCE.md section 2)."""
    pedestal = float(np.median(figures.edge_pedestal_fraction))
    if pedestal > MAX_MEDIAN_EDGE_PEDESTAL:
        raise ValueError(
            f"bank {path}: a noise pedestal holds {pedestal:.0%} of the flux in the median "
            f"(allowed {MAX_MEDIAN_EDGE_PEDESTAL:.0%}); {REBUILD}"
        )
    box = measure.flat_box_half_light_radius_arcsec(size_px, pixel_scale_arcsec=scale)
    median = float(np.median(hlr_arcsec))
    if median > MAX_MEDIAN_HLR_OF_FLAT_BOX * box:
        raise ValueError(
            f"bank {path}: median meta/hlr_arcsec {median:.2f} is nearly an empty box's ({box:.2f}): noise; {REBUILD}"
        )
