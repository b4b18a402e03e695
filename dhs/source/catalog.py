"""A GalSim RealGalaxyCatalog on disk: its tables, checked before any galaxy is drawn.

The COSMOS 25.2 and 23.5 samples (``galsim_download_cosmos -s 25.2``) and the 100-galaxy example have a main table
``real_galaxy_catalog_*.fits``, the pictures it names, and mostly a table of fits ``*_fits.fits`` (Mandelbaum et al.
2012, MNRAS 420, 1518; GalSim's ``COSMOSCatalog`` documents the columns).
"""

import warnings
from dataclasses import dataclass, fields
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from scipy.special import gammainc, gammaincinv

WHITE = ""
"""Name of the noise file of a catalogue that names none: uncorrelated noise."""
DOWNLOAD = "get the sample with galsim_download_cosmos and set source.catalog_dir to its folder"
MAIN_COLUMNS: tuple[str, ...] = (
    "IDENT",
    "MAG",
    "GAL_FILENAME",
    "PSF_FILENAME",
    "GAL_HDU",
    "PSF_HDU",
    "PIXEL_SCALE",
    "NOISE_MEAN",
    "NOISE_VARIANCE",
)
FIT_COLUMNS: tuple[str, ...] = ("zphot", "sersicfit", "hlr", "flux", "use_bulgefit")
FITTED: tuple[str, ...] = (
    "zphot",
    "hlr_arcsec",
    "sersic_index",
    "axis_ratio",
    "sersic_re_arcsec",
    "position_angle_rad",
)
"""Columns of `RealCatalog` that come from the table of fits."""
GROWTH_RADII_ARCSEC = np.geomspace(0.005, 10.0, 600)
FIT_PIXEL_ARCSEC = 0.03
"""Pixel of the fits (Koekemoer et al. 2007, ApJS 172, 196)."""
FITS_BLOCK_BYTES = 2880
_CORRELATION = "correlation."
_TABLE = "table"


@dataclass(frozen=True)
class RealCatalog:
    """N galaxies of a RealGalaxyCatalog; NaN where the table of fits is absent."""

    file: Path
    checksum: str
    """blake2b of the main table and the table of fits."""
    pictures_checksum: str
    """blake2b of the names and sizes of the picture, PSF and noise files."""
    ident: np.ndarray
    """(N,) int64."""
    gal_file: np.ndarray
    """(N,) file of the picture; `psf_file` of its PSF."""
    psf_file: np.ndarray
    gal_hdu: np.ndarray
    """(N,) int64, HDU of the picture; `psf_hdu` of its PSF."""
    psf_hdu: np.ndarray
    pixel_scale_arcsec: np.ndarray
    """(N,) of picture and PSF."""
    mag_auto: np.ndarray
    """(N,) F814W AB magnitude."""
    background: np.ndarray
    """(N,) local sky level, flux per catalogue pixel."""
    noise_variance: np.ndarray
    """(N,) of a catalogue pixel."""
    noise_file: np.ndarray
    """(N,) key of `correlation`."""
    correlation: dict[str, np.ndarray]
    """Pixel correlation function of the noise (y, x), 1 in its middle, by file; white noise without a file."""
    zphot: np.ndarray
    """(N,)."""
    hlr_arcsec: np.ndarray
    """(N,) fitted half-light radius, circularised; of the sum where bulge and disc are the better fit."""
    sersic_index: np.ndarray
    """(N,) of the single fit."""
    axis_ratio: np.ndarray
    """(N,) of the single fit."""
    sersic_re_arcsec: np.ndarray
    """(N,) half-light radius of the single fit along its major axis."""
    position_angle_rad: np.ndarray
    """(N,) of the single fit's major axis, counter-clockwise from +x."""

    def sum_noise(self, row: int) -> float:
        """Root of the noise power at frequency zero: a sum over n catalogue pixels has ``sum_noise * sqrt(n)``."""
        return float(np.sqrt(self.noise_variance[row] * self.correlation[self.noise_file[row]].sum()))

    def save(self, path: Path) -> None:
        """Write all of it to an npz file, for `load` in another process."""
        others = ("file", "correlation")
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}
        columns[_TABLE] = str(self.file)
        columns |= {f"{_CORRELATION}{name}": image for name, image in self.correlation.items()}
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **columns)

    @classmethod
    def load(cls, path: Path) -> "RealCatalog":
        """What `save` wrote."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in stored.files}
        noise = [name for name in columns if name.startswith(_CORRELATION)]
        correlation = {name.removeprefix(_CORRELATION): columns.pop(name) for name in noise}
        texts = {name: str(columns.pop(name)) for name in (_TABLE, "checksum", "pictures_checksum")}
        return cls(
            file=Path(texts[_TABLE]),
            checksum=texts["checksum"],
            pictures_checksum=texts["pictures_checksum"],
            correlation=correlation,
            **columns,
        )


def read_catalog(folder: Path | None, *, name: str | None) -> RealCatalog:
    """Tables of the catalogue in ``folder``; ``name`` is the main table, None finds it.

    Raises:
        FileNotFoundError: folder, main table or a picture file is missing.
        ValueError: no folder given, several main tables, a table without its columns, or a truncated file.
    """
    path = _main_table(folder, name=name)
    main = _table(path, columns=MAIN_COLUMNS)
    fit_path = path.with_name(f"{path.stem}_fits.fits")
    fit = _fit_columns(fit_path, ident=main["IDENT"])
    tables = path.read_bytes() + (fit_path.read_bytes() if fit_path.is_file() else b"")
    has_noise = "NOISE_FILENAME" in main.names
    files = {key: np.char.strip(main[key]) for key in ("GAL_FILENAME", "PSF_FILENAME")}
    files["NOISE_FILENAME"] = np.char.strip(main["NOISE_FILENAME"]) if has_noise else np.full(len(main), WHITE)
    named = sorted({str(file) for column in files.values() for file in np.unique(column)} - {WHITE})
    sizes = [f"{file} {_size_of(path.parent / file, catalog=path)}" for file in named]
    return RealCatalog(
        file=path,
        checksum=blake2b(tables, digest_size=16).hexdigest(),
        pictures_checksum=blake2b("\n".join(sizes).encode(), digest_size=16).hexdigest(),
        ident=main["IDENT"].astype(np.int64),
        gal_file=files["GAL_FILENAME"],
        psf_file=files["PSF_FILENAME"],
        gal_hdu=main["GAL_HDU"].astype(np.int64),
        psf_hdu=main["PSF_HDU"].astype(np.int64),
        pixel_scale_arcsec=main["PIXEL_SCALE"].astype(np.float64),
        mag_auto=main["MAG"].astype(np.float64),
        background=main["NOISE_MEAN"].astype(np.float64),
        noise_variance=main["NOISE_VARIANCE"].astype(np.float64),
        noise_file=files["NOISE_FILENAME"],
        correlation={str(file): _correlation(path.parent, str(file)) for file in np.unique(files["NOISE_FILENAME"])},
        **fit,
    )


def _size_of(file: Path, *, catalog: Path) -> int:
    """Bytes of a file the catalogue names."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: named by {catalog.name}, missing; {DOWNLOAD}")
    size = file.stat().st_size
    if size == 0 or size % FITS_BLOCK_BYTES:
        raise ValueError(f"{file}: truncated ({size} bytes are no whole number of FITS blocks); {DOWNLOAD}")
    return size


def _correlation(folder: Path, name: str) -> np.ndarray:
    """Pixel correlation function of the noise, normalised to its middle."""
    if name == WHITE:
        return np.ones((1, 1))
    try:
        image = fits.getdata(BytesIO((folder / name).read_bytes())).astype(np.float64)
    except (OSError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder / name}: no readable noise correlation ({error}); {DOWNLOAD}") from None
    return image / image.max()


def _main_table(folder: Path | None, *, name: str | None) -> Path:
    """Path of the main table."""
    if folder is None:
        raise ValueError(f"source.catalog_dir is not set; {DOWNLOAD}")
    if not folder.is_dir():
        raise FileNotFoundError(f"source.catalog_dir = {folder}: no such folder; {DOWNLOAD}")
    if name is not None:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: source.catalog_file does not exist; {DOWNLOAD}")
        return folder / name
    found = sorted(
        path for path in folder.glob("real_galaxy_catalog*.fits") if not path.stem.endswith(("_fits", "_selection"))
    )
    if not found:
        raise FileNotFoundError(f"{folder}: no real_galaxy_catalog*.fits in it; {DOWNLOAD}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder}: several catalogues ({names}); set source.catalog_file to one of them")
    return found[0]


def _table(path: Path, *, columns: tuple[str, ...]) -> fits.FITS_rec:
    """First table of a FITS file, read into memory; ValueError naming what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # truncation is only a warning
            table = fits.getdata(BytesIO(path.read_bytes()), 1)
        missing = [column for column in columns if column not in table.names]
    except (OSError, IndexError, TypeError, ValueError, AttributeError, AstropyUserWarning) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path}: not a readable FITS table ({reason}); {DOWNLOAD}") from None
    if missing:
        raise ValueError(f"{path}: column {missing[0]} is missing; {DOWNLOAD}")
    return table


def _fit_columns(path: Path, *, ident: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the table of fits as (N,) float64; NaN throughout where the catalogue has none."""
    if not path.is_file():
        return {key: np.full(len(ident), np.nan) for key in FITTED}
    table = _table(path, columns=("IDENT", *FIT_COLUMNS))
    if len(table) != len(ident) or (table["IDENT"] != ident).any():
        raise ValueError(f"{path}: its {len(table)} rows are not those of the main table ({len(ident)}); {DOWNLOAD}")
    sersic = table["sersicfit"].astype(np.float64)  # I(R_e), R_e (px), n, q, boxiness, x0, y0, angle (rad)
    return {
        "zphot": table["zphot"].astype(np.float64),
        "hlr_arcsec": _fitted_hlr_arcsec(table),
        "sersic_index": sersic[:, 2],
        "axis_ratio": sersic[:, 3],
        "sersic_re_arcsec": sersic[:, 1] * FIT_PIXEL_ARCSEC,
        "position_angle_rad": sersic[:, 7],
    }


def _fitted_hlr_arcsec(table: fits.FITS_rec) -> np.ndarray:
    """(N,) circularised: ``hlr`` = (single Sersic, bulge n = 4, disc n = 1); ``flux`` in the same order."""
    hlr = table["hlr"].astype(np.float64)
    found = hlr[:, 0].copy()
    for row in np.flatnonzero(table["use_bulgefit"]):
        flux = table["flux"][row].astype(np.float64)
        growth = np.zeros_like(GROWTH_RADII_ARCSEC)
        for part, n in ((1, 4.0), (2, 1.0)):
            scaled = GROWTH_RADII_ARCSEC / max(hlr[row, part], 1e-4)
            growth += flux[part] * gammainc(2 * n, gammaincinv(2 * n, 0.5) * scaled ** (1 / n))
        found[row] = np.interp(0.5 * (flux[1] + flux[2]), growth, GROWTH_RADII_ARCSEC)
    return found
