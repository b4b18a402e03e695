"""PSF images of cutout files: read, recentred or refused by name; their FWHM measured; real DR9 PSFs pass."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from dhs.config.sky import FilesSky, SplitConfig
from dhs.lens.psf import gaussian_kernel, moffat_kernel
from dhs.sky.files import load_files_sky
from dhs.sky.psf_images import centroid_px, checked_psf_images, fwhm_px, shifted

SCALE = 0.262
PATH = Path("field.npz")
NAMES = ["a", "b"]


def psfs(size_px: int = 63, n: int = 2) -> np.ndarray:
    """(n, 3, K, K), a seeing of its own each."""
    fwhm = torch.linspace(0.9, 1.5, 3 * n, dtype=torch.float64).reshape(n, 3)
    return moffat_kernel(fwhm, beta=3.5, size_px=size_px, pixel_scale_arcsec=SCALE).numpy()


@pytest.mark.parametrize("fwhm_arcsec", [0.7, 1.2, 2.0])
def test_the_fwhm_of_an_image_is_measured_back(fwhm_arcsec):
    fwhm = torch.tensor([fwhm_arcsec], dtype=torch.float64)
    moffat = moffat_kernel(fwhm, beta=3.5, size_px=63, pixel_scale_arcsec=SCALE)[0].numpy()
    gaussian = gaussian_kernel(fwhm, size_px=63, pixel_scale_arcsec=SCALE)[0].numpy()
    assert fwhm_px(moffat) * SCALE == pytest.approx(fwhm_arcsec, rel=0.01)
    assert fwhm_px(gaussian) * SCALE == pytest.approx(fwhm_arcsec, rel=0.01)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.3, -0.2), (-0.5, 0.5), (0.0, 0.9)])
def test_the_centroid_is_where_the_star_is_and_a_shift_moves_it(x, y):
    image = shifted(psfs()[0, 0], x, y)
    assert image.sum() == pytest.approx(psfs()[0, 0].sum(), rel=1e-9)
    assert centroid_px(image) == pytest.approx((x, y), abs=1e-3)


def test_centred_images_are_left_as_they_are():
    np.testing.assert_array_equal(checked_psf_images(psfs(), path=PATH, names=NAMES), psfs().astype(np.float32))


def test_an_image_off_its_middle_is_recentred_and_that_is_said(caplog):
    images = psfs()
    images[1, 2] = shifted(images[1, 2], 0.5, 0.0)  # a kernel made with an even side
    with caplog.at_level(logging.WARNING, logger="dhs"):
        ours = checked_psf_images(images, path=PATH, names=NAMES)
    assert "up to 0.50 px" in caplog.text
    assert np.abs(ours - psfs()).max() < 2e-3 * psfs().max()
    assert np.hypot(*centroid_px(ours[1, 2].astype(float))) < 1e-3


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: np.roll(p, 2, axis=-1), r"psf of 'a' in g is off its middle by \(\+2.00, .0.00\) px"),
        (lambda p: p[..., :62, :62], "62 px wide; allowed: an odd number"),
        (lambda p: p[:, :2], r"psf has shape \(2, 2, 63, 63\)"),
        (lambda p: p[..., 1:, :], "psf has shape"),
        (lambda p: p / p.max(), "sums to"),
        (lambda p: np.where(np.arange(2)[:, None, None, None] == 1, np.nan, p), "psf of 'b' in g is not finite"),
        (lambda p: p - 0.1 * p.max() * np.eye(63)[::-1] + 0.1 * p.max() * 63 / 63**2, "falls to"),
    ],
)
def test_bad_images_are_refused_in_one_line_that_names_file_cutout_and_band(spoil, words):
    with pytest.raises(ValueError, match=words) as error:
        checked_psf_images(spoil(psfs()), path=PATH, names=NAMES)
    assert str(error.value).startswith("field.npz: ")
    assert "\n" not in str(error.value)


def sky(paths: list[Path]) -> FilesSky:
    return FilesSky(name="files", paths=tuple(paths), split=SplitConfig())


def written(path: Path, *, psf: np.ndarray | None, bands: str = "grz") -> Path:
    rng = np.random.default_rng(1)
    arrays = {
        "images": rng.normal(0, 0.01, (2, 3, 64, 64)).astype(np.float32),
        "bands": np.array(list(bands)),
        "pixscale_arcsec": SCALE,
        "unit": "nanomaggy",
    }
    np.savez(path, **arrays, **({} if psf is None else {"psf": psf}))
    return path


def test_files_with_psf_images_of_different_sizes_make_one_sky(tmp_path):
    wide, narrow = psfs(63), psfs(41)
    paths = [written(tmp_path / "a.npz", psf=wide), written(tmp_path / "b.npz", psf=narrow[:, ::-1], bands="zrg")]
    cutouts = load_files_sky(sky(paths))
    assert cutouts.psf_images is not None and cutouts.psf_images.shape == (4, 3, 63, 63)
    np.testing.assert_array_equal(cutouts.psf_images[:2], wide.astype(np.float32))
    np.testing.assert_array_equal(cutouts.psf_images[2:, :, 11:-11, 11:-11], narrow.astype(np.float32))
    assert cutouts.psf_fwhm_arcsec[0] == pytest.approx([0.9, 1.02, 1.14], rel=0.01)


def test_a_file_without_psf_images_leaves_the_sky_without(tmp_path):
    paths = [written(tmp_path / "a.npz", psf=psfs()), written(tmp_path / "b.npz", psf=None)]
    assert load_files_sky(sky(paths)).psf_images is None


def test_the_coadd_psf_of_a_real_dr9_patch_passes_as_it_is(shared_data):
    path = shared_data / "cutouts" / "dr9_south_256_grz.npz"
    cutouts = load_files_sky(sky([path]))
    assert cutouts.psf_images is not None
    np.testing.assert_array_equal(cutouts.psf_images[0], np.load(path)["psf"])
    assert cutouts.psf_images.sum(axis=(-2, -1)) == pytest.approx(1.0, abs=1e-5)
    assert (cutouts.psf_fwhm_arcsec > 0.9).all() and (cutouts.psf_fwhm_arcsec < 1.6).all()
