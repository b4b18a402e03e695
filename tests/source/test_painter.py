"""Drawing by plain FFTs, held to GalSim."""

import galsim
import numpy as np
import pytest

from dhs.source.catalog import read_catalog
from dhs.source.painter import MAX_GAIN, draw, draw_whitened, smallest_psf_fwhm_arcsec
from dhs.source.pictures import OpenPictures

MAIN = "real_galaxy_catalog_23.5_example.fits"


@pytest.fixture(scope="module")
def pair(catalog_dir):
    """``pair(row)``: pictures of a galaxy and its PSF."""
    catalog = read_catalog(catalog_dir, name=None)
    galaxies, psfs = OpenPictures(catalog_dir), OpenPictures(catalog_dir)

    def read(row):
        return (
            galaxies.read(str(catalog.gal_file[row]), hdu=catalog.gal_hdu[row]),
            psfs.read(str(catalog.psf_file[row]), hdu=catalog.psf_hdu[row]),
        )

    yield read
    galaxies.close()
    psfs.close()


def drawn(pair, *, scale=0.03):
    return draw(*pair, input_scale_arcsec=0.03, scale_arcsec=scale, min_fwhm_arcsec=0.1, max_size_px=192)


@pytest.mark.parametrize("scale", [0.03, 0.05, 0.02])
def test_a_galaxy_is_drawn_as_galsim_draws_it(catalog_dir, pair, scale):
    catalog = galsim.RealGalaxyCatalog(MAIN, dir=str(catalog_dir))
    for row in range(0, 100, 5 if scale == 0.03 else 20):
        ours = drawn(pair(row), scale=scale)
        ny, nx = ours.picture.shape
        seen = galsim.Convolve(galsim.RealGalaxy(catalog, index=row), galsim.Gaussian(fwhm=ours.psf_fwhm_arcsec))
        # Drawn wide: on a box of the picture's size GalSim folds the light beyond it back in (7% of the peak at worst).
        wide = seen.drawImage(nx=nx + 300, ny=ny + 300, scale=scale, dtype=float).array[150:-150, 150:-150]
        assert np.abs(ours.picture - wide).max() < 1e-3 * wide.max(), row
    catalog.close()


def test_flux_and_position_are_kept_at_every_scale(pair):
    galaxy, psf = pair(3)
    padded = np.pad(galaxy, 20)
    y, x = np.indices(padded.shape)
    for scale in (0.03, 0.05, 0.02):
        picture = drawn((padded, psf), scale=scale).picture
        assert picture.sum() == pytest.approx(padded.sum(), rel=5e-3)
        middle = [(n - 1) / 2 for n in picture.shape]
        ours = [
            (picture.sum(axis=1 - a) @ (np.arange(picture.shape[a]) - middle[a])) * scale / picture.sum()
            for a in (0, 1)
        ]
        true = [((padded * (c - (c.max() / 2))).sum()) * 0.03 / padded.sum() for c in (y, x)]
        centre_of_psf = [((psf * (c - c.max() / 2)).sum()) * 0.03 / psf.sum() for c in np.indices(psf.shape)]
        np.testing.assert_allclose(ours, np.subtract(true, centre_of_psf), atol=0.002)


def test_the_psf_is_wide_enough_that_deconvolution_amplifies_nothing_much(catalog_dir, pair):
    catalog = galsim.RealGalaxyCatalog(MAIN, dir=str(catalog_dir))
    psf = catalog.getPSF(0)
    frequencies = np.linspace(0.5, 14, 28) * 2 * np.pi
    gain = {}
    for fwhm in (0.10, smallest_psf_fwhm_arcsec(pair(0)[1], pixel_scale_arcsec=0.03)):
        target = galsim.Gaussian(fwhm=fwhm)
        gain[fwhm] = max(abs(target.kValue(k, 0)) / abs(psf.kValue(k, 0)) for k in frequencies)
    catalog.close()
    narrow, wide = gain.values()
    assert wide <= 1.02 * MAX_GAIN < narrow


def test_a_whitened_picture_has_white_noise_of_the_variance_it_says(catalog_dir, pair):
    catalog = read_catalog(catalog_dir, name=None)
    correlation = catalog.correlation["acs_I_unrot_sci_20_cf.fits"]
    noise_file = str(catalog_dir / "acs_I_unrot_sci_20_cf.fits")
    blank = galsim.ImageD(160, 160, scale=0.03)
    blank.addNoise(galsim.getCOSMOSNoise(file_name=noise_file, rng=galsim.BaseDeviate(4), variance=1.0))
    settings = {"input_scale_arcsec": 0.03, "scale_arcsec": 0.03, "min_fwhm_arcsec": 0.1, "max_size_px": 160}
    plain = draw(blank.array, pair(0)[1], **settings).picture[10:-10, 10:-10]
    found, variance = draw_whitened(
        blank.array, pair(0)[1], correlation=correlation, noise_variance=1.0, seed=5, **settings
    )
    white = found.picture[10:-10, 10:-10]

    def lag_one(image):
        return np.mean(image[:, 1:] * image[:, :-1]) / np.mean(image**2)

    assert lag_one(plain) > 0.5 and abs(lag_one(white)) < 0.05
    assert white.var() == pytest.approx(variance, rel=0.06)
    assert variance > plain.var()
