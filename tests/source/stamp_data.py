"""Stamps of known galaxies, drawn with GalSim, on grids other than the templates', and files of them."""

import galsim
import numpy as np
from astropy.io import fits

SKY, SIGMA = 0.7, 0.005
FLUX = 100.0


def galaxy(index, *, fwhm=0.12):
    """An inclined Sersic galaxy of FLUX counts; ``index`` varies it."""
    rng = np.random.default_rng([index, 5])
    profile = galsim.Sersic(n=rng.uniform(0.8, 1.5), half_light_radius=rng.uniform(0.2, 0.35), flux=FLUX)
    sheared = profile.shear(q=rng.uniform(0.5, 1), beta=rng.uniform(0, np.pi) * galsim.radians)
    return galsim.Convolve(sheared, galsim.Gaussian(fwhm=fwhm))


def picture(profile, *, scale, size=100, sky=SKY, sigma=SIGMA, seed=0):
    """(y, x) float32 counts with sky and white noise."""
    noise = np.random.default_rng([seed, 6]).normal(0, sigma, (size, size))
    return (profile.drawImage(nx=size, ny=size, scale=scale).array + sky + noise).astype(np.float32)


def pictures(n, *, scale, **about):
    return np.stack([picture(galaxy(i), scale=scale, seed=i, **about) for i in range(n)])


def wcs_header(scale, **cards):
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 150.1, 2.2
    header["CD1_1"], header["CD2_2"] = -scale / 3600, scale / 3600
    for key, value in cards.items():
        header[key] = value
    return header
