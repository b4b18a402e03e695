"""Banks: HDF5 files of unit-flux source templates (SCIENCE.md section 2), written atomically, checked when opened.

    images (N, S, S) float32 or float16, gzip-4 + shuffle      unit total flux, one image for every band
    images (N, C, S, S), attribute bands = "grz"               one image a band, each of unit flux
    meta/index int64, meta/hlr_arcsec, meta/clumpiness float32              required
    meta/snr, pedestal_fraction, support_radius_arcsec, mag_auto, zphot ... what the builder knows
    attributes: src_pixscale_arcsec, stamp_size, created_utc, galaxy_kind, schema_version, build (JSON), ...

`open_bank` gives a `BankSource`. With ``storage=resident`` its pixels are one tensor, whose pages forked loader
workers share; with ``storage=mapped`` they are mapped from an unpacked file (`dhs.source.unpacked`) that every process
of the machine shares. A resident bank that is pickled (spawned workers) moves into such a file first: no worker gets
pixels of its own. Built by `dhs.source.cosmos` and `dhs.source.stamps`; the user's older banks open too, if they are
galaxies and not noise.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch

from dhs.config.source import BankedSource, CosmosSource, StampsSource
from dhs.source.bank_read import measured, stack_shape, support_radius_px
from dhs.source.bank_rules import (
    BANDS_ATTRIBUTE,
    REBUILD,
    REQUIRED_META,
    SCHEMA_VERSION,
    check_images,
    check_schema,
    checked_stack,
)
from dhs.source.base import Templates, choose_uniformly
from dhs.source.parametric import checked_indices
from dhs.source.unpacked import UnpackedStack, checksum_of, unpacked


def write_bank(
    path: Path, *, images: np.ndarray, meta: Mapping[str, np.ndarray], attributes: Mapping[str, str | int | float]
) -> None:
    """Write (N, S, S) or (N, bands, S, S) ``images`` (float32, float16), (N,) columns and file attributes.

    The name appears only when the file is complete.

    Raises:
        ValueError: a column of the wrong length, a required one missing, or an image that is not unit flux.
    """
    missing = [key for key in REQUIRED_META if key not in meta]
    wrong = [key for key, column in meta.items() if len(column) != len(images)]
    if missing or wrong:
        raise ValueError(f"bank {path}: columns missing {missing}, of the wrong length {wrong}; {len(images)} images")
    stack = images if images.ndim == 4 else images[:, None]
    check_images(path, measured(stack), dtype=images.dtype, names=meta["index"])
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
            if images.ndim == 4:
                file.attrs["bands"] = BANDS_ATTRIBUTE
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class BankSource:
    """`dhs.source.base.StackedSource` of a bank's galaxies; make one with `open_bank`."""

    def __init__(
        self,
        config: BankedSource,
        *,
        images: np.ndarray,
        meta: Mapping[str, np.ndarray],
        checksum: str,
        cache_dir: Path,
        mapped: UnpackedStack | None = None,
    ) -> None:
        assert isinstance(config, CosmosSource | StampsSource)
        self.config = config
        self.name: str = config.name
        self.n_sources, self.n_channels = images.shape[:2]
        self.stamp_size_px = config.stamp_size_px
        self.pixel_scale_arcsec = config.pixel_scale_arcsec
        self.meta = dict(meta)
        """(N,) columns of the file's ``meta`` group."""
        self.checksum = checksum
        """Of the file, see `dhs.source.unpacked.checksum_of`."""
        self._cache_dir, self._mapped = cache_dir, mapped
        self._images = torch.from_numpy(images)
        self._hlr_arcsec = np.asarray(meta["hlr_arcsec"], np.float32)
        self._support_radius_arcsec = torch.from_numpy(np.asarray(meta["support_radius_arcsec"], np.float32))

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickled without a pixel: both sides then map one file."""
        return _reopened, (self.config, self.meta, self.checksum, self._cache_dir, self.move_to_file())

    def move_to_file(self) -> UnpackedStack:
        """Replace a resident stack by the same pixels mapped from a file, and give back their memory."""
        if self._mapped is None:
            pixels = self._images.numpy()
            shape = (self.n_sources, self.n_channels, self.stamp_size_px, self.stamp_size_px)
            self._mapped = unpacked(
                self._cache_dir, bank_checksum=self.checksum, shape=shape, fill=lambda out: np.copyto(out, pixels)
            )
            self._images = torch.from_numpy(self._mapped.map())
        return self._mapped

    def choose(self, u: np.ndarray) -> np.ndarray:
        """See `dhs.source.base.Source.choose`."""
        return choose_uniformly(u, n_sources=self.n_sources)

    def templates(self, indices: np.ndarray) -> Templates:
        """See `dhs.source.base.Source.templates`."""
        rows = torch.from_numpy(checked_indices(indices, n_sources=self.n_sources, name=self.name))
        return Templates(self._images, rows, self._support_radius_arcsec[rows])

    def stack(self) -> Templates:
        """See `dhs.source.base.StackedSource.stack`."""
        return Templates(self._images, torch.arange(self.n_sources), self._support_radius_arcsec)

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        """(B,) float32, as measured on the cleaned template."""
        return self._hlr_arcsec[checked_indices(indices, n_sources=self.n_sources, name=self.name)]


def open_bank(config: BankedSource, *, cache_dir: Path | None = None) -> BankSource:
    """Read and check ``config.bank``; columns a user's older bank lacks (support radius) are measured.

    ``cache_dir`` takes the unpacked file of ``storage=mapped`` and of a pickled bank; None: beside the bank.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a bank, another grid than the configuration's, NaN, non-unit flux, or mostly noise.
    """
    path = config.bank_file
    if not path.is_file():
        raise FileNotFoundError(f"source.bank = {path}: no such file; build it with inject.py task=bank")
    folder = path.parent if cache_dir is None else cache_dir / "banks"
    checksum = checksum_of(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"bank {path}: not a readable HDF5 file ({error}); {REBUILD}") from None
    with file:
        check_schema(file, config=config)
        meta = {key: column[()] for key, column in file["meta"].items()}
        shape = stack_shape(file["images"])

        def fill(out: np.ndarray) -> None:
            checked_stack(path, file["images"], out=out, meta=meta, scale=config.pixel_scale_arcsec)

        mapped = None
        if config.storage == "mapped":
            mapped = unpacked(folder, bank_checksum=checksum, shape=shape, fill=fill)
            images = mapped.map()
        else:
            images = np.empty(shape, np.float32)
            fill(images)
    if "support_radius_arcsec" not in meta:
        meta["support_radius_arcsec"] = support_radius_px(images) * np.float32(config.pixel_scale_arcsec)
    return BankSource(config, images=images, meta=meta, checksum=checksum, cache_dir=folder, mapped=mapped)


def _reopened(
    config: BankedSource, meta: Mapping[str, np.ndarray], checksum: str, cache_dir: Path, mapped: UnpackedStack
) -> BankSource:
    """A bank that another process opened and checked."""
    return BankSource(config, images=mapped.map(), meta=meta, checksum=checksum, cache_dir=cache_dir, mapped=mapped)
