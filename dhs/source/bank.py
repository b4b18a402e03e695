"""Banks: HDF5 files of unit-flux source templates (SCIENCE.md section 2), written atomically, checked when opened.

    images (N, S, S) float32, gzip-4 + shuffle     unit total flux
    meta/index int64, meta/hlr_arcsec, meta/clumpiness float32              required
    meta/snr, pedestal_fraction, support_radius_arcsec, mag_auto, zphot ... what the builder knows
    attributes: src_pixscale_arcsec, stamp_size, created_utc, galaxy_kind, schema_version, build (JSON), ...

`open_bank` keeps the images resident in one tensor; forked loader workers share its pages. Pickled (spawned workers),
a bank is its configuration and opens again. Built by `dhs.source.cosmos`; the user's older banks open too, if they
are galaxies and not noise.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch

from dhs.config.source import CosmosSource
from dhs.source import measure
from dhs.source.base import Templates, choose_uniformly
from dhs.source.parametric import checked_indices

SCHEMA_VERSION = 1
REQUIRED_META: tuple[str, ...] = ("index", "hlr_arcsec", "clumpiness")
FLUX_TOLERANCE = 1e-5
MAX_MEDIAN_EDGE_PEDESTAL = 0.05
"""Share of the flux in a flat pedestal, median over the bank; a cleaned bank has 0, the seeds' recipe much more."""
MAX_MEDIAN_HLR_OF_FLAT_BOX = 0.75
"""Median half-light radius over that of an empty box; the seeds' bank had 0.94."""
REBUILD = "rebuild it with inject.py task=bank"


def write_bank(
    path: Path, *, images: np.ndarray, meta: Mapping[str, np.ndarray], attributes: Mapping[str, str | int | float]
) -> None:
    """Write (N, S, S) float32 ``images``, (N,) columns and file attributes; the name appears only when complete.

    Raises:
        ValueError: a column of the wrong length, a required one missing, or an image that is not unit flux.
    """
    missing = [key for key in REQUIRED_META if key not in meta]
    wrong = [key for key, column in meta.items() if len(column) != len(images)]
    if missing or wrong:
        raise ValueError(f"bank {path}: columns missing {missing}, of the wrong length {wrong}; {len(images)} images")
    _check_images(path, images, names=meta["index"])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(temporary, "w") as file:
            chunk = (min(16, len(images)), *images.shape[1:])
            file.create_dataset(
                "images", data=images, chunks=chunk, compression="gzip", compression_opts=4, shuffle=True
            )
            for key, column in meta.items():
                file.create_dataset(f"meta/{key}", data=column)
            file.attrs.update({**attributes, "schema_version": SCHEMA_VERSION})
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class CosmosBank:
    """`dhs.source.base.Source` of real galaxies; make one with `open_bank`."""

    name = "cosmos"
    n_channels = 1

    def __init__(self, config: CosmosSource, *, images: torch.Tensor, meta: Mapping[str, np.ndarray]) -> None:
        self.config = config
        self.n_sources = len(images)
        self.stamp_size_px = config.stamp_size_px
        self.pixel_scale_arcsec = config.pixel_scale_arcsec
        self.meta = dict(meta)
        """(N,) columns of the file's ``meta`` group."""
        self._images = images
        self._hlr_arcsec = np.asarray(meta["hlr_arcsec"], np.float32)
        self._support_radius_arcsec = torch.from_numpy(np.asarray(meta["support_radius_arcsec"], np.float32))

    def __reduce__(self) -> tuple[object, tuple[CosmosSource]]:
        return open_bank, (self.config,)

    def choose(self, u: np.ndarray) -> np.ndarray:
        """See `dhs.source.base.Source.choose`."""
        return choose_uniformly(u, n_sources=self.n_sources)

    def templates(self, indices: np.ndarray) -> Templates:
        """See `dhs.source.base.Source.templates`."""
        rows = torch.from_numpy(checked_indices(indices, n_sources=self.n_sources, name=self.name))
        return Templates(self._images[:, None], rows, self._support_radius_arcsec[rows])

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        """(B,) float32, as measured on the cleaned template."""
        return self._hlr_arcsec[checked_indices(indices, n_sources=self.n_sources, name=self.name)]


def open_bank(config: CosmosSource) -> CosmosBank:
    """Read and check ``config.bank``; columns a user's older bank lacks (support radius) are measured.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a bank, another grid than the configuration's, NaN, non-unit flux, or mostly noise.
    """
    path = config.bank
    if not path.is_file():
        raise FileNotFoundError(f"source.bank = {path}: no such file; build it with inject.py task=bank")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"bank {path}: not a readable HDF5 file ({error}); {REBUILD}") from None
    with file:
        _check_schema(file, config=config)
        images = np.asarray(file["images"][()], np.float32)
        meta = {key: column[()] for key, column in file["meta"].items()}
    _check_images(path, images, names=meta["index"])
    _refuse_noise(path, images, hlr_arcsec=meta["hlr_arcsec"], scale=config.pixel_scale_arcsec)
    if "support_radius_arcsec" not in meta:
        radii = [measure.support_radius_arcsec(image, pixel_scale_arcsec=config.pixel_scale_arcsec) for image in images]
        meta["support_radius_arcsec"] = np.array(radii, np.float32)
    return CosmosBank(config, images=torch.from_numpy(images), meta=meta)


def _check_schema(file: h5py.File, *, config: CosmosSource) -> None:
    """ValueError unless datasets, attributes and shapes are those of a bank on the configuration's grid."""
    path = config.bank
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
    size, shape = int(file.attrs["stamp_size"]), file["images"].shape
    if size != config.stamp_size_px or shape[1:] != (size, size) or shape[0] == 0:
        raise ValueError(
            f"bank {path}: images {shape}, stamp_size {size}, but source.stamp_size_px = {config.stamp_size_px}; "
            f"change that or {REBUILD}"
        )
    short = [key for key, column in file["meta"].items() if column.shape != shape[:1]]
    if short:
        raise ValueError(f"bank {path}: meta/{short[0]} has not one value for each of {shape[0]} images; {REBUILD}")


def _check_images(path: Path, images: np.ndarray, *, names: np.ndarray) -> None:
    """ValueError unless every image is finite with unit flux; ``names`` are the sources' catalogue rows."""
    flux = images.sum(axis=(1, 2), dtype=np.float64)
    if not np.isfinite(flux).all():
        raise ValueError(f"bank {path}: source {names[~np.isfinite(flux)][0]} holds NaN or infinity; {REBUILD}")
    off = np.abs(flux - 1)
    if (off > FLUX_TOLERANCE).any():
        worst = int(off.argmax())
        raise ValueError(f"bank {path}: source {names[worst]} has flux {flux[worst]:.6g}, must be 1; {REBUILD}")


def _refuse_noise(path: Path, images: np.ndarray, *, hlr_arcsec: np.ndarray, scale: float) -> None:
    """ValueError when pedestal or half-light radius say that the bank is mostly noise (SCIENCE.md section 2)."""
    pedestal = float(np.median(measure.edge_pedestal_fraction(images)))
    if pedestal > MAX_MEDIAN_EDGE_PEDESTAL:
        raise ValueError(
            f"bank {path}: a noise pedestal holds {pedestal:.0%} of the flux in the median "
            f"(allowed {MAX_MEDIAN_EDGE_PEDESTAL:.0%}); {REBUILD}"
        )
    box = measure.flat_box_half_light_radius_arcsec(images.shape[-1], pixel_scale_arcsec=scale)
    median = float(np.median(hlr_arcsec))
    if median > MAX_MEDIAN_HLR_OF_FLAT_BOX * box:
        raise ValueError(
            f"bank {path}: median meta/hlr_arcsec {median:.2f} is nearly an empty box's ({box:.2f}): noise; {REBUILD}"
        )
