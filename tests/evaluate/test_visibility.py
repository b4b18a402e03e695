"""Visibility grades: an arc that is there is seen, a smooth galaxy has none, a human has the last word."""

import numpy as np
import pytest

from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.evaluate.visibility import UNGRADED, read_grades, ring_snr, sis_theta_e_arcsec, visibility
from dhs.sky.anchors import slacs_bells
from tests.sky.test_anchors import cutouts_of, galaxy


def with_arc(image: np.ndarray, *, theta_e: float, flux: float) -> np.ndarray:
    """A 90-degree arc of ``flux`` nMgy in every band."""
    axis = (np.arange(64) - 31.5) * PIXEL_SCALE_ARCSEC
    x, y = np.meshgrid(axis, axis)
    arc = np.exp(-0.5 * ((np.hypot(x, y) - theta_e) / 0.45) ** 2) * (np.abs(np.arctan2(y, x)) < np.pi / 4)
    return image + flux * arc / arc.sum()


def measured(image: np.ndarray, theta_e: float = 1.6) -> float:
    return ring_snr(
        image[0],
        invvar=np.full((64, 64), 0.003**-2),
        good=np.ones((64, 64), bool),
        theta_e_arcsec=theta_e,
        fwhm_arcsec=1.2,
    )


def test_a_smooth_galaxy_has_no_ring():
    values = [measured(galaxy(18.0) + np.random.default_rng(i).normal(0, 0.003, (3, 64, 64))) for i in range(20)]
    assert np.median(values) < 7  # clipping leaves a small bias, well below grade B's 10
    assert np.max(values) < 15


@pytest.mark.parametrize("flux_nmgy", [1.0, 2.0, 4.0])
def test_the_snr_of_an_arc_is_that_of_its_light(flux_nmgy):
    n_ring = np.pi * ((1.6 + 0.72) ** 2 - (1.6 - 0.72) ** 2) / PIXEL_SCALE_ARCSEC**2
    truth = flux_nmgy * 0.89 / (0.003 * np.sqrt(n_ring))  # 0.89 of a Gaussian arc lies in the ring
    assert measured(with_arc(galaxy(18.0), theta_e=1.6, flux=flux_nmgy)) == pytest.approx(truth, rel=0.15)


def test_grades_follow_the_ring_and_the_seeing():
    anchors = slacs_bells()
    wide = int(np.flatnonzero(anchors.theta_e_arcsec > 1.5)[0])
    narrow = int(np.flatnonzero(anchors.theta_e_arcsec < 0.9)[0])
    images = [galaxy(18.0)] * 125
    images[wide] = with_arc(galaxy(18.0), theta_e=float(anchors.theta_e_arcsec[wide]), flux=4.0)
    cutouts = cutouts_of(anchors, images)
    graded = visibility(anchors, cutouts=cutouts, cutout_row=np.arange(125), by_hand={})
    assert graded.grade[wide] == "A"
    assert graded.grade[narrow] == "C"
    rows = np.arange(125)
    rows[wide] = -1
    assert visibility(anchors, cutouts=cutouts, cutout_row=rows, by_hand={}).grade[wide] == UNGRADED


def test_a_human_grade_overrides_and_is_marked(tmp_path):
    anchors = slacs_bells()
    path = tmp_path / "grades.csv"
    path.write_text(f"name,grade\n{anchors.name[3]},A\n")
    graded = visibility(anchors, cutouts=None, cutout_row=np.full(125, -1), by_hand=read_grades(path))
    assert graded.grade[3] == "A"
    assert graded.by_hand.sum() == 1
    assert (graded.grade[np.arange(125) != 3] == UNGRADED).all()


@pytest.mark.parametrize(("text", "words"), [("name,mark\na,A\n", "name, grade"), ("name,grade\na,D\n", "A, B, C")])
def test_bad_grades_are_named(tmp_path, text, words):
    path = tmp_path / "grades.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_grades(path)


def test_einstein_radii_from_velocity_dispersions_are_those_published_within_a_fifth():
    anchors = slacs_bells()
    ratio = sis_theta_e_arcsec(anchors) / anchors.theta_e_arcsec
    assert 0.8 < np.nanmedian(ratio) < 1.1
    assert np.nanstd(ratio) < 0.2
