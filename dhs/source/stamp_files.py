"""Reads one FITS or NPZ file of a user's galaxy stamps, as the file has it; `dhs.source.stamps` makes templates of it.

NPZ (numpy.savez of plain arrays): ``images`` (y, x), (N, y, x) or (N, channel, y, x); optional ``bands`` (channel
names), ``pixscale_arcsec``, ``id`` (N,), and per stamp or one for all ``background``, ``noise_sigma`` (also per
channel, (N, channel)), ``psf_fwhm_arcsec``, ``zphot``. Other arrays are not read.

FITS, where ``source.bands`` is null: the image ``source.extension``, or SCI, or the only one: (y, x), or a cube
(N, y, x) of stamps. Where ``source.bands`` names channels: a cube (channel, y, x) of one stamp or (N, channel, y, x);
or an image HDU a channel, (y, x) or (N, y, x), named by EXTNAME or FILTER. The pixel scale is that of the WCS.

Every fault is a ValueError of one line: file, what is wrong, what to do. Shapes: N stamps, C channels.
"""

import gzip
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dhs.config.source import StampBands, StampsSource

if TYPE_CHECKING:
    from astropy.io import fits

FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fits.fz")
GZIP_MAGIC = b"\x1f\x8b"
SCALE_TOLERANCE = 0.01
"""Two statements of a pixel scale that differ by more contradict each other; so does a pixel that is no square."""


@dataclass(frozen=True)
class StampFile:
    """What one file holds; None where it says nothing."""

    path: Path
    images: np.ndarray
    """(N, C, y, x), any number type; NaN where the file has them."""
    channels: tuple[str, ...]
    """Names of the C channels; empty where the file has none."""
    pixel_scale_arcsec: float | None
    ids: tuple[str, ...]
    background: np.ndarray | None = None
    """(N, C) sky per pixel."""
    noise_sigma: np.ndarray | None = None
    """(N, C) uncorrelated noise per pixel."""
    psf_fwhm_arcsec: np.ndarray | None = None
    """(N,)."""
    zphot: np.ndarray | None = None
    """(N,)."""


def fault(path: Path, what: str, remedy: str) -> ValueError:
    """The error of a file, on one line."""
    return ValueError(f"{path}: {' '.join(what.split())}; {remedy}")


def read_stamp_file(path: Path, *, config: StampsSource) -> StampFile:
    """Read ``path``; ValueError where it is unreadable, of another kind, or not laid out as the module says."""
    if path.name.endswith(".npz"):
        return _read_npz(path, multiband=config.bands is not None)
    if path.name.endswith(FITS_SUFFIXES):
        return _read_fits(path, config=config)
    raise fault(path, f"suffix {path.suffix!r}", f"give .npz or {', '.join(FITS_SUFFIXES)} in source.files")


def channel_numbers(file: StampFile, bands: StampBands) -> list[int]:
    """Number of the channel that serves g, r and z; ValueError where the file has no such channel."""
    numbers = []
    n_channels = file.images.shape[1]
    for band, wanted in bands.model_dump().items():
        known = file.channels or tuple(str(number) for number in range(n_channels))
        if isinstance(wanted, str) and wanted in file.channels:
            numbers.append(file.channels.index(wanted))
        elif isinstance(wanted, int) and wanted < n_channels:
            numbers.append(wanted)
        else:
            raise fault(file.path, f"no channel {wanted!r} for source.bands.{band}", f"it has {', '.join(known)}")
    return numbers


def pixel_scale_of(file: StampFile, *, configured: float | None) -> tuple[float, str]:
    """Scale in arcsec and where it is from; ValueError without one, or where file and configuration disagree."""
    said = file.pixel_scale_arcsec
    if said is None and configured is None:
        raise fault(file.path, "no pixel scale (WCS, or pixscale_arcsec)", "set source.input_pixel_scale_arcsec")
    if said is None or configured is None:
        return (configured, "source.input_pixel_scale_arcsec") if configured is not None else (said or 0.0, "the file")
    if abs(said / configured - 1) > SCALE_TOLERANCE:
        raise fault(
            file.path,
            f"its pixel scale is {said:.5g} arcsec, but source.input_pixel_scale_arcsec = {configured:g}",
            "correct one of them, or leave the latter null",
        )
    return configured, "source.input_pixel_scale_arcsec, which the file confirms"


def _read_npz(path: Path, *, multiband: bool) -> StampFile:
    arrays = _load_npz(path)
    if "images" not in arrays:
        raise fault(path, f"no array 'images' (it has {', '.join(arrays) or 'nothing'})", "see docs/data.md")
    images = arrays["images"]
    if images.dtype.kind not in "fiu":
        raise fault(path, f"images are {images.dtype}", "they must be numbers")
    allowed = {2: (None, None), 3: (slice(None), None), 4: ()}
    if images.ndim not in allowed or (images.ndim == 4) != multiband:
        raise _layout_fault(path, images.shape, multiband=multiband)
    stack = images[allowed[images.ndim]]
    n, channels = stack.shape[:2]
    names = tuple(str(name) for name in np.atleast_1d(arrays["bands"])) if "bands" in arrays else ()
    if multiband and names and len(names) != channels:
        raise fault(path, f"bands has {len(names)} names for {channels} channels", "give one a channel")
    ids = arrays.get("id", np.arange(n))
    if np.shape(ids) != (n,):
        raise fault(path, f"id has shape {np.shape(ids)}", f"it must be ({n},), one a stamp")
    return StampFile(
        path=path,
        images=stack,
        channels=names,
        pixel_scale_arcsec=_scalar(path, arrays, "pixscale_arcsec"),
        ids=tuple(str(name) for name in ids),
        background=_per_channel(path, arrays, "background", (n, channels)),
        noise_sigma=_per_channel(path, arrays, "noise_sigma", (n, channels)),
        psf_fwhm_arcsec=_per_stamp(path, arrays, "psf_fwhm_arcsec", n),
        zphot=_per_stamp(path, arrays, "zphot", n),
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
        raise fault(path, f"not readable as NPZ ({error})", "write it with numpy.savez, plain arrays") from None


def _scalar(path: Path, arrays: dict[str, np.ndarray], key: str) -> float | None:
    if key not in arrays:
        return None
    value = arrays[key]
    if value.size != 1 or value.dtype.kind not in "fiu" or not value.item() > 0:
        raise fault(path, f"{key} is {value!r}", "it must be one positive number")
    return float(value.item())


def _per_stamp(path: Path, arrays: dict[str, np.ndarray], key: str, n: int) -> np.ndarray | None:
    if key not in arrays:
        return None
    if arrays[key].shape not in ((), (n,)) or arrays[key].dtype.kind not in "fiu":
        raise fault(path, f"{key} is {arrays[key].dtype} {arrays[key].shape}", f"give one number, or ({n},) numbers")
    return np.broadcast_to(arrays[key].astype(np.float64), (n,))


def _per_channel(path: Path, arrays: dict[str, np.ndarray], key: str, shape: tuple[int, int]) -> np.ndarray | None:
    if key not in arrays:
        return None
    value = arrays[key]
    if value.shape not in ((), shape[:1], shape) or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
        raise fault(
            path, f"{key} is {value.dtype} {value.shape}", f"give one finite number, ({shape[0]},) or {shape} of them"
        )
    column = value[:, None] if value.ndim == 1 else value
    return np.broadcast_to(column.astype(np.float64), shape)


def _layout_fault(path: Path, shape: tuple[int, ...], *, multiband: bool) -> ValueError:
    if multiband:
        return fault(path, f"images {shape}", "source.bands needs (N, channel, y, x); null reads one channel a stamp")
    return fault(path, f"images {shape}", "one channel is (y, x) or (N, y, x); set source.bands for several")


def _read_fits(path: Path, *, config: StampsSource) -> StampFile:
    hdus = _image_hdus(path)
    if config.extension is not None:
        hdus = [_extension(path, hdus, config.extension)]
    multiband = config.bands is not None
    if multiband and (len(hdus) > 1 or hdus[0].data.ndim == 2):
        images, channels, header = _channels_by_hdu(path, hdus)
    else:
        hdu = hdus[0] if len(hdus) == 1 or multiband else _science_hdu(path, hdus)
        header, data = hdu.header, hdu.data
        layout = {3: (None,), 4: ()} if multiband else {2: (None, None), 3: (slice(None), None)}
        if data.ndim not in layout:
            raise _layout_fault(path, data.shape, multiband=multiband)
        images, channels = data[layout[data.ndim]], _listed_channels(header)
    name = str(header.get("OBJECT", "")).strip() if len(images) == 1 else ""
    ids = (name,) if name else tuple(str(row) for row in range(len(images)))
    return StampFile(path, images, channels if multiband else (), _wcs_pixel_scale(path, header), ids)


def _image_hdus(path: Path) -> list["fits.ImageHDU"]:
    """HDUs with an image, read into memory."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*truncated.*", category=AstropyUserWarning)
            # from memory: astropy leaves a truncated file open
            content = path.read_bytes()
            with fits.open(BytesIO(gzip.decompress(content) if content[:2] == GZIP_MAGIC else content)) as file:
                hdus = [hdu for hdu in file if hdu.is_image and hdu.data is not None and hdu.data.ndim >= 2]
    except (OSError, EOFError, zlib.error, ValueError, TypeError, AstropyUserWarning) as error:
        raise fault(path, f"not readable as FITS ({error})", "get it again, or leave it out of source.files") from None
    if not hdus:
        raise fault(path, "no image in it", "leave it out of source.files")
    return hdus


def _extension(path: Path, hdus: list[Any], wanted: int | str) -> Any:
    for number, hdu in enumerate(hdus):
        if wanted in (number, hdu.name):
            return hdu
    names = ", ".join(f"{number} {hdu.name}" for number, hdu in enumerate(hdus))
    raise fault(path, f"no image source.extension = {wanted!r}", f"its images are {names}")


def _science_hdu(path: Path, hdus: list[Any]) -> Any:
    science = [hdu for hdu in hdus if hdu.name == "SCI"]
    if len(science) != 1:
        names = ", ".join(f"{number} {hdu.name}" for number, hdu in enumerate(hdus))
        raise fault(path, f"{len(hdus)} images ({names}), none or several called SCI", "set source.extension to one")
    return science[0]


def _channels_by_hdu(path: Path, hdus: list[Any]) -> tuple[np.ndarray, tuple[str, ...], Any]:
    """(N, C, y, x), names, and the first header, of an image HDU a channel (those of the first one's shape)."""
    first = hdus[0]
    if first.data.ndim > 3:
        raise _layout_fault(path, first.data.shape, multiband=True)
    alike = [hdu for hdu in hdus if hdu.data.shape == first.data.shape]
    planes = np.stack([hdu.data for hdu in alike], axis=-3)
    names = tuple(str(hdu.header.get("FILTER", "")) if hdu.name in ("", "PRIMARY") else hdu.name for hdu in alike)
    return (planes if planes.ndim == 4 else planes[None]), names, first.header


def _listed_channels(header: "fits.Header") -> tuple[str, ...]:
    """Names in BANDS: ``F115W,F150W`` or ``grz``."""
    text = str(header.get("BANDS", "")).strip()
    return tuple(part.strip() for part in text.split(",")) if "," in text else tuple(text)


def _wcs_pixel_scale(path: Path, header: "fits.Header") -> float | None:
    """Arcsec per pixel of a celestial WCS; None without one."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header's cosmetic faults
        wcs = WCS(header, naxis=2)
    if not wcs.has_celestial:
        return None
    x, y = (3600 * float(scale) for scale in proj_plane_pixel_scales(wcs))
    if not abs(x / y - 1) < SCALE_TOLERANCE:
        raise fault(path, f"pixels of {x:.4g} by {y:.4g} arcsec", "resample the stamp to square pixels")
    return float(np.sqrt(x * y))
