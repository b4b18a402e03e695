"""`OneStamp`: a stamp with its parts, painted from one recipe."""

from dataclasses import dataclass

import numpy as np

from dhs.config.sky import FilesSky
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.inject.one.choose import Chosen
from dhs.inject.painter import Painter
from dhs.inject.recipe import RecipeBatch
from dhs.inject.stamp_batch import StampBatch


@dataclass(frozen=True)
class OneStamp:
    """Arrays are (bands, N, N) float32, maskbits (N, N) int16."""

    stamps: StampBatch
    """Of length 1, measured."""
    image_nmgy: np.ndarray
    """Galaxy plus arc (plus the arc's noise, where it is on)."""
    arc_nmgy: np.ndarray
    """After the PSF, without noise; zero for a control."""
    background_nmgy: np.ndarray
    invvar: np.ndarray
    maskbits: np.ndarray
    title: str
    ra_deg: float
    dec_deg: float
    centre_px: tuple[float, float]
    """(x, y) of the position, from 0; the stamp's centre where the galaxy's is not known."""
    origin: str
    """What the galaxy is when it is no survey cutout."""

    @property
    def recipe(self) -> RecipeBatch:
        return self.stamps.recipes


def paint(chosen: Chosen) -> OneStamp:
    """The stamp of ``chosen``, its arc apart."""
    painter, recipe = chosen.painter, chosen.recipe
    cutouts, row = painter.cutouts, int(recipe.row[0])
    background = painter.pixels(recipe.row)
    stamps = painter.stamps(recipe, measure=True)
    return OneStamp(
        stamps=stamps,
        image_nmgy=stamps.images[0].numpy(),
        arc_nmgy=_arc(painter, recipe),
        background_nmgy=background.images[0].numpy(),
        invvar=background.invvar[0].numpy(),
        maskbits=np.asarray(cutouts.maskbits[recipe.row])[0],
        title=chosen.title,
        ra_deg=float(cutouts.ra_deg[row]),
        dec_deg=float(cutouts.dec_deg[row]),
        centre_px=_centre_px(chosen),
        origin="" if cutouts.origin is None else str(cutouts.origin[row]),
    )


def _arc(painter: Painter, recipe: RecipeBatch) -> np.ndarray:
    pixels = painter.pixels(recipe.row)
    if not recipe.injected[0]:
        return np.zeros_like(pixels.images[0].numpy())
    return painter.arcs(recipe, invvar=pixels.invvar, good=pixels.good).images_nmgy[0].numpy()


def _centre_px(chosen: Chosen) -> tuple[float, float]:
    """Pixel of the galaxy's position: its centre in the stamp where the sky says so."""
    cutouts, row = chosen.painter.cutouts, chosen.recipe.row[0]
    middle = (cutouts.stamp_size_px - 1) / 2
    offsets = [0.0, 0.0]
    if not isinstance(chosen.config.sky, FilesSky):  # a file's position is its middle, wherever the galaxy's light is
        columns = (cutouts.centre_x_arcsec, cutouts.centre_y_arcsec)
        offsets = [0.0 if column is None else float(np.nan_to_num(column[row])) for column in columns]
    return middle + offsets[0] / PIXEL_SCALE_ARCSEC, middle + offsets[1] / PIXEL_SCALE_ARCSEC
