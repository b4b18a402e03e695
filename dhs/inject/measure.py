"""What is measured of finished arcs beside S/N and magnification: costlier, so only where it is asked for.

`lensed_hlr_arcsec` and `source_hlr_arcsec` are different things with different names: taking the one for the other made
the seeds' "source sizes" several times too large.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import lens_parameters
from dhs.lens.multiplicity import image_count
from dhs.lens.photometry import mag_ab
from dhs.source.base import Source


class ArcMeasures(NamedTuple):
    """Measured of B arcs; NaN (-1 for counts) for controls."""

    arc_mag: np.ndarray
    """(B, bands) float32 AB magnitude of the whole arc as observed: lensed, after the PSF, inside the stamp; bad
    pixels too, no noise. NaN where nothing of it falls into the stamp."""
    lensed_hlr_arcsec: np.ndarray
    """(B,) float32, `half_light_radius_arcsec` of the r-band arc after the PSF."""
    source_hlr_arcsec: np.ndarray
    """(B,) float32 circularised half-light radius of the unlensed source, before any PSF."""
    image_count: np.ndarray
    """(B,) int16 images of the source's centre: 2 or 4, 1 outside the cut, 3 at a naked cusp."""


def measure_arcs(arcs_nmgy: torch.Tensor, *, recipes: RecipeBatch, source: Source) -> ArcMeasures:
    """Measures of noise-free ``arcs_nmgy`` (B, bands, N, N) painted by ``recipes`` from ``source``."""
    total = arcs_nmgy.double().sum(dim=(-2, -1)).numpy()
    counts = image_count(
        lens_parameters(recipes),
        source_x_arcsec=torch.from_numpy(recipes.source_x_arcsec),
        source_y_arcsec=torch.from_numpy(recipes.source_y_arcsec),
    )
    return ArcMeasures(
        arc_mag=mag_ab(total).astype(np.float32),
        lensed_hlr_arcsec=half_light_radius_arcsec(
            arcs_nmgy[:, BANDS.index("r")], pixel_scale_arcsec=PIXEL_SCALE_ARCSEC
        ),
        source_hlr_arcsec=source.half_light_radius_arcsec(recipes.source_index).astype(np.float32),
        image_count=counts.numpy().astype(np.int16),
    )


def half_light_radius_arcsec(images: torch.Tensor, *, pixel_scale_arcsec: float) -> np.ndarray:
    """(B,) float32 ``sqrt(A / pi)``, A the smallest area that holds half of the light of (B, N, N) images.

    The brightest pixels are taken first, the last one in part. Circularised, and independent of a centre, so it means
    the same for a disc, an arc and a ring; lensing keeps surface brightness, so without a PSF it is sqrt(magnification)
    times the source's. A radius about the lens would be theta_E for every ring. NaN for an image without light.
    """
    ordered = torch.sort(images.double().flatten(1), dim=1, descending=True).values
    cumulative = torch.cumsum(ordered, dim=1)
    half = 0.5 * cumulative[:, -1:]
    whole = (cumulative < half).sum(dim=1)
    before = torch.where(whole > 0, cumulative.gather(1, (whole - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    last = ordered.gather(1, whole.clamp(max=ordered.shape[1] - 1)[:, None])[:, 0]
    n_pixels = whole + (half[:, 0] - before) / last
    radius = torch.sqrt(n_pixels / math.pi) * pixel_scale_arcsec
    return torch.where(half[:, 0] > 0, radius, torch.nan).numpy().astype(np.float32)


def spread(measures: ArcMeasures, *, where: np.ndarray, length: int) -> ArcMeasures:
    """``measures`` of P arcs at the places ``where`` of ``length`` stamps, NaN or -1 elsewhere."""
    out = []
    for values in measures:
        empty: float = -1 if values.dtype.kind == "i" else np.nan
        column = np.full((length, *values.shape[1:]), empty, dtype=values.dtype)
        column[where] = values
        out.append(column)
    return ArcMeasures(*out)
