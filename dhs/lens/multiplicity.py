"""How many images a point of the source plane has: mapped triangles that contain it.

A polar grid around the lens's centre is mapped to the source plane; each of its triangles that contains the source
holds one image (Schneider, Ehlers & Falco 1992, section 10.3). The innermost ring leaves out the singular centre, so
an SIE has two or four images, three at a naked cusp, one outside its cut. The count errs only where two images merge
inside one triangle: within about 1e-3 theta_E of a caustic.
"""

import math

import torch

from dhs.lens.sie import LensParameters, source_plane

N_RADIUS, N_ANGLE = 128, 256

INNER_RADIUS_THETA_E = 2e-4
"""Images nearer to the singular centre are fainter than 1e-3 of the source and are not counted."""

MAX_DEFLECTION_THETA_E = 1.6
"""Deflection of an SIE is at most sqrt(q) / f atanh(f) theta_E, f = sqrt(1 - q^2): 1.05 at q = 0.2, 1 at q = 1."""

CHUNK = 8
"""Lenses mapped at once: 33,000 rays each."""


def image_count(lens: LensParameters, *, source_x_arcsec: torch.Tensor, source_y_arcsec: torch.Tensor) -> torch.Tensor:
    """(B,) int64 images of the points (B,) behind the SIE + shear lenses ``lens`` ((B,) each)."""
    counts = []
    for start in range(0, len(source_x_arcsec), CHUNK):
        chunk = slice(start, start + CHUNK)
        part = LensParameters(*(value[chunk].double() for value in lens))
        counts.append(_count(part, source_x_arcsec[chunk].double(), source_y_arcsec[chunk].double()))
    return torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64)


def _count(lens: LensParameters, source_x: torch.Tensor, source_y: torch.Tensor) -> torch.Tensor:
    column = LensParameters(*(value[:, None, None] for value in lens))
    radius = _radii(lens, source_x, source_y)[:, :, None]
    angle = torch.arange(N_ANGLE, dtype=torch.float64) * (2 * math.pi / N_ANGLE)
    x = column.x_arcsec + radius * torch.cos(angle)
    y = column.y_arcsec + radius * torch.sin(angle)
    beta_x, beta_y = source_plane(x, y, lens=column)
    dx, dy = beta_x - source_x[:, None, None], beta_y - source_y[:, None, None]
    inner, outer = (dx[:, :-1], dy[:, :-1]), (dx[:, 1:], dy[:, 1:])
    inner_next, outer_next = _turned(inner), _turned(outer)
    first = _contains_origin(inner, outer, outer_next)
    second = _contains_origin(inner, outer_next, inner_next)
    return (first.sum(dim=(1, 2)) + second.sum(dim=(1, 2))).to(torch.int64)


def _radii(lens: LensParameters, source_x: torch.Tensor, source_y: torch.Tensor) -> torch.Tensor:
    """(B, N_RADIUS) from the inner ring to beyond the farthest image.

    With the lens's centre at c, |theta - c| (1 - |gamma|) <= |beta - (c - Gamma c)| + max |alpha|.
    """
    shear = torch.hypot(lens.gamma1, lens.gamma2)
    centre_x = lens.x_arcsec - (lens.gamma1 * lens.x_arcsec + lens.gamma2 * lens.y_arcsec)
    centre_y = lens.y_arcsec - (lens.gamma2 * lens.x_arcsec - lens.gamma1 * lens.y_arcsec)
    offset = torch.hypot(source_x - centre_x, source_y - centre_y)
    farthest = (offset + MAX_DEFLECTION_THETA_E * lens.theta_e_arcsec) / (1 - shear)
    nearest = INNER_RADIUS_THETA_E * lens.theta_e_arcsec
    # Uniform but for the inside: images bunch at theta_E, the demagnified one anywhere further in.
    share = torch.linspace(0.0, 1.0, N_RADIUS, dtype=torch.float64)
    return nearest[:, None] + (farthest - nearest)[:, None] * share**1.5


def _turned(points: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The neighbours at the next angle."""
    return torch.roll(points[0], -1, dims=2), torch.roll(points[1], -1, dims=2)


Points = tuple[torch.Tensor, torch.Tensor]


def _contains_origin(a: Points, b: Points, c: Points) -> torch.Tensor:
    """Whether the origin lies inside triangles abc, of either orientation; an edge belongs to one side only."""
    left = [p[0] * q[1] - p[1] * q[0] > 0 for p, q in ((a, b), (b, c), (c, a))]
    return (left[0] == left[1]) & (left[1] == left[2])
