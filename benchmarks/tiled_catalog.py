"""The example catalogue repeated into a larger one of many files, as the COSMOS samples are: for tests and timing.

Repeat k holds every picture, with its PSF, turned by k quarter turns; each galaxy has an ident of its own. The
25.2 sample's layout is there (rows in any file, an HDU each); its faint galaxies are not.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits

PREFIX = "real_galaxy_catalog_tiled"


def tile_catalog(example: Path, folder: Path, *, n_repeats: int, galaxies_per_file: int) -> None:
    """Write the catalogue ``real_galaxy_catalog_tiled.fits`` with its pictures, PSFs, noise and fits to ``folder``.

    Rows keep the example's order, repeat after repeat; the galaxies of one file are spread over the rows.
    """
    (main_path,) = example.glob("real_galaxy_catalog_*_example.fits")
    main = fits.getdata(main_path, 1)
    fitted = fits.getdata(main_path.with_name(f"{main_path.stem}_fits.fits"), 1)
    pictures = {key: _images(example, np.unique(main[f"{key}_FILENAME"])) for key in ("GAL", "PSF")}
    source = np.tile(np.arange(len(main)), n_repeats)
    turns = np.repeat(np.arange(n_repeats), len(main))
    columns = {name: main[name][source] for name in main.names}
    columns["IDENT"] = 1_000_000 + np.arange(len(source), dtype=np.int32)
    for key in ("GAL", "PSF"):
        columns[f"{key}_FILENAME"], columns[f"{key}_HDU"] = _write_pictures(
            folder, key, pictures[key], rows=main[f"{key}_HDU"][source], turns=turns, per_file=galaxies_per_file
        )
    _write_table(folder / f"{PREFIX}.fits", columns)
    columns = {name: fitted[name][source] for name in fitted.names}
    columns["IDENT"] = 1_000_000 + np.arange(len(source), dtype=np.int32)
    columns["sersicfit"] = columns["sersicfit"].copy()
    columns["sersicfit"][:, 7] += turns * np.pi / 2
    _write_table(folder / f"{PREFIX}_fits.fits", columns)
    for name in np.unique(main["NOISE_FILENAME"]):
        (folder / str(name).strip()).write_bytes((example / str(name).strip()).read_bytes())


def _images(folder: Path, names: np.ndarray) -> list[np.ndarray]:
    (name,) = names
    with fits.open(folder / str(name).strip()) as file:
        return [np.array(hdu.data) for hdu in file]


def _write_pictures(
    folder: Path, key: str, pictures: list[np.ndarray], *, rows: np.ndarray, turns: np.ndarray, per_file: int
) -> tuple[np.ndarray, np.ndarray]:
    """Names of the files and numbers of the HDUs of all galaxies."""
    n_files = -(-len(rows) // per_file)
    names = np.array([f"real_galaxy_{key}_images_n{i % n_files}.fits" for i in range(len(rows))])
    for name in np.unique(names):
        images = [np.rot90(pictures[rows[i]], turns[i]).astype(np.float32) for i in np.flatnonzero(names == name)]
        hdus = [fits.PrimaryHDU(images[0]), *(fits.ImageHDU(image) for image in images[1:])]
        fits.HDUList(hdus).writeto(folder / name)
    return names, (np.arange(len(rows)) // n_files).astype(np.int32)


def _write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    table = np.rec.fromarrays(
        [np.ascontiguousarray(column.astype(column.dtype.newbyteorder("="))) for column in columns.values()],
        dtype=[(name, column.dtype.newbyteorder("="), column.shape[1:]) for name, column in columns.items()],
    )
    fits.BinTableHDU(table).writeto(path)
