"""Smooth Sersic galaxies: the seeds' control, and the disc under the knots of `dhs.source.clumpy`.

``I(m) = exp(-b_n (m / R_e)^(1/n))`` with m the circularised elliptical radius, ``m^2 = q x'^2 + y'^2 / q``, so R_e is
the circularised half-light radius (GalSim's ``Sersic(n, half_light_radius=R_e).shear(q=q, beta=phi)``); b_n from
``P(2n, b_n) = 1/2`` (Graham & Driver 2005, PASA 22, 118, eq. 1-4).

A template is integrated over its pixels, not sampled: Gauss-Legendre nodes where the profile is steep, graded nodes
in the four pixels that meet at the cusp. Only half a stamp is computed; the rest is its mirror image.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import gammaincinv

from dhs.config.base import Range
from dhs.config.source import SersicSource
from dhs.source.base import Templates, choose_uniformly
from dhs.source.parametric import (
    CHUNK,
    TAPER_START_FRACTION,
    box_radius_arcsec,
    checked_indices,
    half_grid,
    keyed_uniforms,
    taper_,
)

CORE_PX = 24
"""Side of the square with 2 x 2 nodes a pixel: the 3.2-pixel minor axis of a thin disc needs them."""
INNER_PX = 8
"""Side of the square with 4 x 4 nodes a pixel."""
CUSP_NODES = 12
"""Nodes an axis in the four pixels at the cusp, graded as u^4 towards it."""
SUPPORT_FLUX_FRACTION = 0.999
"""A small source is cut where this fraction of its light is enclosed: at most 0.1% is lost."""
ENCLOSED_STEPS = 96


class SersicParameters(NamedTuple):
    """B galaxies, each field (B,) float64."""

    sersic_index: np.ndarray
    half_light_radius_arcsec: np.ndarray
    """Circularised, of the profile before it is truncated by the box."""
    axis_ratio: np.ndarray
    position_angle_rad: np.ndarray
    """Counter-clockwise from +x."""
    b: np.ndarray
    """b_n of the Sersic law."""
    end_arcsec: np.ndarray
    """Radius at which the taper reaches zero."""


def uniform_in(interval: Range, uniforms: np.ndarray) -> np.ndarray:
    """Uniforms of [0, 1) stretched to the interval."""
    return interval.low + (interval.high - interval.low) * uniforms


def sersic_parameters(
    uniforms_b4: np.ndarray, *, index: Range, half_light_radius: Range, axis_ratio: Range, box_radius_arcsec: float
) -> SersicParameters:
    """Galaxies of (B, 4) uniforms: Sersic index, R_e and q uniform in their ranges, position angle in [0, pi)."""
    n = uniform_in(index, uniforms_b4[:, 0])
    r_e = uniform_in(half_light_radius, uniforms_b4[:, 1])
    q = uniform_in(axis_ratio, uniforms_b4[:, 2])
    b = gammaincinv(2 * n, 0.5)
    enclosing = r_e / np.sqrt(q) * (gammaincinv(2 * n, SUPPORT_FLUX_FRACTION) / b) ** n
    end = np.minimum(enclosing / TAPER_START_FRACTION, box_radius_arcsec)
    return SersicParameters(n, r_e, q, np.pi * uniforms_b4[:, 3], b, end)


class SersicRaster:
    """Draws pixel-integrated, tapered Sersic profiles on a fixed grid; holds the nodes' quadratic basis."""

    def __init__(self, stamp_size_px: int, *, pixel_scale_arcsec: float) -> None:
        self.size = stamp_size_px
        self.grid = half_grid(stamp_size_px, pixel_scale_arcsec=pixel_scale_arcsec)
        levels = [_nodes(stamp_size_px, 1), _nodes(CORE_PX, 2), _nodes(INNER_PX, 4), _cusp_nodes()]
        xy = np.concatenate([level[0].reshape(-1, 2) for level in levels]) * pixel_scale_arcsec
        basis = np.stack([xy[:, 0] ** 2, 2 * xy[:, 0] * xy[:, 1], xy[:, 1] ** 2])
        self._basis_3n = torch.from_numpy(basis).float()
        self._sides = (stamp_size_px, CORE_PX, INNER_PX, 2)
        self._weights = [torch.from_numpy(level[1]).float() for level in levels]
        self._counts = [level[0].shape[0] * level[0].shape[1] for level in levels]

    def draw(self, parameters: SersicParameters) -> torch.Tensor:
        """(B, H, S) float32 rows y < 0 of unit-flux templates: each sums to one half."""
        values = self._profile(parameters)
        parts = values.split(self._counts, dim=1)
        half = parts[0].reshape(-1, self.size // 2, self.size)
        for part, side, weights in zip(parts[1:], self._sides[1:], self._weights[1:], strict=True):
            pixels = (part.unflatten(1, weights.shape) * weights).sum(dim=-1)
            first = (self.size - side) // 2
            half[:, first:, first : first + side] = pixels.unflatten(1, (side // 2, side))
        taper_(half, radius_arcsec=self.grid.radius_arcsec, end_arcsec=torch.from_numpy(parameters.end_arcsec).float())
        return half.div_(2.0 * half.sum(dim=(1, 2), keepdim=True))

    def _profile(self, p: SersicParameters) -> torch.Tensor:
        """(B, nodes) surface brightness in units of the central one."""
        cos, sin = np.cos(p.position_angle_rad), np.sin(p.position_angle_rad)
        q, inverse = p.axis_ratio, 1 / p.axis_ratio
        form = np.stack([q * cos**2 + inverse * sin**2, (q - inverse) * cos * sin, q * sin**2 + inverse * cos**2], 1)
        form /= p.half_light_radius_arcsec[:, None] ** 2
        xx, xy, yy = torch.from_numpy(form).float()[:, :, None].unbind(1)
        # No matrix product: its rounding would depend on how many templates are drawn together.
        values = (xx * self._basis_3n[0]).addcmul_(xy, self._basis_3n[1]).addcmul_(yy, self._basis_3n[2])
        values.log_().mul_(torch.from_numpy(0.5 / p.sersic_index).float()[:, None]).exp_()
        return values.mul_(torch.from_numpy(-p.b).float()[:, None]).exp_()


def mirror(half: torch.Tensor) -> torch.Tensor:
    """(B, S, S) point-symmetric images from their rows y < 0."""
    return torch.cat([half, half.flip(1, 2)], dim=1)


def _nodes(side: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes (P, order^2, 2) in pixels from the centre and weights (P, order^2), rows y < 0."""
    u, w = np.polynomial.legendre.leggauss(order)
    axis = np.arange(side) - (side - 1) / 2
    y, x = np.meshgrid(axis[: side // 2], axis, indexing="ij")
    dy, dx = np.meshgrid(0.5 * u, 0.5 * u, indexing="ij")
    nodes = np.stack([x.reshape(-1, 1) + dx.ravel(), y.reshape(-1, 1) + dy.ravel()], axis=-1)
    weights = np.outer(w, w).ravel() / 4
    return nodes, np.tile(weights, (len(nodes), 1))


def _cusp_nodes() -> tuple[np.ndarray, np.ndarray]:
    """The same for the two pixels below the cusp, which is at their common corner: |x| = u^4, dx = 4 u^3 du."""
    u, w = np.polynomial.legendre.leggauss(CUSP_NODES)
    u, w = 0.5 * (u + 1), 0.5 * w
    y, x = np.meshgrid(-(u**4), u**4, indexing="ij")
    weights = np.outer(4 * u**3 * w, 4 * u**3 * w).ravel()
    right = np.stack([x.ravel(), y.ravel()], axis=-1)
    return np.stack([right * [-1, 1], right]), np.stack([weights, weights])


def enclosed_flux(p: SersicParameters) -> tuple[np.ndarray, np.ndarray]:
    """Circularised radii (B, T) arcsec and the fraction of the truncated light within those ellipses (B, T).

    The box cuts a circle out of elliptical isophotes: the part of the ellipse m inside it is
    ``1 - 2/pi arccos(c)``, ``c^2 = (R^2/m^2 - q) / (1/q - q)``; R is taken at the middle of the taper.
    """
    radius = p.end_arcsec * 0.5 * (1 + TAPER_START_FRACTION)
    steps = (np.arange(ENCLOSED_STEPS) + 0.5) / ENCLOSED_STEPS
    m = (radius / np.sqrt(p.axis_ratio))[:, None] * steps**2
    squash = np.maximum(1 / p.axis_ratio - p.axis_ratio, 1e-9)[:, None]
    c2 = ((radius[:, None] / m) ** 2 - p.axis_ratio[:, None]) / squash
    inside = 1 - 2 / np.pi * np.arccos(np.sqrt(np.clip(c2, 0, 1)))
    brightness = np.exp(-p.b[:, None] * (m / p.half_light_radius_arcsec[:, None]) ** (1 / p.sersic_index[:, None]))
    ring = brightness * inside * m * np.sqrt(m)
    within = np.cumsum(ring, axis=1) - 0.5 * ring
    return m, within / ring.sum(axis=1, keepdims=True)


def crossing(radii: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """(B,) radius at which each row of rising ``fractions`` (B, T) reaches one half, linearly interpolated."""
    last = np.clip((fractions < 0.5).sum(axis=1), 1, radii.shape[1] - 1)
    rows = np.arange(len(radii))
    low, high = fractions[rows, last - 1], fractions[rows, last]
    r_low, r_high = radii[rows, last - 1], radii[rows, last]
    return r_low + (r_high - r_low) * np.clip((0.5 - low) / np.maximum(high - low, 1e-12), 0, 1)


class SersicSourceBank:
    """`dhs.source.base.Source` of smooth galaxies, drawn on demand."""

    name = "sersic"
    n_channels = 1

    def __init__(self, config: SersicSource) -> None:
        self.config = config
        self.n_sources = config.n_sources
        self.stamp_size_px = config.stamp_size_px
        self.pixel_scale_arcsec = config.pixel_scale_arcsec
        self._raster = SersicRaster(config.stamp_size_px, pixel_scale_arcsec=config.pixel_scale_arcsec)

    def parameters(self, indices: np.ndarray) -> SersicParameters:
        """Parameters of (B,) indices; IndexError outside [0, n_sources)."""
        checked = checked_indices(indices, n_sources=self.n_sources, name=self.name)
        return sersic_parameters(
            keyed_uniforms(self.config.seed, indices=checked, count=4),
            index=self.config.sersic_index,
            half_light_radius=self.config.half_light_radius_arcsec,
            axis_ratio=self.config.axis_ratio,
            box_radius_arcsec=box_radius_arcsec(self.stamp_size_px, pixel_scale_arcsec=self.pixel_scale_arcsec),
        )

    def choose(self, u: np.ndarray) -> np.ndarray:
        """See `dhs.source.base.Source.choose`."""
        return choose_uniformly(u, n_sources=self.n_sources)

    def templates(self, indices: np.ndarray) -> Templates:
        """See `dhs.source.base.Source.templates`."""
        p = self.parameters(indices)
        images = torch.empty(len(p.b), self.stamp_size_px, self.stamp_size_px)
        for start in range(0, len(p.b), CHUNK):
            chunk = SersicParameters(*(values[start : start + CHUNK] for values in p))
            images[start : start + CHUNK] = mirror(self._raster.draw(chunk))
        return Templates(images[:, None], torch.arange(len(images)), torch.from_numpy(p.end_arcsec).float())

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        """(B,) float32, circularised, of the template as drawn: the box truncates the widest profiles."""
        return crossing(*enclosed_flux(self.parameters(indices))).astype(np.float32)
