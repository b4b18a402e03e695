"""Star-forming galaxies: a Sersic disc with Gaussian knots that follow its light; realistic without a bank.

The knots' radii are drawn from the disc's own curve of growth (as GalSim's ``RandomKnots(profile=...)`` does), their
luminosities from dN/dL ~ L^-2 over one decade (the clumps of high-redshift galaxies follow about that law: Livermore
et al. 2012, MNRAS 427, 688), their sizes uniformly. The number of knots is uniform between a third of
``n_knots_max`` and ``n_knots_max``, so that a large knot fraction is never one dominating blob.

Shapes: B templates, K knots, S pixels a side.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr

from dhs.config.source import ClumpySource
from dhs.source.base import Templates, choose_uniformly
from dhs.source.parametric import CHUNK, box_radius_arcsec, checked_indices, keyed_uniforms, taper_
from dhs.source.sersic import (
    SersicParameters,
    SersicRaster,
    crossing,
    enclosed_flux,
    mirror,
    sersic_parameters,
    uniform_in,
)

KNOT_LUMINOSITY_RATIO = 10.0
"""Brightest over faintest possible knot of a galaxy."""
KNOT_ENCLOSED_MAX = 0.8
"""Knots lie within the ellipse that holds this fraction of the disc's light."""
KNOT_REACH_SIGMA = 4.0
"""The support radius leaves room for the knots up to this distance; beyond it a Gaussian holds 3e-4 of its flux."""
DRAWS_PER_KNOT = 4
DRAWS_PER_GALAXY = 6


class Knots(NamedTuple):
    """K knots of B galaxies; unused knots have zero flux."""

    flux: np.ndarray
    """(B, K) fraction of the galaxy's flux."""
    radius_arcsec: np.ndarray
    """(B, K) circularised elliptical radius."""
    x_arcsec: np.ndarray
    """(B, K)."""
    y_arcsec: np.ndarray
    """(B, K)."""
    sigma_arcsec: np.ndarray
    """(B, K)."""


class ClumpySourceBank:
    """`dhs.source.base.Source` of clumpy star-forming galaxies, drawn on demand."""

    name = "clumpy"
    n_channels = 1

    def __init__(self, config: ClumpySource) -> None:
        self.config = config
        self.n_sources = config.n_sources
        self.stamp_size_px = config.stamp_size_px
        self.pixel_scale_arcsec = config.pixel_scale_arcsec
        self._raster = SersicRaster(config.stamp_size_px, pixel_scale_arcsec=config.pixel_scale_arcsec)
        edges = (np.arange(config.stamp_size_px + 1) - config.stamp_size_px / 2) * config.pixel_scale_arcsec
        self._edges_arcsec = torch.from_numpy(edges).float()

    def parameters(self, indices: np.ndarray) -> tuple[SersicParameters, Knots]:
        """Disc and knots of (B,) indices; IndexError outside [0, n_sources)."""
        checked = checked_indices(indices, n_sources=self.n_sources, name=self.name)
        count = DRAWS_PER_GALAXY + DRAWS_PER_KNOT * self.config.n_knots_max
        uniforms = keyed_uniforms(self.config.seed, indices=checked, count=count)
        box = box_radius_arcsec(self.stamp_size_px, pixel_scale_arcsec=self.pixel_scale_arcsec)
        disc = sersic_parameters(
            uniforms[:, :4],
            index=self.config.sersic_index,
            half_light_radius=self.config.half_light_radius_arcsec,
            axis_ratio=self.config.axis_ratio,
            box_radius_arcsec=box,
        )
        knots = self._knots(disc, uniforms=uniforms)
        reach = np.hypot(knots.x_arcsec, knots.y_arcsec) + KNOT_REACH_SIGMA * knots.sigma_arcsec
        end = np.minimum(np.maximum(disc.end_arcsec, np.where(knots.flux > 0, reach, 0).max(axis=1)), box)
        return disc._replace(end_arcsec=end), knots

    def choose(self, u: np.ndarray) -> np.ndarray:
        """See `dhs.source.base.Source.choose`."""
        return choose_uniformly(u, n_sources=self.n_sources)

    def templates(self, indices: np.ndarray) -> Templates:
        """See `dhs.source.base.Source.templates`."""
        disc, knots = self.parameters(indices)
        images = torch.empty(len(disc.b), self.stamp_size_px, self.stamp_size_px)
        for start in range(0, len(disc.b), CHUNK):
            rows = slice(start, start + CHUNK)
            chunk = SersicParameters(*(values[rows] for values in disc))
            images[rows] = self._draw(chunk, Knots(*(values[rows] for values in knots)))
        return Templates(images[:, None], torch.arange(len(images)), torch.from_numpy(disc.end_arcsec).float())

    def half_light_radius_arcsec(self, indices: np.ndarray) -> np.ndarray:
        """(B,) float32, circularised: disc's and knots' curves of growth added: within 10% for nine in ten."""
        disc, knots = self.parameters(indices)
        radii, growth = enclosed_flux(disc)
        growth = growth * (1 - knots.flux.sum(axis=1, keepdims=True))
        distance = np.sqrt(knots.radius_arcsec**2 + knots.sigma_arcsec**2)
        width = np.where(knots.flux > 0, knots.sigma_arcsec, 1.0)
        growth += np.einsum("bk,bkt->bt", knots.flux, ndtr((radii[:, None] - distance[..., None]) / width[..., None]))
        return crossing(radii, growth).astype(np.float32)

    def _knots(self, disc: SersicParameters, *, uniforms: np.ndarray) -> Knots:
        """(B, K) knots of the columns after the disc's four."""
        k_max = self.config.n_knots_max
        k_min = max(1, k_max // 3)
        n_knots = k_min + np.floor(uniforms[:, 4] * (k_max - k_min + 1)).astype(int)
        fraction = uniform_in(self.config.knot_flux_fraction, uniforms[:, 5])
        per_knot = uniforms[:, DRAWS_PER_GALAXY:].reshape(-1, k_max, DRAWS_PER_KNOT)
        luminosity = 1 / (1 - (1 - 1 / KNOT_LUMINOSITY_RATIO) * per_knot[..., 0])
        luminosity *= np.arange(k_max) < n_knots[:, None]
        flux = fraction[:, None] * luminosity / luminosity.sum(axis=1, keepdims=True)
        radius = _radius_enclosing(disc, KNOT_ENCLOSED_MAX * per_knot[..., 1])
        angle = 2 * np.pi * per_knot[..., 2]
        root_q = np.sqrt(disc.axis_ratio)[:, None]
        major, minor = radius * np.cos(angle) / root_q, radius * np.sin(angle) * root_q
        cos, sin = np.cos(disc.position_angle_rad)[:, None], np.sin(disc.position_angle_rad)[:, None]
        sigma = uniform_in(self.config.knot_sigma_arcsec, per_knot[..., 3])
        return Knots(flux, radius, major * cos - minor * sin, major * sin + minor * cos, sigma)

    def _draw(self, disc: SersicParameters, knots: Knots) -> torch.Tensor:
        """(B, S, S) unit-flux images; knots are integrated over the pixels (differences of the error function)."""
        half = self._raster.draw(disc)
        smooth = torch.from_numpy(1 - knots.flux.sum(axis=1)).float()
        images = mirror(half.mul_(smooth[:, None, None]))
        along_x = self._pixel_integrals(knots.x_arcsec, knots.sigma_arcsec)
        along_y = self._pixel_integrals(knots.y_arcsec, knots.sigma_arcsec)
        along_y *= torch.from_numpy(knots.flux).float()[..., None]
        clumps = torch.bmm(along_y.transpose(1, 2), along_x)
        radius = self._raster.grid.radius_arcsec
        full_radius = torch.cat([radius, radius.flip(0)])
        images += taper_(clumps, radius_arcsec=full_radius, end_arcsec=torch.from_numpy(disc.end_arcsec).float())
        return images.div_(images.sum(dim=(1, 2), keepdim=True))

    def _pixel_integrals(self, centre_arcsec: np.ndarray, sigma_arcsec: np.ndarray) -> torch.Tensor:
        """(B, K, S) integrals of unit Gaussians over the pixels of one axis."""
        centre = torch.from_numpy(centre_arcsec).float()[..., None]
        scale = torch.from_numpy(np.sqrt(0.5) / sigma_arcsec).float()[..., None]
        return torch.erf((self._edges_arcsec - centre) * scale).diff(dim=-1).mul_(0.5)


def _radius_enclosing(disc: SersicParameters, fraction: np.ndarray) -> np.ndarray:
    """(B, K) circularised radii within which (B, K) fractions of the truncated disc's light lie."""
    radii, growth = enclosed_flux(disc)
    return np.stack([np.interp(f, g, r) for f, g, r in zip(fraction, growth, radii, strict=True)])
