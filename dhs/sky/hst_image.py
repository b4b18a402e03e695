"""An image of a real lens or galaxy from HST (or any sharper telescope), read with all that makes it physical.

FITS: the first image extension; pixel scale and orientation from its CD matrix, the zero point from PHOTFLAM and
PHOTPLAM (ABZP = -2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408, ACS Data Handbook). HDF5: dataset `image`, attributes
`pixel_scale_arcsec` and `zero_point_ab_mag`, optional dataset `psf`. What a file does not say must be given; what it
says and is given differently is an error.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SCALE_TOLERANCE = 0.01
ZERO_POINT_TOLERANCE_MAG = 0.05
MAX_PSF_OFFSET_PX = 1.0
"""A PSF whose peak lies further from its middle is not a PSF image; the rest is taken out in Fourier space."""


@dataclass(frozen=True)
class SharpImage:
    """(y, x) image in nMgy per pixel, with its PSF (pixel included, as measured from stars)."""

    path: Path
    image_nmgy: np.ndarray
    pixel_scale_arcsec: float
    to_sky: np.ndarray
    """(2, 2): (west, north) arcsec = to_sky @ (column, row); rotates the image to north up, east left."""
    psf: np.ndarray
    """(y, x) on the image's own pixels, sum 1."""
    ra_deg: float
    dec_deg: float
    """Of the image's middle; NaN without a WCS."""


def read_sharp_image(
    path: Path, *, psf_path: Path, pixel_scale_arcsec: float | None, zero_point_ab_mag: float | None
) -> SharpImage:
    """Read ``path`` and its PSF.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unreadable, no pixel scale or zero point to be had, contradictions, NaN, no PSF in the PSF file.
    """
    for name in (path, psf_path):
        if not name.is_file():
            raise FileNotFoundError(f"{name}: no such file; give an HST image and its PSF (FITS or HDF5)")
    data, known = _read(path)
    if data.ndim != 2 or not np.isfinite(data).all():
        raise ValueError(f"{path}: image of shape {data.shape} with {int((~np.isfinite(data)).sum())} bad pixels: "
                         "must be two-dimensional and finite; cut out or fill what is missing")  # fmt: skip
    scale = _agreed(path, "pixel_scale_arcsec", known.scale, pixel_scale_arcsec, tolerance=SCALE_TOLERANCE)
    zero_point = _agreed(
        path, "zero_point_ab_mag", known.zero_point, zero_point_ab_mag, tolerance=ZERO_POINT_TOLERANCE_MAG
    )
    return SharpImage(
        path=path,
        image_nmgy=data * 10 ** (0.4 * (22.5 - zero_point)),
        pixel_scale_arcsec=scale,
        to_sky=np.eye(2) * scale if known.to_sky is None else known.to_sky,
        psf=_psf(psf_path),
        ra_deg=known.ra_deg,
        dec_deg=known.dec_deg,
    )


@dataclass(frozen=True)
class _Known:
    """What a file says of itself; None or NaN where it is silent."""

    scale: float | None = None
    zero_point: float | None = None
    to_sky: np.ndarray | None = None
    ra_deg: float = float("nan")
    dec_deg: float = float("nan")


def _read(path: Path) -> tuple[np.ndarray, _Known]:
    if path.suffix in (".h5", ".hdf5"):
        return _read_hdf5(path)
    from astropy.io import fits

    try:
        with fits.open(path) as file:
            hdu = next(hdu for hdu in file if hdu.is_image and hdu.data is not None)
            return np.asarray(hdu.data, float), _from_header(hdu.header, shape=hdu.data.shape)
    except (OSError, StopIteration, TypeError) as error:
        raise ValueError(
            f"{path}: not a readable FITS image ({str(error).splitlines()[0] if str(error) else 'no image'})"
        ) from None


def _read_hdf5(path: Path) -> tuple[np.ndarray, _Known]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            image = file["image"]
            scale, zero = image.attrs.get("pixel_scale_arcsec"), image.attrs.get("zero_point_ab_mag")
            known = _Known(None if scale is None else float(scale), None if zero is None else float(zero))
            return np.asarray(image[()], float), known
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: not an HDF5 file with a dataset `image` ({error})") from None


def _from_header(header: "object", *, shape: tuple[int, ...]) -> _Known:
    from astropy.wcs import WCS

    get = header.get  # type: ignore[attr-defined]
    zero_point = None
    if get("PHOTFLAM") and get("PHOTPLAM"):
        zero_point = -2.5 * np.log10(get("PHOTFLAM")) - 5 * np.log10(get("PHOTPLAM")) - 2.408
    if get("CD1_1") is None:
        return _Known(zero_point=zero_point)
    cd = 3600 * np.array([[get("CD1_1"), get("CD1_2") or 0.0], [get("CD2_1") or 0.0, get("CD2_2")]], float)
    wcs = WCS(header, naxis=2)
    middle = wcs.wcs_pix2world([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]], 0)[0]
    return _Known(
        scale=float(np.sqrt(abs(np.linalg.det(cd)))),
        zero_point=zero_point,
        to_sky=np.diag([-1.0, 1.0]) @ cd,
        ra_deg=float(middle[0]),
        dec_deg=float(middle[1]),
    )


def _agreed(path: Path, key: str, said: float | None, given: float | None, *, tolerance: float) -> float:
    """The value of ``key``; an error when nobody says it, or file and user disagree."""
    if said is None and given is None:
        raise ValueError(f"{path}: does not say its {key}; give task.{key}=...")
    if said is not None and given is not None:
        off = abs(said - given) / (abs(said) if key == "pixel_scale_arcsec" else 1.0)
        if off > tolerance:
            raise ValueError(
                f"{path}: its header says {key} = {said:.4g}, task.{key} = {given:.4g}; correct one of them"
            )
    return float(said if said is not None else given)  # type: ignore[arg-type]


def _psf(path: Path) -> np.ndarray:
    psf, _ = _read(path)
    if psf.ndim != 2 or not np.isfinite(psf).all() or psf.sum() <= 0:
        raise ValueError(
            f"{path}: no PSF image (shape {psf.shape}): must be two-dimensional, finite and positive in sum"
        )
    peak = np.array(np.unravel_index(int(psf.argmax()), psf.shape))
    off = np.abs(peak - (np.array(psf.shape) - 1) / 2).max()
    if off > MAX_PSF_OFFSET_PX:
        raise ValueError(
            f"{path}: the PSF's peak is {off:.1f} px from its middle: must be within {MAX_PSF_OFFSET_PX:g}"
        )
    return psf / psf.sum()
