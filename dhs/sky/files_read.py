"""Reads one NPZ or FITS file of cutouts into a `RawCutouts`, as the file has it; `dhs.sky.files` judges it.

NPZ: `images` (N,3,H,W) or (3,H,W), `bands` (3 letters), `pixscale_arcsec`, `unit`; optional `invvar` (as images),
`maskbits` (N,H,W), `psf_fwhm_arcsec` (3,) or (N,3), `psf` (N,3,K,K) or (3,K,K) (dhs.sky.psf_images),
`ra_deg`, `dec_deg` (scalar or N), `id` or `index` (N), `origin` (text: what the stamps are when they are no survey
cutouts). Other arrays are not read. FITS, as the Legacy Survey cutout service writes them: a 3-plane image with BANDS,
a WCS, BUNIT (or SURVEY = LegacySurvey, whose unit is known); an optional INVVAR extension; position from CRVAL, or RA
and DEC.
Every fault of a file is a ValueError of one line: file, what, allowed.
"""

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhs.constants import BANDS

FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fits.fz")

ARCSEC_PER_DEG = 3600.0


@dataclass(frozen=True)
class RawCutouts:
    """What one file holds. N cutouts; bands in the file's own order ``bands``; None or NaN where it says nothing."""

    path: Path
    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    unit: str
    images: np.ndarray
    invvar: np.ndarray | None
    maskbits: np.ndarray | None
    psf_fwhm_arcsec: np.ndarray | None
    psf_images: np.ndarray | None
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    ids: list[str]
    origin: str = ""
    """What the stamps are, when they are no survey cutouts."""


def fault(path: Path, what: str, allowed: str) -> ValueError:
    """The error of a file: one line with its name, what is wrong and what is allowed."""
    return ValueError(f"{path}: {' '.join(what.split())}; allowed: {allowed}")


def read_cutouts(path: Path) -> RawCutouts:
    """Read ``path``; ValueError where it is missing, unreadable, of another kind, or lacks what it must say."""
    if not path.is_file():
        raise fault(path, "no such file", "a path to an NPZ or FITS file")
    if path.name.endswith(".npz"):
        return _read_npz(path)
    if path.name.endswith(FITS_SUFFIXES):
        return _read_fits(path)
    raise fault(path, f"suffix {path.suffix!r}", f".npz, {', '.join(FITS_SUFFIXES)}")


def _read_npz(path: Path) -> RawCutouts:
    arrays = _load_npz(path)
    for name in ("images", "bands", "pixscale_arcsec", "unit"):
        if name not in arrays:
            raise fault(path, f"no array {name!r}", "NPZ with images, bands, pixscale_arcsec, unit")
    images = _stack(path, "images", arrays["images"], n_dim=4)
    n = len(images)
    names = arrays.get("id", arrays.get("index", np.arange(n)))
    if np.shape(names) != (n,):
        raise fault(path, f"id has shape {np.shape(names)}", f"({n},), one a cutout")
    psf = arrays.get("psf_fwhm_arcsec")
    return RawCutouts(
        path=path,
        bands=tuple(str(band) for band in np.atleast_1d(arrays["bands"])),
        pixel_scale_arcsec=float(arrays["pixscale_arcsec"]),
        unit=str(arrays["unit"]),
        images=images,
        invvar=_stack(path, "invvar", arrays["invvar"], n_dim=4) if "invvar" in arrays else None,
        maskbits=_stack(path, "maskbits", arrays["maskbits"], n_dim=3) if "maskbits" in arrays else None,
        psf_fwhm_arcsec=None if psf is None else _per_row(path, "psf_fwhm_arcsec", psf, (n, len(BANDS))),
        psf_images=_stack(path, "psf", arrays["psf"], n_dim=4) if "psf" in arrays else None,
        ra_deg=_per_row(path, "ra_deg", arrays.get("ra_deg", np.nan), (n,)),
        dec_deg=_per_row(path, "dec_deg", arrays.get("dec_deg", np.nan), (n,)),
        ids=[str(name) for name in names],
        origin=str(arrays.get("origin", "")),
    )


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    # The file is opened here because numpy leaves one that is no zip open; a bare .npy comes back as an array.
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise ValueError("one bare array")
            return {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise fault(path, f"not readable as NPZ ({error})", "numpy.savez of plain arrays, no objects") from error


def _stack(path: Path, name: str, array: np.ndarray, *, n_dim: int) -> np.ndarray:
    """``array`` with a first axis of cutouts, which a file of one cutout may leave out."""
    if array.dtype.kind not in "fiu":
        raise fault(path, f"{name} has type {array.dtype}", "numbers")
    stacked = array[None] if array.ndim == n_dim - 1 else array
    if stacked.ndim != n_dim:
        shape = "(N,3,H,W) or (3,H,W)" if n_dim == 4 else "(N,H,W) or (H,W)"
        raise fault(path, f"{name} has shape {array.shape}", shape)
    return stacked


def _per_row(path: Path, name: str, values: np.ndarray | float, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(values, np.float64), shape)
    except ValueError as error:
        raise fault(path, f"{name} has shape {np.shape(values)}", f"{shape} or one for all") from error


def _read_fits(path: Path) -> RawCutouts:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header's cosmetic faults; what matters is checked below
            with fits.open(path, memmap=False) as hdus:
                planes = [(hdu.name, hdu.header, hdu.data) for hdu in hdus if hdu.is_image and hdu.data is not None]
    except (OSError, ValueError, TypeError) as error:
        raise fault(path, f"not readable as FITS ({error})", "FITS images") from error
    if not planes:
        raise fault(path, "no image", "a 3-plane image")
    _, header, data = planes[0]
    images = _stack(path, "image", data, n_dim=4)
    invvars = [plane for name, head, plane in planes[1:] if "INVVAR" in (name, str(head.get("IMAGETYP", "")).upper())]
    ra_deg, dec_deg = _fits_position(header)
    return RawCutouts(
        path=path,
        bands=tuple(str(header.get("BANDS", "")).replace(",", "").replace(" ", "")),
        pixel_scale_arcsec=_fits_pixel_scale(path, header),
        unit=_fits_unit(path, header),
        images=images.astype(np.float32),
        invvar=_stack(path, "INVVAR", invvars[0], n_dim=4).astype(np.float32) if invvars else None,
        maskbits=None,
        psf_fwhm_arcsec=None,
        psf_images=None,
        ra_deg=np.full(len(images), ra_deg),
        dec_deg=np.full(len(images), dec_deg),
        ids=[str(row) for row in range(len(images))],
    )


def _fits_position(header) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """RA and DEC of the header, else the reference point of its sky WCS (a cutout's centre), else NaN."""
    if "RA" in header and "DEC" in header:
        return float(header["RA"]), float(header["DEC"])
    if str(header.get("CTYPE1", "")).startswith("RA"):
        return float(header["CRVAL1"]), float(header["CRVAL2"])
    return float("nan"), float("nan")


def _fits_pixel_scale(path: Path, header) -> float:  # type: ignore[no-untyped-def]
    """Arcsec per pixel: the root of the WCS matrix's determinant."""
    if "CD1_1" in header:
        determinant = header["CD1_1"] * header["CD2_2"] - header.get("CD1_2", 0.0) * header.get("CD2_1", 0.0)
    elif "CDELT1" in header:
        determinant = header["CDELT1"] * header["CDELT2"]
    else:
        raise fault(path, "no pixel scale in the header", "CD1_1 ... or CDELT1 and CDELT2, degrees")
    return float(np.sqrt(abs(determinant)) * ARCSEC_PER_DEG)


def _fits_unit(path: Path, header) -> str:  # type: ignore[no-untyped-def]
    if "BUNIT" in header:
        return str(header["BUNIT"])
    if str(header.get("SURVEY", "")).startswith("LegacySurvey"):
        return "nanomaggy"
    raise fault(path, "no unit in the header", "BUNIT = 'nanomaggy', or SURVEY = 'LegacySurvey'")
