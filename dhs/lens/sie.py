"""Singular isothermal ellipsoid plus external shear, in lenstronomy's convention.

theta_E is the geometric mean of the critical curve's semi-axes, so ``b = theta_E * sqrt(q)`` multiplies the
deflection of Keeton (2001, astro-ph/0102341, section 3.2) and Kormann, Schneider & Bartelmann (1994, A&A 284, 285).
phi is the major axis of the mass, counter-clockwise from +x. Shear is taken about the frame's centre:
``alpha = (g1 x + g2 y, g2 x - g1 y)``.
"""

from typing import NamedTuple

import numpy as np
import torch

MAX_AXIS_RATIO = 1.0 - 1e-6
"""Rounder lenses are traced at this q: the deflection differs by less than 1e-6 theta_E."""

CORE_ARCSEC = 1e-7
"""Softening of psi: makes the exact centre finite (deflection 0, as lenstronomy) and is invisible elsewhere."""


class LensParameters(NamedTuple):
    """B lenses; every tensor broadcasts against the rays it deflects."""

    theta_e_arcsec: torch.Tensor
    axis_ratio: torch.Tensor
    phi_rad: torch.Tensor
    gamma1: torch.Tensor
    gamma2: torch.Tensor
    x_arcsec: torch.Tensor
    y_arcsec: torch.Tensor

    def gather(self, index: torch.Tensor) -> "LensParameters":
        """Parameters of lens ``index`` (P,), shaped (P, 1) to broadcast over the sub-rays of P pixels."""
        return LensParameters(*(value.reshape(-1)[index][:, None] for value in self))


def source_plane(
    x_arcsec: torch.Tensor, y_arcsec: torch.Tensor, *, lens: LensParameters
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lens equation ``beta = theta - alpha_SIE - alpha_shear``; arcsec, shapes broadcast, dtype kept."""
    cos, sin = torch.cos(lens.phi_rad), torch.sin(lens.phi_rad)
    dx, dy = x_arcsec - lens.x_arcsec, y_arcsec - lens.y_arcsec
    major, minor = cos * dx + sin * dy, cos * dy - sin * dx
    q = lens.axis_ratio.clamp(max=MAX_AXIS_RATIO)
    flattening = torch.sqrt((1 - q) * (1 + q))
    psi = torch.sqrt((q * major) ** 2 + minor**2 + CORE_ARCSEC**2)
    scale = flattening / psi
    strength = lens.theta_e_arcsec * torch.sqrt(q) / flattening
    alpha_major = strength * torch.atan(major * scale)
    # atanh by log1p: torch's own atanh rounds differently in the tail of a vector, so a ray would depend on its batch.
    ratio = minor * scale
    alpha_minor = strength * 0.5 * torch.log1p(2 * ratio / (1 - ratio))
    beta_x = x_arcsec - (cos * alpha_major - sin * alpha_minor) - (lens.gamma1 * x_arcsec + lens.gamma2 * y_arcsec)
    beta_y = y_arcsec - (sin * alpha_major + cos * alpha_minor) - (lens.gamma2 * x_arcsec - lens.gamma1 * y_arcsec)
    return beta_x, beta_y


def radial_caustics(
    theta_e_arcsec: np.ndarray, *, axis_ratio: np.ndarray, phi_rad: np.ndarray, n_vertices: int = 64
) -> np.ndarray:
    """(P, n_vertices, 2) polygons of the SIE's cut for (P,) lenses, about the source-plane image of the centre, arcsec.

    A source inside it has at least two images (Kormann+1994, section 5). External shear does not change it:
    at the lens's centre the shear deflection is a constant.
    """
    q = np.minimum(axis_ratio, MAX_AXIS_RATIO)[:, None]
    flattening = np.sqrt((1 - q) * (1 + q))
    strength = theta_e_arcsec[:, None] * np.sqrt(q) / flattening
    angle = np.arange(n_vertices) * (2 * np.pi / n_vertices)
    psi = np.hypot(q * np.cos(angle), np.sin(angle))
    major = -strength * np.arctan(flattening * np.cos(angle) / psi)
    minor = -strength * np.arctanh(flattening * np.sin(angle) / psi)
    cos, sin = np.cos(phi_rad)[:, None], np.sin(phi_rad)[:, None]
    return np.stack([cos * major - sin * minor, sin * major + cos * minor], axis=-1)
