"""Sources and recipes whose images are known: Gaussians, a pair of blobs, lenses of given shape.

A probe goes through the configured renderer like any source; only its template and its recipe are ours.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC, SOURCE_PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch, controls
from dhs.sky.cutouts import CutoutSet
from dhs.source.base import Templates, choose_uniformly

TEMPLATE_PX = 96

NO_LENS_ARCSEC = 1e-6
"""theta_E of "no lens": a deflection far below every tolerance here."""

BLOB_OFFSET_ARCSEC = (0.60, 0.20)
"""From the bright blob of `blobs` to its faint companion: no symmetry of the square maps it onto itself."""

BLOB_SHARE = 0.3
"""Of the light, in the companion."""


class ProbeSource:
    """Drawn templates as a `dhs.source.base.Source`; every index is equally likely."""

    name = "probe"
    n_channels = 1
    stamp_size_px = TEMPLATE_PX
    pixel_scale_arcsec = SOURCE_PIXEL_SCALE_ARCSEC

    def __init__(self, images: np.ndarray) -> None:
        self._images = torch.from_numpy((images / images.sum(axis=(1, 2), keepdims=True)).astype(np.float32))[:, None]
        self.n_sources = len(images)

    def choose(self, u: np.ndarray) -> np.ndarray:
        return choose_uniformly(u, n_sources=self.n_sources)

    def templates(self, indices: np.ndarray) -> Templates:
        rows = torch.from_numpy(np.asarray(indices, dtype=np.int64))
        reach = 0.5 * 2**0.5 * TEMPLATE_PX * self.pixel_scale_arcsec
        return Templates(self._images, rows, torch.full((len(rows),), reach))

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        return np.full(len(indices), np.nan, dtype=np.float32)


def gaussian(sigma_arcsec: float) -> ProbeSource:
    """A round Gaussian at the template's centre."""
    return ProbeSource(_blob(0.0, 0.0, sigma_arcsec)[None])


def blobs(sigma_arcsec: float) -> ProbeSource:
    """A blob at the centre and a fainter one beside it: its picture tells x from y, up from down, left from right."""
    return ProbeSource(
        ((1 - BLOB_SHARE) * _blob(0, 0, sigma_arcsec) + BLOB_SHARE * _blob(*BLOB_OFFSET_ARCSEC, sigma_arcsec))[None]
    )


def small_sigma_arcsec(supersampling: int) -> float:
    """A Gaussian small beside an arc's features that rays sample to 1%: sigma = their spacing, 0.075 at least.

    Rays every 0.0655 arcsec beat with the template's bilinear interpolation at every 0.03: 0.3% of the flux.
    """
    return max(0.075, PIXEL_SCALE_ARCSEC / supersampling)


def smooth_sigma_arcsec(supersampling: int) -> float:
    """A Gaussian smooth enough for that beat to be below 1e-5 of the flux, still small beside a PSF."""
    return max(0.22, PIXEL_SCALE_ARCSEC / supersampling)


def sampled_variance_arcsec2(sigma_arcsec: float, *, supersampling: int) -> float:
    """Variance, along an axis, of a Gaussian probe in a rendered image apart from the survey pixel's own.

    Bilinear interpolation adds a sixth of a template pixel squared; sub-rays stop short of the pixel's average by a
    twelfth of their spacing squared.
    """
    spacing = PIXEL_SCALE_ARCSEC / supersampling
    return sigma_arcsec**2 + SOURCE_PIXEL_SCALE_ARCSEC**2 / 6 - spacing**2 / 12


def probe_recipes(cutouts: CutoutSet, *, rows: np.ndarray | None = None, **columns: np.ndarray | float) -> RecipeBatch:
    """Recipes of no lens, no shear and a source at the frame's centre, but for ``columns`` (scalars or (B,) arrays)."""
    length = max([np.size(value) for value in columns.values()] + [1 if rows is None else len(rows)])
    rows = np.zeros(length, dtype=np.int64) if rows is None else np.broadcast_to(rows, length)
    base = controls(cutouts, rows, keys=np.zeros((length, 4), dtype=np.int64))
    values: dict[str, np.ndarray | float] = {
        "injected": np.ones(length, dtype=bool),
        "theta_e_arcsec": NO_LENS_ARCSEC,
        "axis_ratio": 1.0,
        "source_index": np.zeros(length, dtype=np.int64),
    }
    values |= dict.fromkeys(("phi_rad", "gamma1", "gamma2", "lens_x_arcsec", "lens_y_arcsec"), 0.0)
    values |= dict.fromkeys(("source_x_arcsec", "source_y_arcsec", "source_rotation_rad"), 0.0)
    is_round = np.zeros((length, len(BANDS)), dtype=np.float32)
    values["psf_e1"] = is_round if cutouts.psf_e1 is None else np.asarray(cutouts.psf_e1[rows])
    values["psf_e2"] = is_round if cutouts.psf_e2 is None else np.asarray(cutouts.psf_e2[rows])
    values |= columns
    full = {
        name: np.array(value if np.ndim(value) == 2 else np.broadcast_to(value, length))
        for name, value in values.items()
    }
    return replace(base, **full)


def moments(image: np.ndarray, *, pixel_scale_arcsec: float) -> dict[str, float]:
    """Flux, centroid and second central moments of (N, N), in arcsec about the frame's centre."""
    axis = (np.arange(len(image)) - (len(image) - 1) / 2) * pixel_scale_arcsec
    light = np.asarray(image, dtype=np.float64)
    total = light.sum()
    mean: Callable[[np.ndarray], float] = lambda weight: float((light * weight).sum() / total)  # noqa: E731
    x, y = mean(axis), mean(axis[:, None])
    dx, dy = axis - x, axis[:, None] - y
    return {"flux": float(total), "x": x, "y": y, "xx": mean(dx * dx), "yy": mean(dy * dy), "xy": mean(dx * dy)}


def _blob(x_arcsec: float, y_arcsec: float, sigma_arcsec: float) -> np.ndarray:
    axis = (np.arange(TEMPLATE_PX) - (TEMPLATE_PX - 1) / 2) * SOURCE_PIXEL_SCALE_ARCSEC
    return np.exp(-((axis - x_arcsec) ** 2 + (axis[:, None] - y_arcsec) ** 2) / (2 * sigma_arcsec**2))
