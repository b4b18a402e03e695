"""A GalSim RealGalaxyCatalog on disk: its tables, checked before any galaxy is drawn.

The COSMOS 25.2 and 23.5 samples (``galsim_download_cosmos -s 25.2``) and the 100-galaxy example have a main table
``real_galaxy_catalog_*.fits``, the pictures it names, and mostly a table of fits ``*_fits.fits`` (Mandelbaum et al.
2012, MNRAS 420, 1518; GalSim's ``COSMOSCatalog`` documents the columns).
"""

import warnings
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from scipy.special import gammainc, gammaincinv

DOWNLOAD = "get the sample with galsim_download_cosmos and set source.build.catalog_dir to its folder"
MAIN_COLUMNS: tuple[str, ...] = ("IDENT", "MAG", "GAL_FILENAME", "PSF_FILENAME", "NOISE_MEAN", "NOISE_VARIANCE")
GROWTH_RADII_ARCSEC = np.geomspace(0.005, 10.0, 600)


@dataclass(frozen=True)
class RealCatalog:
    """N galaxies of a RealGalaxyCatalog; NaN where the table of fits is absent."""

    file: Path
    checksum: str
    """blake2b of the main table."""
    ident: np.ndarray
    """(N,) int64."""
    gal_file: np.ndarray
    """(N,) file of the picture."""
    mag_auto: np.ndarray
    """(N,) F814W AB magnitude."""
    background: np.ndarray
    """(N,) local sky level, flux per catalogue pixel."""
    noise_variance: np.ndarray
    """(N,) of a catalogue pixel."""
    zphot: np.ndarray
    """(N,)."""
    hlr_arcsec: np.ndarray
    """(N,) fitted half-light radius, circularised; of the sum where bulge and disc are the better fit."""
    sersic_index: np.ndarray
    """(N,) of the single fit."""
    axis_ratio: np.ndarray
    """(N,) of the single fit."""


def read_catalog(folder: Path | None, *, name: str | None) -> RealCatalog:
    """Tables of the catalogue in ``folder``; ``name`` is the main table, None finds it.

    Raises:
        FileNotFoundError: folder, main table or a picture file is missing.
        ValueError: no folder given, several main tables, or a table without its columns.
    """
    path = _main_table(folder, name=name)
    main = _table(path, columns=MAIN_COLUMNS)
    for key in ("GAL_FILENAME", "PSF_FILENAME"):
        for file in np.unique(main[key]):
            if not (path.parent / str(file).strip()).is_file():
                raise FileNotFoundError(f"{path.parent / str(file).strip()}: named by {path.name}, missing; {DOWNLOAD}")
    fit = _fit_columns(path.with_name(f"{path.stem}_fits.fits"), n=len(main))
    return RealCatalog(
        file=path,
        checksum=blake2b(path.read_bytes(), digest_size=16).hexdigest(),
        ident=main["IDENT"].astype(np.int64),
        gal_file=np.char.strip(main["GAL_FILENAME"]),
        mag_auto=main["MAG"].astype(np.float64),
        background=main["NOISE_MEAN"].astype(np.float64),
        noise_variance=main["NOISE_VARIANCE"].astype(np.float64),
        zphot=fit["zphot"],
        hlr_arcsec=fit["hlr_arcsec"],
        sersic_index=fit["sersic_index"],
        axis_ratio=fit["axis_ratio"],
    )


def _main_table(folder: Path | None, *, name: str | None) -> Path:
    """Path of the main table."""
    if folder is None:
        raise ValueError(f"source.build.catalog_dir is not set; {DOWNLOAD}")
    if not folder.is_dir():
        raise FileNotFoundError(f"source.build.catalog_dir = {folder}: no such folder; {DOWNLOAD}")
    if name is not None:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: source.build.catalog_file does not exist; {DOWNLOAD}")
        return folder / name
    found = sorted(
        path for path in folder.glob("real_galaxy_catalog*.fits") if not path.stem.endswith(("_fits", "_selection"))
    )
    if not found:
        raise FileNotFoundError(f"{folder}: no real_galaxy_catalog*.fits in it; {DOWNLOAD}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder}: several catalogues ({names}); set source.build.catalog_file to one of them")
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


def _fit_columns(path: Path, *, n: int) -> dict[str, np.ndarray]:
    """Columns of the table of fits as (N,) float64; NaN throughout where the catalogue has none."""
    if not path.is_file():
        return {key: np.full(n, np.nan) for key in ("zphot", "hlr_arcsec", "sersic_index", "axis_ratio")}
    table = _table(path, columns=("zphot", "sersicfit", "hlr", "flux", "use_bulgefit"))
    if len(table) != n:
        raise ValueError(f"{path}: {len(table)} rows, the main table has {n}; {DOWNLOAD}")
    hlr = np.array([_fitted_hlr_arcsec(row) for row in table])
    sersic = table["sersicfit"]
    return {
        "zphot": table["zphot"].astype(np.float64),
        "hlr_arcsec": hlr,
        "sersic_index": sersic[:, 2].astype(np.float64),
        "axis_ratio": sersic[:, 3].astype(np.float64),
    }


def _fitted_hlr_arcsec(row: fits.FITS_record) -> float:
    """Circularised: ``hlr`` = (single Sersic, bulge n = 4, disc n = 1); ``flux`` in the same order."""
    if not row["use_bulgefit"]:
        return float(row["hlr"][0])
    growth = np.zeros_like(GROWTH_RADII_ARCSEC)
    for part, n in ((1, 4.0), (2, 1.0)):
        scaled = GROWTH_RADII_ARCSEC / max(row["hlr"][part], 1e-4)
        growth += row["flux"][part] * gammainc(2 * n, gammaincinv(2 * n, 0.5) * scaled ** (1 / n))
    return float(np.interp(0.5 * (row["flux"][1] + row["flux"][2]), growth, GROWTH_RADII_ARCSEC))
