"""What the sky should show, in float64 numpy: the isothermal ellipsoid in closed form, point sources through a PSF.

Written from the papers and not from `dhs.lens`: Kormann, Schneider & Bartelmann (1994, A&A 284, 285, eq. 26-28) give
the deflection of the SIE as arcsin and arcsinh of the polar angle, where `dhs.lens.sie` has Keeton's arctan and artanh
of the position. A mistake in one is not repeated in the other. Lens at the origin, major axis of the mass along
``phi_rad`` (counter-clockwise from +x), no shear; angles in arcsec and radians.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from dhs.config.injection import MoffatPsf, PsfConfig

SCAN_ANGLES = 1440
"""Directions in which images are looked for."""

HERMITE_ORDER = 5


@dataclass(frozen=True)
class Isothermal:
    """Singular isothermal ellipsoid; ``theta_e_arcsec`` is the geometric mean of its critical curve's semi-axes."""

    theta_e_arcsec: float
    axis_ratio: float = 1.0
    phi_rad: float = 0.0

    def deflection(self, angle_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) deflection in direction ``angle_rad`` from the lens: it does not depend on the distance."""
        q, turned = self.axis_ratio, np.asarray(angle_rad) - self.phi_rad
        flat = np.sqrt((1 - q) * (1 + q))
        if flat < 1e-6:
            major, minor = self.theta_e_arcsec * np.cos(turned), self.theta_e_arcsec * np.sin(turned)
        else:
            scale = self.theta_e_arcsec * np.sqrt(q) / flat
            major = scale * np.arcsin(flat * np.cos(turned))
            minor = scale * np.arcsinh(flat / q * np.sin(turned))
        cos, sin = np.cos(self.phi_rad), np.sin(self.phi_rad)
        return cos * major - sin * minor, sin * major + cos * minor

    def ring_radius(self, angle_rad: np.ndarray) -> np.ndarray:
        """Where a centred round source is brightest along ``angle_rad``: the radial deflection."""
        x, y = self.deflection(angle_rad)
        return x * np.cos(angle_rad) + y * np.sin(angle_rad)

    def critical_radius(self, angle_rad: np.ndarray) -> np.ndarray:
        """Tangential critical curve, convergence 1/2: an ellipse of area ``pi theta_E^2``."""
        turned = np.asarray(angle_rad) - self.phi_rad
        q = self.axis_ratio
        return self.theta_e_arcsec * np.sqrt(q) / np.hypot(q * np.cos(turned), np.sin(turned))

    def images(self, x_arcsec: float, y_arcsec: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x, y, unsigned magnification) of every image of a point source at (x, y).

        theta = beta + alpha(angle of theta) is one equation in the angle; mu = 1 / |1 - 2 kappa|.
        """

        def across(angle: float) -> float:
            ax, ay = self.deflection(np.asarray(angle))
            return float((x_arcsec + ax) * np.sin(angle) - (y_arcsec + ay) * np.cos(angle))

        grid = np.linspace(0, 2 * np.pi, SCAN_ANGLES + 1) + 1e-4
        ax, ay = self.deflection(grid)
        values = (x_arcsec + ax) * np.sin(grid) - (y_arcsec + ay) * np.cos(grid)
        crossings = np.flatnonzero(np.sign(values[:-1]) != np.sign(values[1:]))
        angles = np.array([brentq(across, grid[i], grid[i + 1]) for i in crossings])
        ax, ay = self.deflection(angles)
        radius = (x_arcsec + ax) * np.cos(angles) + (y_arcsec + ay) * np.sin(angles)
        angles, radius = angles[radius > 0], radius[radius > 0]
        twice_kappa = self.critical_radius(angles) / radius
        return radius * np.cos(angles), radius * np.sin(angles), 1 / np.abs(1 - twice_kappa)

    def gaussian_source(self, x_arcsec: float, y_arcsec: float, *, sigma_arcsec: float) -> np.ndarray:
        """(total magnification, x and y of the light's centroid) of a Gaussian source (Gauss-Hermite quadrature)."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE_ORDER)
        total = np.zeros(3)
        for (i, j), weight in np.ndenumerate(np.outer(weights, weights)):
            x, y, mu = self.images(x_arcsec + sigma_arcsec * float(nodes[i]), y_arcsec + sigma_arcsec * float(nodes[j]))
            total += weight / weights.sum() ** 2 * np.array([mu.sum(), (mu * x).sum(), (mu * y).sum()])
        return np.array([total[0], total[1] / total[0], total[2] / total[0]])


def psf_profile(radius_arcsec: np.ndarray, *, fwhm_arcsec: float, psf: PsfConfig) -> np.ndarray:
    """Surface brightness per square arcsec of a unit-flux PSF (Moffat 1969; Gaussian)."""
    if isinstance(psf, MoffatPsf):
        scale = fwhm_arcsec / (2 * np.sqrt(2 ** (1 / psf.beta) - 1))
        return (psf.beta - 1) / (np.pi * scale**2) * (1 + (radius_arcsec / scale) ** 2) ** -psf.beta
    sigma = fwhm_arcsec / np.sqrt(8 * np.log(2))
    return np.exp(-0.5 * (radius_arcsec / sigma) ** 2) / (2 * np.pi * sigma**2)


def kernel_flux(*, fwhm_arcsec: float, psf: PsfConfig, pixel_scale_arcsec: float) -> float:
    """Share of the PSF's light inside the configured kernel, by the trapezium rule on a grid four times finer."""
    n = 4 * psf.kernel_size_px
    axis = (np.arange(n) - (n - 1) / 2) * pixel_scale_arcsec / 4
    radius = np.hypot(axis, axis[:, None])
    return float(psf_profile(radius, fwhm_arcsec=fwhm_arcsec, psf=psf).sum() * (pixel_scale_arcsec / 4) ** 2)


@dataclass(frozen=True)
class PointResponse:
    """Images of a small Gaussian source through a PSF, from a grid ``fine`` times finer than the survey's."""

    psf: PsfConfig
    size_px: int
    pixel_scale_arcsec: float
    x_arcsec: float
    y_arcsec: float
    sigma_arcsec: float
    """Of the source, with what sampling adds to it."""
    fine: int = 3
    """Odd: the centre of a pixel is then the centre of a fine one."""

    def image(self, fwhm_arcsec: float, *, pixels_counted: int = 1) -> np.ndarray:
        """(N, N) flux per pixel of a unit-flux source. ``pixels_counted`` 1 is right: an effective PSF holds the
        pixel already, an optical one is averaged over it once."""
        n, step = self.size_px * self.fine, self.pixel_scale_arcsec / self.fine
        axis = (np.arange(n) - (n - 1) / 2) * step
        # The kernel's own square, centred on the source, then broadened by the source and averaged over pixels.
        dx, dy = axis - self.x_arcsec, axis[:, None] - self.y_arcsec
        half = 0.5 * self.psf.kernel_size_px * self.pixel_scale_arcsec
        inside = (np.abs(dx) < half) & (np.abs(dy) < half)
        light = psf_profile(np.hypot(dx, dy), fwhm_arcsec=fwhm_arcsec, psf=self.psf) * inside
        averaged = pixels_counted - (1 if self.psf.convention == "effective" else 0)
        out = np.fft.irfft2(np.fft.rfft2(light) * self._transfer(n, step, averaged), s=(n, n))
        middle = self.fine // 2
        return out[middle :: self.fine, middle :: self.fine] * self.pixel_scale_arcsec**2

    def _transfer(self, n: int, step: float, averaged: int) -> np.ndarray:
        fy, fx = np.fft.fftfreq(n, step)[:, None], np.fft.rfftfreq(n, step)
        pixel = np.sinc(fx * self.pixel_scale_arcsec) * np.sinc(fy * self.pixel_scale_arcsec)
        return np.exp(-2 * (np.pi * self.sigma_arcsec) ** 2 * (fx**2 + fy**2)) * pixel**averaged
