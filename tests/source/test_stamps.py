"""Banks of a user's own stamps: layouts, scales, sky, flux and position, several bands, and every wrong file."""

import galsim
import h5py
import numpy as np
import pytest
from astropy.io import fits

from dhs.config.source import StampBands, StampsSource, ZeroPoints
from dhs.source import measure
from dhs.source.bank import open_bank
from dhs.source.build import build_source
from dhs.source.stamps import border_sky, build_stamps_bank, resampled
from tests.source.stamp_data import FLUX, SIGMA, SKY, galaxy, picture, pictures, wcs_header

SCALE = 0.05


def stamps(tmp_path, *files, **about):
    return StampsSource(name="stamps", bank=tmp_path / "mine.h5", files=[str(file) for file in files], **about)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def hdus(path, *images, header):
    """A FITS file of (name, data) image HDUs after an empty primary."""
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(data, header, name=name) for name, data in images)]).writeto(path)
    return path


@pytest.fixture(scope="session")
def galaxies():
    """(8, 100, 100) pictures at 0.05 arcsec/px."""
    return pictures(8, scale=SCALE)


def test_stamps_become_the_templates_that_the_galaxies_have(tmp_path, galaxies):
    config = stamps(tmp_path, npz(tmp_path / "mine.npz", images=galaxies, pixscale_arcsec=SCALE))
    told = []
    summary = build_stamps_bank(config, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 8) for i in range(1, 9)]
    assert (summary.n_sources, summary.n_tried) == (8, 8)
    assert "0.05 arcsec from the file" in str(summary)
    bank = build_source(config)
    templates = bank.templates(np.arange(8))
    images = templates.each()[:, 0].numpy()
    for i, image in enumerate(images):
        smeared = galsim.Convolve(galaxy(i), galsim.Pixel(SCALE), galsim.Gaussian(sigma=0.5 * 0.03))
        truth = smeared.drawImage(nx=96, ny=96, scale=0.03, method="no_pixel").array / FLUX
        assert np.abs(image - truth).max() < 0.06 * truth.max()  # noise, and 1-3% of wings beyond the box
        assert np.hypot(*measure.centroid_px(image)) < 0.3
        hlr = galaxy(i).calculateHLR(size=400, scale=0.01)
        assert bank.half_light_radius_arcsec(np.array([i]))[0] == pytest.approx(hlr, rel=0.08)
        reach = measure.support_radius_arcsec(image, pixel_scale_arcsec=0.03)
        assert templates.support_radius_arcsec[i] == pytest.approx(reach)
    assert np.isnan(bank.meta["psf_fwhm_arcsec"]).all()
    assert bank.meta["id"][3] == b"mine.npz[3]"


def test_a_file_a_stamp_with_a_wcs_is_the_same_bank_as_a_cube_and_an_npz(tmp_path, galaxies):
    for i, image in enumerate(galaxies):
        fits.PrimaryHDU(image, wcs_header(SCALE)).writeto(tmp_path / f"single-{i}.fits")
    hdus(tmp_path / "jwst.fits", ("SCI", galaxies), ("ERR", 0 * galaxies), header=wcs_header(SCALE))
    npz(tmp_path / "all.npz", images=galaxies)
    configs = {
        "singles": stamps(tmp_path, tmp_path / "single-*.fits", background=SKY, psf_fwhm_arcsec=0.12),
        "cube": stamps(tmp_path, tmp_path / "jwst.fits", background=SKY),
        "npz": stamps(tmp_path, tmp_path / "all.npz", background=SKY, input_pixel_scale_arcsec=SCALE),
    }
    images = {}
    for name, config in configs.items():
        here = config.model_copy(update={"bank": tmp_path / f"{name}.h5"})
        build_stamps_bank(here)
        images[name] = open_bank(here).stack().images.numpy()
    np.testing.assert_allclose(images["cube"], images["npz"], atol=1e-6)
    np.testing.assert_allclose(images["singles"], images["npz"], atol=1e-6)
    with h5py.File(tmp_path / "singles.h5") as file:
        assert file["meta/psf_fwhm_arcsec"][0] == pytest.approx(0.12)
        assert file.attrs["galaxy_kind"] == "stamps" and "files" in file.attrs["catalog"]


@pytest.mark.parametrize(("scale", "size"), [(0.02, 240), (0.05, 100), (0.06, 81), (0.11, 60)])
def test_resampling_keeps_flux_and_position(scale, size):
    profile = galaxy(1, fwhm=0.25).shift(0.113, -0.071)
    before = profile.drawImage(nx=size, ny=size, scale=scale, method="no_pixel").array.astype(float)
    after = resampled(before, scale_in=scale, scale_out=0.03)
    assert after.sum() == pytest.approx(before.sum(), rel=2e-3)
    x, y = measure.centroid_px(after)
    assert (x * 0.03, y * 0.03) == pytest.approx((0.113, -0.071), abs=2e-3)
    assert measure.half_light_radius_arcsec(after, pixel_scale_arcsec=0.03) == pytest.approx(
        profile.calculateHLR(size=600, scale=0.01), rel=0.03
    )


def test_resampling_agrees_with_galsim():
    before = galaxy(2, fwhm=0.2).drawImage(nx=100, ny=100, scale=SCALE, method="no_pixel")
    after = resampled(before.array.astype(float), scale_in=SCALE, scale_out=0.03)
    oracle = galsim.InterpolatedImage(before, x_interpolant="cubic").drawImage(
        nx=after.shape[1], ny=after.shape[0], scale=0.03, method="no_pixel"
    )
    assert np.abs(after - oracle.array).max() < 5e-3 * after.max()


def test_border_noise_tells_correlated_noise_from_white():
    white = np.random.default_rng(1).normal(SKY, SIGMA, (200, 200))
    sky = border_sky(white)
    assert sky.background == pytest.approx(SKY, abs=5 * SIGMA / 80)
    assert sky.sum_noise == pytest.approx(SIGMA, rel=0.12)
    smoothed = (white + np.roll(white, 1, 0) + np.roll(white, 1, 1) + np.roll(white, (1, 1), (0, 1))) / 4
    pixel = smoothed.std()
    assert border_sky(smoothed).sum_noise == pytest.approx(SIGMA, rel=0.25)
    assert border_sky(smoothed).sum_noise > 1.5 * pixel


def test_the_border_survives_a_bright_star_in_it():
    image = np.random.default_rng(1).normal(SKY, SIGMA, (200, 200))
    image[:12, 60:72] += 50
    assert border_sky(image).background == pytest.approx(SKY, abs=0.1 * SIGMA)


def red_core_blue_ring(seed):
    """(3, y, x) channels F090W, F444W and one that is unused: a ring in the blue, a core in the red."""
    ring = galsim.Gaussian(fwhm=0.7, flux=300) - galsim.Gaussian(fwhm=0.45, flux=120)
    core = galsim.Gaussian(fwhm=0.3, flux=60)
    return np.stack([picture(profile, scale=SCALE, seed=seed + i) for i, profile in enumerate((ring, core, core))])


def test_an_image_per_band_keeps_gradients_and_stores_fluxes(tmp_path):
    images = np.stack([red_core_blue_ring(10 * seed) for seed in range(3)])
    config = stamps(
        tmp_path,
        npz(tmp_path / "mine.npz", images=images, bands=["F090W", "F444W", "F770W"], pixscale_arcsec=SCALE),
        bands=StampBands(g="F090W", r="F090W", z="F444W"),
        zero_points=ZeroPoints(g=28.0, r=28.0, z=27.0),
    )
    build_stamps_bank(config)
    with h5py.File(config.bank) as file:
        assert file["images"].shape == (3, 3, 96, 96) and file.attrs["bands"] == "grz"
    bank = open_bank(config)
    assert bank.n_channels == 3
    image = bank.templates(np.array([1])).each()[0].numpy()
    np.testing.assert_allclose(image.sum(axis=(1, 2)), 1, atol=1e-5)
    np.testing.assert_array_equal(image[0], image[1])
    middle = image[:, 46:50, 46:50].sum(axis=(1, 2))
    assert middle[2] > 3 * middle[0]
    assert bank.meta["mag_g"][1] == pytest.approx(28 - 2.5 * np.log10(180), abs=0.05)
    assert bank.meta["mag_z"][1] == pytest.approx(27 - 2.5 * np.log10(60), abs=0.05)
    light = np.array([180, 180, 60 * 10**0.4])
    share = [bank.meta[f"band_flux_fraction_{band}"][1] for band in "grz"]
    np.testing.assert_allclose(share, light / light.sum(), rtol=0.05)


@pytest.mark.parametrize("layout", ["hdu_a_channel", "cube"])
def test_channels_of_a_fits_file_are_found_by_name_or_number(tmp_path, layout):
    channels = red_core_blue_ring(0)
    path = tmp_path / "mine.fits"
    if layout == "hdu_a_channel":
        hdus(path, *zip(("F090W", "F444W", "ERR"), channels, strict=True), header=wcs_header(SCALE))
        bands = StampBands(g="F090W", r="F444W", z="F444W")
    else:
        fits.PrimaryHDU(channels, wcs_header(SCALE)).writeto(path)
        bands = StampBands(g=0, r=1, z=1)
    config = stamps(tmp_path, path, bands=bands)
    build_stamps_bank(config)
    reference = stamps(
        tmp_path,
        npz(tmp_path / "mine.npz", images=channels[None], pixscale_arcsec=SCALE),
        bands=StampBands(g=0, r=1, z=1),
    ).model_copy(update={"bank": tmp_path / "npz.h5"})
    build_stamps_bank(reference)
    np.testing.assert_allclose(open_bank(config).stack().images, open_bank(reference).stack().images, atol=1e-6)


def test_a_galaxy_without_light_in_a_band_is_refused_and_counted(tmp_path):
    images = red_core_blue_ring(0)
    images[1] = picture(galsim.Gaussian(fwhm=0.3, flux=0.01), scale=SCALE)
    two = np.stack([red_core_blue_ring(50), images])
    file = npz(tmp_path / "mine.npz", images=two, pixscale_arcsec=SCALE)
    summary = build_stamps_bank(stamps(tmp_path, file, bands=StampBands(g=0, r=0, z=1)))
    assert summary.n_sources == 1 and summary.rejected["faint_in_a_band"] == 1
    assert "refused: faint_in_a_band 1" in str(summary)


def test_stamps_with_nan_stop_the_build_or_are_counted(tmp_path, galaxies):
    damaged = galaxies.copy()
    damaged[2, 50, 50] = np.nan
    file = npz(tmp_path / "mine.npz", images=damaged, pixscale_arcsec=SCALE)
    with pytest.raises(ValueError, match=r"mine.npz: stamp mine.npz\[2\] holds NaN.*source.on_nan=reject"):
        build_stamps_bank(stamps(tmp_path, file))
    assert not (tmp_path / "mine.h5").exists()
    summary = build_stamps_bank(stamps(tmp_path, file, on_nan="reject"))
    assert (summary.n_sources, summary.rejected["not_finite"]) == (7, 1)


def no_wcs(tmp_path, galaxies):
    fits.PrimaryHDU(galaxies[0]).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits", {}


def contradiction(tmp_path, galaxies):
    fits.PrimaryHDU(galaxies[0], wcs_header(0.04)).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits", {"input_pixel_scale_arcsec": 0.05}


def oblong_pixels(tmp_path, galaxies):
    fits.PrimaryHDU(galaxies[0], wcs_header(0.04, CD1_1=-0.05 / 3600)).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits", {}


def truncated(tmp_path, galaxies):
    path, _ = no_wcs(tmp_path, galaxies)
    path.write_bytes(path.read_bytes()[:9000])
    return path, {"input_pixel_scale_arcsec": 0.05}


def two_images(tmp_path, galaxies):
    return hdus(tmp_path / "a.fits", ("A", galaxies[0]), ("B", galaxies[1]), header=wcs_header(SCALE)), {}


def no_such_extension(tmp_path, galaxies):
    return two_images(tmp_path, galaxies)[0], {"extension": "SCI"}


def channels_without_bands(tmp_path, galaxies):
    return npz(tmp_path / "a.npz", images=galaxies[None]), {"input_pixel_scale_arcsec": 0.05}


def bands_without_channels(tmp_path, galaxies):
    return npz(tmp_path / "a.npz", images=galaxies), {"bands": StampBands(g=0, r=0, z=0)}


def wrong_band(tmp_path, galaxies):
    file = npz(tmp_path / "a.npz", images=galaxies[None, :2], bands=["F115W", "F200W"], pixscale_arcsec=SCALE)
    return file, {"bands": StampBands(g="F115W", r="F150W", z="F200W")}


def no_noise(tmp_path, galaxies):
    return npz(tmp_path / "a.npz", images=0 * galaxies, pixscale_arcsec=SCALE), {}


def two_backgrounds(tmp_path, galaxies):
    return npz(tmp_path / "a.npz", images=galaxies, pixscale_arcsec=SCALE, background=0.7), {"background": 0.7}


def wrong_length(tmp_path, galaxies):
    return npz(tmp_path / "a.npz", images=galaxies, pixscale_arcsec=SCALE, zphot=np.ones(3)), {}


def only_noise(tmp_path, galaxies):
    noise = np.random.default_rng(3).normal(0, 1, galaxies.shape)
    return npz(tmp_path / "a.npz", images=noise, pixscale_arcsec=SCALE), {}


def pickled(tmp_path, galaxies):
    return npz(tmp_path / "a.npz", images=np.array([{}], dtype=object)), {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_wcs, "a.fits: no pixel scale .*set source.input_pixel_scale_arcsec"),
        (contradiction, "a.fits: its pixel scale is 0.04 arcsec, but source.input_pixel_scale_arcsec = 0.05; correct"),
        (oblong_pixels, "a.fits: pixels of 0.05 by 0.04 arcsec; resample"),
        (truncated, "a.fits: not readable as FITS .*truncated.*; get it again"),
        (two_images, r"a.fits: 2 images \(0 A, 1 B\).*; set source.extension"),
        (no_such_extension, "a.fits: no image source.extension = 'SCI'; its images are 0 A, 1 B"),
        (channels_without_bands, r"a.npz: images \(1, 8, 100, 100\); .*set source.bands"),
        (bands_without_channels, r"a.npz: images \(8, 100, 100\); source.bands needs \(N, channel, y, x\)"),
        (wrong_band, "a.npz: no channel 'F150W' for source.bands.r; it has F115W, F200W"),
        (no_noise, "a.npz: stamp 0 has no noise in its border; give source.noise_sigma"),
        (two_backgrounds, "a.npz: it has background, and source.background = 0.7; leave"),
        (wrong_length, r"a.npz: zphot is float64 \(3,\); give one number, or \(8,\)"),
        (only_noise, r"no acceptable galaxy among 8 stamps \(low_snr"),
        (pickled, "a.npz: not readable as NPZ .*; write it with numpy.savez"),
    ],
)
def test_a_wrong_file_gets_one_line_with_fault_and_remedy(tmp_path, galaxies, make, message):
    file, about = make(tmp_path, galaxies)
    with pytest.raises(ValueError, match=message) as caught:
        build_stamps_bank(stamps(tmp_path, file, **about))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mine.h5").exists()


def test_a_missing_file_or_an_empty_pattern_is_named(tmp_path):
    for pattern in ("nothing-*.fits", "absent.npz"):
        with pytest.raises(FileNotFoundError, match=f"{pattern.replace('*', '.')}: no such file"):
            build_stamps_bank(stamps(tmp_path, tmp_path / pattern))


def test_zero_points_need_bands():
    with pytest.raises(ValueError, match="zero_points: one number where bands is null"):
        StampsSource(name="stamps", bank="x.h5", zero_points=ZeroPoints(g=1, r=1, z=1))


def test_the_footprint_is_that_of_all_channels_together(tmp_path):
    file = npz(tmp_path / "mine.npz", images=red_core_blue_ring(0)[None], pixscale_arcsec=SCALE)
    radii = {}
    for name, bands in {"core first": StampBands(g=1, r=1, z=0), "ring first": StampBands(g=0, r=1, z=1)}.items():
        config = stamps(tmp_path, file, bands=bands).model_copy(update={"bank": tmp_path / f"{name}.h5"})
        build_stamps_bank(config)
        ring = open_bank(config).stack().images[0, 2 if name == "core first" else 0].numpy()
        radii[name] = measure.half_light_radius_arcsec(ring, pixel_scale_arcsec=0.03)
    assert radii["core first"] == pytest.approx(radii["ring first"], rel=0.02)
