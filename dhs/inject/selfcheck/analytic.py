"""What the sky should show, in float64 numpy: the isothermal ellipsoid in closed form, point sources through a PSF.

Written from the papers and not from `dhs.lens`: Kormann, Schneider & Bartelmann (1994, A&A 284, 285, eq. 26-28) give
the deflection of the SIE as arcsin and arcsinh of the polar angle, where `dhs.lens.sie` has Keeton's arctan and artanh
of the position. A mistake in one is not repeated in the other. Lens at the origin, major axis of the mass along
``phi_rad`` (counter-clockwise from +x), no shear; angles in arcsec and radians.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from dhs.config.injection import GaussianPsf, MoffatPsf

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


AnalyticPsf = MoffatPsf | GaussianPsf


@dataclass(frozen=True)
class Profile:
    """Unit-flux PSF of one galaxy and band: a Moffat (1969) or a Gaussian, elliptical where e is not zero.

    ``fwhm_arcsec`` is the geometric mean of the axes' FWHMs, ``(e1, e2) = (1-q)/(1+q) (cos 2 phi, sin 2 phi)``.
    """

    psf: AnalyticPsf
    fwhm_arcsec: float
    e1: float = 0.0
    e2: float = 0.0

    def brightness(self, x_arcsec: np.ndarray, y_arcsec: np.ndarray) -> np.ndarray:
        """Per square arcsec, at (x, y) from the centre."""
        e = np.hypot(self.e1, self.e2)
        q, phi = (1 - e) / (1 + e), 0.5 * np.arctan2(self.e2, self.e1)
        along = np.cos(phi) * x_arcsec + np.sin(phi) * y_arcsec
        across = np.cos(phi) * y_arcsec - np.sin(phi) * x_arcsec
        radius = np.hypot(np.sqrt(q) * along, across / np.sqrt(q))
        if isinstance(self.psf, MoffatPsf):
            beta = self.psf.beta
            scale = self.fwhm_arcsec / (2 * np.sqrt(2 ** (1 / beta) - 1))
            return (beta - 1) / (np.pi * scale**2) * (1 + (radius / scale) ** 2) ** -beta
        sigma = self.fwhm_arcsec / np.sqrt(8 * np.log(2))
        return np.exp(-0.5 * (radius / sigma) ** 2) / (2 * np.pi * sigma**2)

    def flux_in_kernel(self, pixel_scale_arcsec: float) -> float:
        """Share of the light inside the configured kernel, by the midpoint rule on a grid four times finer."""
        n, step = 4 * self.psf.kernel_size_px, pixel_scale_arcsec / 4
        axis = (np.arange(n) - (n - 1) / 2) * step
        return float(self.brightness(axis, axis[:, None]).sum() * step**2)


@dataclass(frozen=True)
class PointSource:
    """A small Gaussian source on the survey's grid."""

    size_px: int
    pixel_scale_arcsec: float
    x_arcsec: float
    y_arcsec: float
    sigma_arcsec: float
    """Of the source, with what sampling adds to it."""

    def through_profile(self, profile: Profile, *, pixels_counted: int = 1, fine: int = 3) -> np.ndarray:
        """(N, N) flux per pixel of a unit source, from a grid ``fine`` (odd: centres coincide) times finer.

        ``pixels_counted`` 1 is right: an effective PSF holds the pixel already, an optical one is averaged over it.
        """
        n, step = self.size_px * fine, self.pixel_scale_arcsec / fine
        axis = (np.arange(n) - (n - 1) / 2) * step
        dx, dy = axis - self.x_arcsec, axis[:, None] - self.y_arcsec
        half = 0.5 * profile.psf.kernel_size_px * self.pixel_scale_arcsec
        light = profile.brightness(dx, dy) * ((np.abs(dx) < half) & (np.abs(dy) < half))
        averaged = pixels_counted - (1 if profile.psf.convention == "effective" else 0)
        out = np.fft.irfft2(np.fft.rfft2(light) * self._blur(n, step, averaged), s=(n, n))
        return out[fine // 2 :: fine, fine // 2 :: fine] * self.pixel_scale_arcsec**2

    def through_image(self, kernel: np.ndarray, *, pixels_counted: int = 1) -> np.ndarray:
        """The same through an effective PSF image (K, K), K odd, centre at (K-1)/2: a Fourier shift and blur of it."""
        size = len(kernel)
        n = self.size_px + size + 1
        placed = np.zeros((n, n))
        placed[:size, :size] = kernel
        fy, fx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)
        # From the kernel's centre to the source, both counted from pixel (0, 0) of the stamp.
        middle = (self.size_px - 1) / 2 - (size - 1) / 2
        dx, dy = (middle + place / self.pixel_scale_arcsec for place in (self.x_arcsec, self.y_arcsec))
        shift = np.exp(-2j * np.pi * (fx * dx + fy * dy))
        blur = self._blur(n, self.pixel_scale_arcsec, pixels_counted - 1)
        return np.fft.irfft2(np.fft.rfft2(placed) * shift * blur, s=(n, n))[: self.size_px, : self.size_px]

    def _blur(self, n: int, step: float, averaged: int) -> np.ndarray:
        """Transfer of the source's Gaussian and of ``averaged`` pixels."""
        fy, fx = np.fft.fftfreq(n, step)[:, None], np.fft.rfftfreq(n, step)
        pixel = np.sinc(fx * self.pixel_scale_arcsec) * np.sinc(fy * self.pixel_scale_arcsec)
        return np.exp(-2 * (np.pi * self.sigma_arcsec) ** 2 * (fx**2 + fy**2)) * pixel**averaged
