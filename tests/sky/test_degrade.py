"""The simulated telescope against GalSim: flux, width, orientation, light beyond the stamp, arcs told from the lens."""

import json

import galsim
import numpy as np
import pytest
from astropy.io import fits

from dhs.config.degrade import DegradeTask
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.display import rgb
from dhs.sky.build import open_cutouts
from dhs.sky.degrade import observe, take_apart
from dhs.sky.degrade_job import ORIGIN, degrade
from dhs.sky.gallery_page import gallery_page
from dhs.sky.hst_image import read_sharp_image

SCALE, ZERO_POINT = 0.05, 25.9
HST_PSF = galsim.Moffat(fwhm=0.10, beta=3.0)
GALAXY = galsim.Sersic(n=3, half_light_radius=1.2, flux=10 ** (0.4 * (22.5 - 17.0))).shear(
    q=0.75, beta=40 * galsim.degrees
)


def counts(profile: galsim.GSObject, size: int, *, offset_arcsec: tuple[float, float] = (0, 0)) -> np.ndarray:
    """(size, size) electrons/s of a profile in nMgy as HST sees it, centre at (size-1)/2 plus the offset."""
    image = galsim.Convolve(profile.shift(*offset_arcsec), HST_PSF).drawImage(nx=size, ny=size, scale=SCALE)
    return image.array.astype(float) * 10 ** (0.4 * (ZERO_POINT - 22.5))


@pytest.fixture
def psf_path(tmp_path):
    path = tmp_path / "psf.fits"
    # The measured PSF includes the pixel; its peak lies off the middle and between pixels, as real ones do.
    fits.writeto(path, HST_PSF.drawImage(nx=74, ny=74, scale=SCALE, offset=(0.8, 0.2)).array)
    return path


def hst_file(path, data: np.ndarray, *, angle_deg: float = 0.0) -> object:
    header = fits.Header()
    header["PHOTPLAM"] = 8045.0
    header["PHOTFLAM"] = float(10 ** (-0.4 * (ZERO_POINT + 2.408 + 5 * np.log10(8045.0))))
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    cd = SCALE / 3600 * np.diag([-1.0, 1.0]) @ np.array([[cos, -sin], [sin, cos]])
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 150.0, 2.0
    header["CRPIX1"], header["CRPIX2"] = (data.shape[1] + 1) / 2, (data.shape[0] + 1) / 2
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = cd.ravel()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header, name="SCI")]).writeto(path)
    return path


def noisy(data: np.ndarray) -> np.ndarray:
    return data + np.random.default_rng(8).normal(0, 0.003, data.shape) + 0.05


def read(path, psf_path):
    return read_sharp_image(path, psf_path=psf_path, pixel_scale_arcsec=None, zero_point_ab_mag=None)


def survey_truth(profile: galsim.GSObject, fwhm: float) -> np.ndarray:
    """GalSim's own DR10 stamp: an effective PSF, so nothing but sampling."""
    psf = galsim.Moffat(beta=3.5, fwhm=fwhm)
    return galsim.Convolve(profile, psf).drawImage(nx=64, ny=64, scale=PIXEL_SCALE_ARCSEC, method="no_pixel").array


@pytest.mark.parametrize("fwhm", [0.9, 1.3])
def test_a_small_hst_stamp_gives_the_survey_stamp_that_galsim_draws(tmp_path, psf_path, fwhm):
    sharp = read(hst_file(tmp_path / "a.fits", noisy(counts(GALAXY, 198))), psf_path)
    parts = take_apart(sharp, size_px=64)
    seen = observe(parts.lens + parts.arc, sharp=sharp, centre_px=parts.centre_px, fwhm_arcsec=fwhm, size_px=64)
    truth = survey_truth(GALAXY, fwhm)
    assert np.abs(seen - truth).max() < 0.01 * truth.max()
    beyond = np.hypot(*np.meshgrid(*[np.arange(64) - 31.5] * 2)) * PIXEL_SCALE_ARCSEC > 5.5  # outside the HST stamp
    assert seen[beyond].sum() == pytest.approx(truth[beyond].sum(), rel=0.2)
    assert truth[beyond].sum() > 0.02 * truth.sum()
    assert parts.fit.n == pytest.approx(3, abs=0.4)
    assert parts.fit.axis_ratio == pytest.approx(0.75, abs=0.03)


def test_a_rotated_exposure_comes_out_north_up_east_left(tmp_path, psf_path):
    companion = galsim.Gaussian(sigma=0.1, flux=2.0)
    pictures = []
    for angle in (0.0, 65.0):
        # On the sky the companion is 2 arcsec north and 1 arcsec west: turn the sky into the rotated detector.
        west, north = 1.0, 2.0
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        x, y = cos * west + sin * north, -sin * west + cos * north
        round_galaxy = galsim.Sersic(n=3, half_light_radius=1.0, flux=60.0)
        data = counts(round_galaxy, 198) + counts(companion, 198, offset_arcsec=(x, y))
        sharp = read(hst_file(tmp_path / f"r{angle:.0f}.fits", noisy(data), angle_deg=angle), psf_path)
        parts = take_apart(sharp, size_px=64)
        arc = observe(parts.arc, sharp=sharp, centre_px=parts.centre_px, fwhm_arcsec=1.0, size_px=64)
        pictures.append(arc)
        row, column = np.unravel_index(arc.argmax(), arc.shape)
        assert (column - 31.5) * PIXEL_SCALE_ARCSEC == pytest.approx(west, abs=0.2)
        assert (row - 31.5) * PIXEL_SCALE_ARCSEC == pytest.approx(north, abs=0.2)
    assert np.abs(pictures[0] - pictures[1]).max() < 0.1 * pictures[0].max()


def test_an_arc_is_told_from_its_lens(tmp_path, psf_path):
    axis = (np.arange(198) - 98.5) * SCALE
    x, y = np.meshgrid(axis, axis)
    arc = np.exp(-0.5 * ((np.hypot(x, y) - 1.3) / 0.12) ** 2) * (np.abs(np.arctan2(y, x)) < 0.8)
    arc *= 3.0 * 10 ** (0.4 * (ZERO_POINT - 22.5)) / arc.sum()
    sharp = read(hst_file(tmp_path / "arc.fits", noisy(counts(GALAXY, 198) + arc)), psf_path)
    parts = take_apart(sharp, size_px=64)
    found = observe(parts.arc, sharp=sharp, centre_px=parts.centre_px, fwhm_arcsec=1.1, size_px=64)
    assert found.sum() == pytest.approx(3.0, rel=0.25)


def task(paths, psf_path, output, **changes) -> DegradeTask:
    return DegradeTask(name="degrade", images=tuple(paths), psf=psf_path, output=output, **changes)


def test_the_stamps_are_labelled_wherever_they_are_shown(tmp_path, psf_path):
    path = hst_file(tmp_path / "lens.fits", noisy(counts(GALAXY, 198)))
    lines = degrade(task([path], psf_path, tmp_path / "out.npz"))
    assert ORIGIN in lines[0]
    cutouts = open_cutouts([tmp_path / "out.npz"])
    assert cutouts.origin is not None
    assert cutouts.origin[0] == ORIGIN
    assert cutouts.ra_deg[0] == pytest.approx(150.0, abs=1e-3)
    assert f">{ORIGIN}" in gallery_page(cutouts, listed=None, n_stamps=1, title="x").replace("<br>", ">")
    with np.load(tmp_path / "out.npz") as stored:
        assert json.loads(str(stored["configuration"]))["psf_fwhm_arcsec"] == [1.29, 1.18, 1.11]
    assert (tmp_path / "out.png").is_file()


def test_arc_and_lens_have_the_colours_given_to_them(tmp_path, psf_path):
    path = hst_file(tmp_path / "lens.fits", noisy(counts(GALAXY, 198)))
    degrade(task([path], psf_path, tmp_path / "red.npz"))
    image = open_cutouts([tmp_path / "red.npz"]).images[0]
    mags = 22.5 - 2.5 * np.log10(image[:, 16:48, 16:48].sum(axis=(1, 2)))
    assert mags[0] - mags[1] == pytest.approx(1.7 - 0.45, abs=0.1)
    assert mags[1] - mags[2] == pytest.approx(0.45 + 0.25, abs=0.1)
    assert rgb(image[None])[0, 32, 32, 0] >= rgb(image[None])[0, 32, 32, 2]


def test_the_noise_is_that_of_the_depth_asked_for(tmp_path, psf_path):
    path = hst_file(tmp_path / "faint.fits", noisy(counts(galsim.Gaussian(sigma=0.2, flux=1.0), 198)))
    degrade(task([path], psf_path, tmp_path / "out.npz"))
    cutouts = open_cutouts([tmp_path / "out.npz"])
    corner = cutouts.images[0, :, :20, :20]
    assert corner.std(axis=(1, 2)) * np.sqrt(cutouts.invvar[0, :, 0, 0]) == pytest.approx(0.91, rel=0.15)
    assert cutouts.psf_depth_mag[0] == pytest.approx([24.75, 24.25, 23.35], abs=0.02)


def test_real_sky_is_used_where_it_is_empty(tmp_path, psf_path, shared_data):
    path = hst_file(tmp_path / "lens.fits", noisy(counts(GALAXY, 198)))
    patch = shared_data / "cutouts" / "dr9_south_256_grz.npz"
    with np.load(patch) as stored:
        images = stored["image"] if "image" in stored else stored["images"]
    sky = tmp_path / "sky.npz"
    np.savez(sky, images=images, bands=np.array(list("grz")), pixscale_arcsec=0.262, unit="nanomaggy")
    lines = degrade(task([path], psf_path, tmp_path / "out.npz", blank_sky=(sky,)))
    assert "noise from real sky" in lines[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixel_scale_arcsec": 0.03}, "header says pixel_scale_arcsec"),
        ({"zero_point_ab_mag": 30.0}, "header says zero_point_ab_mag"),
        ({"images": ("nowhere.fits",)}, "no such file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, psf_path, change, words):
    path = hst_file(tmp_path / "lens.fits", noisy(counts(GALAXY, 198)))
    settings = {"name": "degrade", "images": (path,), "psf": psf_path, "output": tmp_path / "out.npz", **change}
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        degrade(DegradeTask.model_validate(settings))
    assert not (tmp_path / "out.npz").exists()


def test_an_image_that_does_not_say_its_zero_point_asks_for_it(tmp_path, psf_path):
    fits.writeto(tmp_path / "bare.fits", noisy(counts(GALAXY, 198)))
    with pytest.raises(ValueError, match="does not say its pixel_scale_arcsec"):
        read(tmp_path / "bare.fits", psf_path)
    with pytest.raises(ValueError, match="does not say its zero_point_ab_mag"):
        read_sharp_image(tmp_path / "bare.fits", psf_path=psf_path, pixel_scale_arcsec=0.05, zero_point_ab_mag=None)


def test_an_hdf5_image_says_scale_and_zero_point_in_its_attributes(tmp_path, psf_path):
    import h5py

    with h5py.File(tmp_path / "lens.h5", "w") as file:
        image = file.create_dataset("image", data=noisy(counts(GALAXY, 198)))
        image.attrs["pixel_scale_arcsec"], image.attrs["zero_point_ab_mag"] = SCALE, ZERO_POINT
    sharp = read(tmp_path / "lens.h5", psf_path)
    assert sharp.pixel_scale_arcsec == SCALE
    assert np.isnan(sharp.ra_deg)
