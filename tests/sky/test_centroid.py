"""Measured centres against the mock survey's truth and real galaxies."""

import numpy as np
import pytest

from dhs.constants import CLASSES, PIXEL_SCALE_ARCSEC
from dhs.sky.centroid import MAX_SHIFT_PX, measured_centres_arcsec
from dhs.sky.cutouts import CutoutSet, good_pixels


def centres(cutouts: CutoutSet, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return measured_centres_arcsec(
        images,
        good=good_pixels(cutouts.invvar, cutouts.maskbits),
        psf_fwhm_arcsec=cutouts.psf_fwhm_arcsec,
        pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
    )


@pytest.fixture(scope="module")
def lrgs(mock_set: CutoutSet) -> CutoutSet:
    return mock_set.take(np.flatnonzero(mock_set.kind == CLASSES.index("lrg")))


def test_mock_galaxies_lie_where_the_set_says(lrgs: CutoutSet) -> None:
    x, y = centres(lrgs, lrgs.images)
    assert np.isfinite(x).mean() > 0.97
    for got, truth in ((x, lrgs.centre_x_arcsec), (y, lrgs.centre_y_arcsec)):
        error_px = np.abs(got - truth)[np.isfinite(x)] / PIXEL_SCALE_ARCSEC
        assert np.median(error_px) < 0.06
        assert np.quantile(error_px, 0.9) < 0.2
    # The set is right about the axes: swapped columns would not do.
    good = np.isfinite(x)
    assert np.corrcoef(x[good], lrgs.centre_x_arcsec[good])[0, 1] > 0.85
    assert abs(np.corrcoef(x[good], lrgs.centre_y_arcsec[good])[0, 1]) < 0.2


def test_a_galaxy_moved_by_a_pixel_moves_its_centre_by_one(lrgs: CutoutSet) -> None:
    x, y = centres(lrgs, lrgs.images)
    moved_x, moved_y = centres(lrgs, np.roll(lrgs.images, 1, axis=-1))
    both = np.isfinite(x) & np.isfinite(moved_x)
    assert np.median((moved_x - x)[both]) == pytest.approx(PIXEL_SCALE_ARCSEC, rel=0.02)
    assert np.median(np.abs(moved_y - y)[both]) < 0.01 * PIXEL_SCALE_ARCSEC


def test_an_empty_or_masked_stamp_has_no_centre(lrgs: CutoutSet) -> None:
    one = lrgs.take(np.arange(1))
    x, _ = centres(one, -np.ones_like(one.images) * np.hypot(*np.ogrid[-3:3:64j, -3:3:64j]).astype(np.float32) * -1)
    assert np.isnan(x).all()
    x, y = measured_centres_arcsec(
        one.images, good=np.zeros(one.images.shape, bool), psf_fwhm_arcsec=one.psf_fwhm_arcsec, pixel_scale_arcsec=0.262
    )
    assert np.isnan(x).all()
    assert np.isnan(y).all()


def test_real_cutouts_have_every_sub_pixel_phase(shared_data) -> None:
    """30 DECam LRGs, 91 px cut to 64: centres within a pixel of the file's own, spread over the whole pixel."""
    with np.load(shared_data / "cutouts" / "des_lrg_30_grz.npz") as file:
        images = file["images"][:, :, 13:77, 13:77]
    n = len(images)
    x, y = measured_centres_arcsec(
        images, good=np.ones(images.shape, bool), psf_fwhm_arcsec=np.full((n, 3), 1.1), pixel_scale_arcsec=0.263
    )
    for centre in (x / 0.263, y / 0.263):
        assert np.isfinite(centre).all()
        assert np.abs(centre).max() < MAX_SHIFT_PX
        assert centre.min() > -0.2
        assert centre.max() < 1.2  # 91 -> 64: half a pixel towards +x, +y (dhs.sky.files)
        assert centre.std() == pytest.approx(1 / np.sqrt(12), rel=0.3)
