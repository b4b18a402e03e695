"""Cutouts from files: what is read, what is measured, and one clear line for each fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from dhs.config.sky import FilesSky, SplitConfig
from dhs.constants import CLASSES
from dhs.sky.build import load_sky
from dhs.sky.cutouts import CutoutSet
from dhs.sky.files import load_files_sky
from dhs.sky.splits import split_of_id, split_of_position

Writer = Callable[..., Path]


def config_of(*paths: Path, **changes: object) -> FilesSky:
    return FilesSky.model_validate({"name": "files", "paths": paths, "split": SplitConfig(), **changes})


def noise_images(n: int = 4, size: int = 70, seed: int = 0) -> np.ndarray:
    sigma = np.array([0.002, 0.004, 0.01])[:, None, None]
    return (np.random.default_rng(seed).standard_normal((n, 3, size, size)) * sigma).astype(np.float32)


@pytest.fixture
def write_npz(tmp_path: Path) -> Writer:
    def write(name: str = "cutouts.npz", **changes: object) -> Path:
        arrays = {
            "images": noise_images(),
            "bands": np.array(["g", "r", "z"]),
            "pixscale_arcsec": np.float64(0.262),
            "unit": np.array("nanomaggy"),
            **changes,
        }
        path = tmp_path / name
        np.savez(path, allow_pickle=True, **{key: array for key, array in arrays.items() if array is not None})
        return path

    return write


@pytest.fixture
def write_fits(tmp_path: Path) -> Writer:
    def write(data: np.ndarray, *extensions: fits.ImageHDU, **cards: object) -> Path:
        header = {"BANDS": "grz", "SURVEY": "LegacySurvey", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
        header |= {"CRVAL1": 59.1, "CRVAL2": -30.5, "CD1_1": -0.262 / 3600, "CD2_2": 0.262 / 3600, **cards}
        primary = fits.PrimaryHDU(data)
        primary.header.update({key: value for key, value in header.items() if value is not None})
        path = tmp_path / "cutout.fits"
        fits.HDUList([primary, *extensions]).writeto(path)
        return path

    return write


def assert_contract(sky: CutoutSet, n: int, size: int) -> None:
    assert sky.images.shape == sky.invvar.shape == (n, 3, size, size)
    assert sky.maskbits.shape == (n, size, size)
    assert sky.images.dtype == sky.invvar.dtype == np.float32
    assert np.isfinite(sky.images).all()
    assert np.isfinite(sky.psf_depth_mag).all()
    assert len(np.unique(sky.target_id)) == n


def test_a_file_without_invvar_psf_or_position_gets_them_measured_configured_and_split_by_id(write_npz: Writer) -> None:
    path = write_npz()
    sky = load_files_sky(config_of(path, kind="spiral"))
    assert_contract(sky, 4, 64)
    np.testing.assert_allclose(sky.invvar.mean(axis=(0, 2, 3)) ** -0.5, [0.002, 0.004, 0.01], rtol=0.03)
    np.testing.assert_allclose(sky.psf_fwhm_arcsec, np.tile([1.29, 1.18, 1.11], (4, 1)), rtol=1e-6)
    # 5 sigma sqrt(N_eff) with N_eff = 83.4, 69.8, 61.8 px.
    np.testing.assert_allclose(sky.psf_depth_mag.mean(axis=0), [25.10, 24.44, 23.51], atol=0.04)
    assert np.isnan(sky.ra_deg).all()
    assert np.array_equal(sky.split, split_of_id([f"cutouts.npz:{i}" for i in range(4)], config=SplitConfig()))
    assert np.all(sky.kind == CLASSES.index("spiral"))


def test_what_a_file_says_is_kept(write_npz: Writer) -> None:
    invvar = np.full((4, 3, 70, 70), 1e4, np.float32)
    invvar[1, 2, 30:33] = 0
    maskbits = np.zeros((4, 70, 70), np.int32)
    maskbits[2, 35, 36] = 1 << 11
    fwhm = np.random.default_rng(1).uniform(1, 1.5, (4, 3))
    ra, dec = np.array([10.0, 20.0, 30.0, np.nan]), np.array([-5.0, 0.0, 5.0, np.nan])
    path = write_npz(
        invvar=invvar, maskbits=maskbits, psf_fwhm_arcsec=fwhm, ra_deg=ra, dec_deg=dec, id=np.arange(4) + 7
    )
    sky = load_files_sky(config_of(path))
    np.testing.assert_array_equal(sky.images, noise_images()[:, :, 3:67, 3:67])
    np.testing.assert_array_equal(sky.invvar, invvar[:, :, 3:67, 3:67])
    assert sky.maskbits[2, 32, 33] == 1 << 11
    assert np.count_nonzero(sky.maskbits) == 1
    np.testing.assert_allclose(sky.psf_fwhm_arcsec, fwhm, rtol=1e-6)
    np.testing.assert_array_equal(sky.ra_deg, ra)
    assert np.array_equal(sky.split[:3], split_of_position(ra[:3], dec[:3], config=SplitConfig()))
    assert sky.split[3] == split_of_id(["cutouts.npz:10"], config=SplitConfig())[0]


def test_bands_in_another_order_are_put_in_order_with_all_that_belongs_to_them(write_npz: Writer) -> None:
    order = [2, 0, 1]
    fwhm = np.array([1.3, 1.2, 1.1])
    invvar = np.abs(noise_images(seed=5)) + 1
    path = write_npz(
        images=noise_images()[:, order],
        invvar=invvar[:, order],
        psf_fwhm_arcsec=fwhm[order],
        bands=np.array(["z", "g", "r"]),
    )
    sky = load_files_sky(config_of(path))
    np.testing.assert_array_equal(sky.images, noise_images()[:, :, 3:67, 3:67])
    np.testing.assert_array_equal(sky.invvar, invvar[:, :, 3:67, 3:67])
    np.testing.assert_allclose(sky.psf_fwhm_arcsec[0], fwhm, rtol=1e-6)


@pytest.mark.parametrize(("size", "stamp", "column"), [(91, 63, 31), (91, 64, 32), (128, 64, 31.5), (64, 64, 31.5)])
def test_the_crop_keeps_the_centre_or_moves_it_half_a_pixel_up(
    write_npz: Writer, size: int, stamp: int, column: float
) -> None:
    ramp = np.arange(size) - 0.5 * (size - 1)
    images = np.broadcast_to(ramp, (1, 3, size, size)).astype(np.float32)
    path = write_npz(images=images, invvar=np.ones_like(images))
    row = load_files_sky(config_of(path, stamp_size_px=stamp)).images[0, 0, 0]
    assert np.interp(0.0, row, np.arange(stamp)) == column


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": np.array(["g", "r", "i"])}, "bands g, r, i; allowed: g, r, z once each"),
        ({"bands": None}, "no array 'bands'"),
        ({"pixscale_arcsec": np.float64(0.396)}, "pixel scale 0.396 arcsec; allowed: 0.262 within 1%"),
        ({"unit": np.array("counts")}, "unit 'counts'; allowed: nanomaggy"),
        ({"images": noise_images(size=60)}, "images of 60x60 px; allowed: at least stamp_size_px = 64"),
        ({"images": np.full((1, 3, 64, 64), np.nan, np.float32)}, "12288 pixels are not finite"),
        ({"images": np.zeros((1, 3, 64, 64), np.float32)}, "outer ring is constant"),
        ({"images": noise_images()[:, :2]}, r"images have shape \(4, 2, 70, 70\)"),
        ({"images": np.array([{"a": 1}], dtype=object)}, "not readable as NPZ"),
        ({"invvar": -np.ones((4, 3, 70, 70))}, "invvar has negative"),
        ({"invvar": np.ones((4, 3, 64, 64))}, r"invvar has shape \(4, 3, 64, 64\)"),
        ({"invvar": np.zeros((4, 3, 70, 70))}, "invvar = 0 everywhere"),
        ({"psf_fwhm_arcsec": np.array([5.0, 4.5, 11.0])}, "psf_fwhm_arcsec from 4.5 to 11.0; allowed: 0.3 to 6.0"),
        ({"psf_fwhm_arcsec": np.ones(7)}, r"psf_fwhm_arcsec has shape \(7,\)"),
        ({"maskbits": np.zeros((4, 64, 64), np.int16)}, "maskbits int16"),
        ({"ra_deg": np.zeros(3)}, r"ra_deg has shape \(3,\)"),
        ({"index": np.array([1, 1, 2, 3])}, "cutout 'cutouts.npz:1' comes 2 times"),
    ],
)
def test_each_fault_is_one_line_with_file_what_and_allowed(
    write_npz: Writer, changes: dict[str, object], message: str
) -> None:
    path = write_npz(**changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_files_sky(config_of(path))
    text = str(caught.value)
    assert "\n" not in text
    assert "cutouts.npz" in text
    assert "; allowed: " in text


def test_missing_unreadable_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    (tmp_path / "broken.fits").write_bytes(b"nothing")
    (tmp_path / "image.png").write_bytes(b"")
    with (tmp_path / "bare.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    for name, message in (
        ("absent.npz", "no such file"),
        ("broken.npz", "not readable as NPZ"),
        ("bare.npz", "one bare array"),
        ("broken.fits", "not readable as FITS"),
        ("image.png", "suffix '.png'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            load_files_sky(config_of(tmp_path / name))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_legacy_survey_fits_cutout_is_read_with_its_invvar_and_position(write_fits: Writer) -> None:
    images = noise_images(n=1)[0]
    invvar = np.full_like(images, 2.5e5)
    path = write_fits(images, fits.ImageHDU(invvar, name="INVVAR"))
    sky = load_files_sky(config_of(path))
    assert_contract(sky, 1, 64)
    np.testing.assert_array_equal(sky.images[0], images[:, 3:67, 3:67])
    assert np.all(sky.invvar == 2.5e5)
    assert (sky.ra_deg[0], sky.dec_deg[0]) == (59.1, -30.5)


def test_a_fits_file_with_bunit_bands_reversed_and_ra_dec_is_read(write_fits: Writer) -> None:
    images = noise_images(n=1)[0]
    path = write_fits(images[::-1], SURVEY=None, BUNIT="nanomaggy", BANDS="zrg", RA=12.5, DEC=1.5)
    sky = load_files_sky(config_of(path))
    np.testing.assert_array_equal(sky.images[0], images[:, 3:67, 3:67])
    assert (sky.ra_deg[0], sky.dec_deg[0]) == (12.5, 1.5)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"BANDS": None}, "bands not said"),
        ({"BANDS": "griz"}, "bands g, r, i, z"),
        ({"SURVEY": None}, "no unit in the header"),
        ({"BUNIT": "adu"}, "unit 'adu'"),
        ({"CD1_1": None, "CD2_2": None}, "no pixel scale"),
        ({"CD1_1": -0.396 / 3600, "CD2_2": 0.396 / 3600}, "pixel scale 0.396"),
    ],
)
def test_fits_headers_must_say_band_scale_and_unit(write_fits: Writer, cards: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_files_sky(config_of(write_fits(noise_images(n=1)[0], **cards)))


def test_real_decam_cutouts_are_read(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cutouts"
    paths = (folder / "des_lrg_30_grz.npz", folder / "dr9_south_256_grz.npz", folder / "dr5_spiral_225_grz.npz")
    sky = load_sky(config_of(*paths), cache_dir=tmp_path)
    assert_contract(sky, 32, 64)
    patch = np.load(paths[1])
    np.testing.assert_array_equal(sky.images[30], patch["images"][:, 96:160, 96:160])
    np.testing.assert_array_equal(sky.invvar[30], patch["invvar"][:, 96:160, 96:160])
    assert sky.ra_deg[30] == pytest.approx(59.1067)
    assert np.isnan(sky.ra_deg[:30]).all()
    # Between the shallowest DECaLS and the deepest DES sky.
    assert np.all((sky.psf_depth_mag[:31, 1] > 23.5) & (sky.psf_depth_mag[:31, 1] < 26.0))
    assert np.all(sky.images[:30, 1, 30:35, 30:35].sum(axis=(1, 2)) > 0.1)
