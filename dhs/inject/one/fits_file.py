"""The FITS file of `task=one`, and the recipe read back from its header.

    primary      what the stamp is; HIERARCH RECIPE ... every recipe column, HIERARCH MEASURED ... what came of it
    IMAGE        (3, N, N) galaxy plus arc      ARC   the arc alone      BACKGROUND   the galaxy before
    INVVAR       1/nMgy^2                       MASKBITS   (N, N) DR10 bits
    CONFIG       table of key and value: the configuration that painted it

Images are float32 nanomaggies per pixel, bands g, r, z, with a tangential WCS where the position is known (north up,
east left, as in the survey's coadds). `sky=files` reads the file as a cutout: the injected galaxy.

A number of the header is written with all the digits that its bits need, so `read_recipe` gives the recipe exactly;
NaN, which FITS headers cannot say, is a card without value.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from pydantic import BaseModel

from dhs import __version__
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.display import write_atomically
from dhs.inject.acceptance import CUTS
from dhs.inject.one.stamp import OneStamp
from dhs.inject.painter import Painter
from dhs.inject.recipe import RecipeBatch

UNITS = {"arcsec": "arcsec", "rad": "rad", "mag": "AB mag", "km_s": "km/s"}
"""Suffix of a column's name -> unit, for the card's comment."""

MEANING = {
    "target_id": "galaxy",
    "injected": "T: with an arc; F: control",
    "phi_rad": "of the mass, from +x",
    "source_index": "template of the source",
    "source_x_arcsec": "source plane",
    "source_y_arcsec": "source plane",
    "source_r_mag": "unlensed",
    "natural_weight": "nature / prior",
    "magnification": "total",
    "arc_snr_r": "brightest pixel",
    "arc_snr_sum_r": "over the footprint",
    "image_count": "of the source's centre",
    "reject_reason": "cut that the arc fails",
}
"""What the less obvious columns are."""

PIXEL_KEYS = ("seed", "max_galaxies", "sky", "source", "lens", "psf", "colour", "inject", "renderer")
"""Sections of the configuration that decide a stamp."""

FLOAT32_COLUMNS = tuple(f"psf_fwhm_{band}_arcsec" for band in BANDS)
"""Recipe columns that the sky gives as float32."""

DRAWN_COLUMNS = ("n_tries", *(f"n_rejected_{cut}" for cut in CUTS[1:]))
"""Of the drawing: a recipe does not know how many draws came before it."""

CARD_LENGTH = 80


def write_one(path: Path, stamp: OneStamp, *, config: BaseModel) -> None:
    """Write ``stamp`` and the ``config`` that painted it, atomically; the same input gives the same bytes."""
    images = {"IMAGE": stamp.image_nmgy, "ARC": stamp.arc_nmgy, "BACKGROUND": stamp.background_nmgy}
    position = _position(stamp)
    hdus = fits.HDUList([fits.PrimaryHDU(header=_primary(stamp))])
    for name, pixels in (images | {"INVVAR": stamp.invvar}).items():
        hdu = fits.ImageHDU(np.ascontiguousarray(pixels, np.float32), name=name)
        hdu.header["BUNIT"] = "nanomaggy" if name != "INVVAR" else "1/nanomaggy^2"
        hdu.header["BANDS"] = "".join(BANDS)
        hdu.header.update(position)
        hdus.append(hdu)
    mask = fits.ImageHDU(np.ascontiguousarray(stamp.maskbits, np.int16), name="MASKBITS")
    mask.header.update(position)
    hdus.append(mask)
    hdus.append(_config_table(config))
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    write_atomically(path, buffer.getvalue())


def read_recipe(path: Path) -> RecipeBatch:
    """The recipe in the header of ``path``, bit for bit, of length 1; ``row`` is -1 (`CutoutSet.rows_of` finds it).

    Raises:
        ValueError: the file has no recipe in its primary header.
    """
    with fits.open(path) as hdus:
        header = hdus[0].header
        found = {card.keyword[len("RECIPE ") :].lower(): card.value for card in _cards(header, "RECIPE ")}
    if not found:
        raise ValueError(
            f"{path}: no HIERARCH RECIPE cards in the primary header; allowed: files of inject.py task=one"
        )
    columns = {name: np.array([_number(name, value)]) for name, value in found.items()}
    return RecipeBatch.from_columns(columns | {"row": np.array([-1])})


def require_header_gives(path: Path, stamp: OneStamp, *, painter: Painter) -> None:
    """Read ``path`` back, paint its recipe and compare.

    Raises:
        ValueError: the file's IMAGE is not what its header paints, bit for bit: it did not reach the disk whole.
    """
    recipe = replace(read_recipe(path), row=stamp.recipe.row)
    painted = painter.stamps(recipe).images[0].numpy()
    with fits.open(path) as hdus:
        stored = hdus["IMAGE"].data.astype(np.float32)
    if painted.tobytes() != stored.tobytes():
        raise ValueError(f"{path}: the recipe in the header does not paint IMAGE bit for bit; write it again")


def _primary(stamp: OneStamp) -> fits.Header:
    recipe, header = stamp.recipe, fits.Header()
    header["ORIGIN"] = (f"Dark Halo Scope {__version__}", "inject.py task=one")
    header["OBJECT"] = (str(recipe.target_id[0]), "galaxy")
    header["TITLE"] = stamp.title
    if stamp.origin:
        header["GALAXY"] = (stamp.origin, "no survey cutout")
    header.extend(_position(stamp))
    recipe_columns = {name: values[0] for name, values in recipe.columns().items() if name != "row"}
    for card in _numbers("RECIPE", recipe_columns):
        header.append(card, end=True)
    known = {*recipe.columns(), *DRAWN_COLUMNS}
    measured = {name: values[0] for name, values in stamp.stamps.columns().items() if name not in known}
    for card in _numbers("MEASURED", measured):
        header.append(card, end=True)
    return header


def _numbers(group: str, values: Mapping[str, Any]) -> Iterator[fits.Card]:
    """A HIERARCH card for each value, numbers with all their digits."""
    for name, value in values.items():
        unit = next((unit for suffix, unit in UNITS.items() if name.endswith(f"_{suffix}")), "")
        comment = " ".join(part for part in (f"[{unit}]" if unit else "", MEANING.get(name, "")) if part)
        text = f"HIERARCH {group} {name.upper()} = {_literal(value)}"
        if comment and len(text) + len(comment) + 3 <= CARD_LENGTH:
            text += f" / {comment}"
        card = fits.Card.fromstring(text)
        card.verify("exception")
        yield card


def _literal(value: Any) -> str:
    """``value`` as FITS writes it: free format, of any length."""
    if isinstance(value, bool | np.bool_):
        return "T" if value else "F"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, str):
        return f"'{value}'"
    return repr(float(value)).upper() if np.isfinite(value) else ""


def _number(name: str, value: Any) -> Any:
    """A header's value with the type of its column."""
    if isinstance(value, bool | int):
        return value
    number = float(value) if isinstance(value, float) else np.nan
    return np.float32(number) if name in FLOAT32_COLUMNS else number


def _cards(header: fits.Header, prefix: str) -> list[fits.Card]:
    return [card for card in header.cards if card.keyword.startswith(prefix)]


def _position(stamp: OneStamp) -> fits.Header:
    """RA, DEC and a tangential WCS; empty where the position is unknown."""
    header = fits.Header()
    if not (np.isfinite(stamp.ra_deg) and np.isfinite(stamp.dec_deg)):
        return header
    step = PIXEL_SCALE_ARCSEC / 3600.0
    header["RA"], header["DEC"] = (stamp.ra_deg, "[deg]"), (stamp.dec_deg, "[deg]")
    header["WCSAXES"] = 2
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["CRVAL1"], header["CRVAL2"] = stamp.ra_deg, stamp.dec_deg
    header["CRPIX1"], header["CRPIX2"] = (centre + 1.0 for centre in stamp.centre_px)
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -step, 0.0, 0.0, step
    header["RADESYS"] = "ICRS"
    return header


def _config_table(config: BaseModel) -> fits.BinTableHDU:
    rows = list(_flat({key: value for key, value in config.model_dump(mode="json").items() if key in PIXEL_KEYS}))
    keys, values = np.array([key for key, _ in rows]), np.array([value for _, value in rows])
    columns = [
        fits.Column(name=name, format=f"{column.dtype.itemsize // 4}A", array=column)
        for name, column in (("key", keys), ("value", values))
    ]
    return fits.BinTableHDU.from_columns(columns, name="CONFIG")


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, JSON value) of every leaf; not ASCII is escaped."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)
