"""Opens anybody's bank: the file's schema, its columns, and its images a few at a time.

Reads what `dhs.source.bank` writes (one image a source, or one a band) and the user's older files, which have only
`images`, `meta/index`, `meta/hlr_arcsec`, `meta/clumpiness` and attributes. Unlike `open_bank` it does not refuse
noise, NaN or another grid: those are what the check reports. What is no bank at all is one line.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from dhs.config.base import Range

REQUIRED: tuple[str, ...] = ("images", "meta/index", "meta/hlr_arcsec", "meta/clumpiness")
REQUIRED_ATTRIBUTES: tuple[str, ...] = ("src_pixscale_arcsec", "stamp_size")
HIGHEST_VERSION = 1
"""Newest schema_version this reader knows (`dhs.source.bank.SCHEMA_VERSION`; a test holds them together)."""
MIN_SIZE_PX = 32
"""As `source.stamp_size_px`."""
READ_BYTES = 16 * 2**20
"""Images are read in pieces of about this many bytes, so memory does not depend on the number of sources."""


@dataclass(frozen=True)
class BankFile:
    """What a bank says of itself; N sources, C images each, S pixels a side."""

    path: Path
    n_sources: int
    n_channels: int
    size_px: int
    pixel_scale_arcsec: float
    dtype: np.dtype
    attributes: Mapping[str, str | int | float]
    meta: Mapping[str, np.ndarray]
    """(N,) numeric columns of the file's ``meta`` group."""

    @property
    def half_box_arcsec(self) -> float:
        """Half the side of a stamp."""
        return 0.5 * self.size_px * self.pixel_scale_arcsec

    def hlr_filter(self) -> Range | None:
        """The builder's own cut on the half-light radius, where the file states one."""
        stated = self.attributes
        if "hlr_min_arcsec" in stated and "hlr_max_arcsec" in stated:
            return Range(low=float(stated["hlr_min_arcsec"]), high=float(stated["hlr_max_arcsec"]))
        try:
            limits = json.loads(str(stated.get("build", "{}"))).get("half_light_radius_arcsec")
        except (json.JSONDecodeError, AttributeError):
            return None
        return Range(**limits) if isinstance(limits, dict) and set(limits) == {"low", "high"} else None


def read_bank_file(path: Path) -> BankFile:
    """Schema and columns of ``path``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not HDF5, a dataset or attribute missing, of a wrong shape or type, or a newer schema_version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"bank {path}: no such file; give an HDF5 bank (inject.py task=bank builds one)")
    try:
        with h5py.File(path, "r") as file:
            return _described(path, file)
    except OSError as error:
        raise ValueError(f"bank {path}: not a readable HDF5 file ({error}); copy or build it again") from None


def _described(path: Path, file: h5py.File) -> BankFile:
    missing = [key for key in REQUIRED if not isinstance(file.get(key), h5py.Dataset)]
    missing += [f"attribute {key}" for key in REQUIRED_ATTRIBUTES if key not in file.attrs]
    if missing:
        raise ValueError(f"bank {path}: {', '.join(missing)} missing: this is no source bank (docs/data.md)")
    version = _number(path, file, "schema_version", default=0)
    if version > HIGHEST_VERSION:
        raise ValueError(
            f"bank {path}: schema_version = {version:g}, this program knows up to {HIGHEST_VERSION}; "
            "check it with the version of dhs that wrote it"
        )
    images = file["images"]
    size, scale = (_number(path, file, key) for key in ("stamp_size", "src_pixscale_arcsec"))
    shape = images.shape
    if len(shape) not in (3, 4) or 0 in shape or shape[-1] != shape[-2] or shape[-1] != size or size < MIN_SIZE_PX:
        raise ValueError(
            f"bank {path}: images have shape {shape} and stamp_size is {size:g}; must be (N, S, S) or (N, bands, S, S) "
            f"with S = stamp_size, at least {MIN_SIZE_PX}"
        )
    if images.dtype.kind != "f":
        raise ValueError(f"bank {path}: images are {images.dtype}; must be floating point numbers")
    if not scale > 0:
        raise ValueError(f"bank {path}: src_pixscale_arcsec = {scale:g}; must be positive")
    return BankFile(
        path=path,
        n_sources=shape[0],
        n_channels=1 if len(shape) == 3 else shape[1],
        size_px=shape[-1],
        pixel_scale_arcsec=scale,
        dtype=images.dtype,
        attributes={key: _plain(value) for key, value in file.attrs.items()},
        meta=_columns(path, file["meta"], n=shape[0]),
    )


def _number(path: Path, file: h5py.File, key: str, *, default: float | None = None) -> float:
    value = file.attrs.get(key, default)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"bank {path}: attribute {key} = {value!r}; must be a number") from None


def _plain(value: object) -> str | int | float:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, int | float) else str(value)


def _columns(path: Path, meta: h5py.Group, *, n: int) -> dict[str, np.ndarray]:
    columns = {}
    for key, column in meta.items():
        if not isinstance(column, h5py.Dataset) or column.dtype.kind not in "fiub":
            continue  # names and notes are nothing to measure
        if column.shape != (n,):
            raise ValueError(
                f"bank {path}: meta/{key} has shape {column.shape}; must be one value for each of {n} images"
            )
        columns[key] = column[()]
    absent = [key for key in REQUIRED if key.startswith("meta/") and key[5:] not in columns]
    if absent:
        raise ValueError(f"bank {path}: {absent[0]} holds no numbers: this is no source bank (docs/data.md)")
    return columns


def iterate_images(bank: BankFile) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, (n, C, S, S) float64) pieces of the bank in order; whole HDF5 chunks, bounded memory."""
    per_source = bank.n_channels * bank.size_px**2 * 8
    with h5py.File(bank.path, "r") as file:
        images = file["images"]
        stored = images.chunks[0] if images.chunks else 1
        step = max(1, READ_BYTES // per_source // stored) * stored
        for start in range(0, bank.n_sources, step):
            yield start, _piece(bank, images, slice(start, start + step))


def read_images(bank: BankFile, rows: np.ndarray) -> np.ndarray:
    """(len(rows), C, S, S) float64 of the given rows, in their order."""
    unique, back = np.unique(np.asarray(rows, np.int64), return_inverse=True)
    with h5py.File(bank.path, "r") as file:
        return _piece(bank, file["images"], unique)[back]


def _piece(bank: BankFile, images: h5py.Dataset, rows: slice | np.ndarray) -> np.ndarray:
    try:
        values = images[rows]
    except OSError as error:
        raise ValueError(
            f"bank {bank.path}: images cannot be read ({error}); the file is damaged, copy it again"
        ) from None
    return values.astype(np.float64).reshape(-1, bank.n_channels, bank.size_px, bank.size_px)
