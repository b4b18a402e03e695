"""Anchor lists and their audit: the 125 pass, the seeds' 68 fail, and an anchor without a galaxy never counts."""

import csv

import numpy as np
import pytest

from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.sky.anchor_audit import AuditLimits, audit, central_object, find_cutouts
from dhs.sky.anchors import AnchorList, read_anchors, slacs_bells
from dhs.sky.cutouts import CutoutSet
from dhs.sky.known_lenses import lenscat, nearest

LIMITS = AuditLimits()


def galaxy(r_mag: float, *, x_arcsec: float = 0.0, y_arcsec: float = 0.0, size: int = 64) -> np.ndarray:
    """(3, size, size) nMgy: a round exponential of that total magnitude on DECam noise."""
    axis = (np.arange(size) - (size - 1) / 2) * PIXEL_SCALE_ARCSEC
    radius = np.hypot(axis - x_arcsec, (axis - y_arcsec)[:, None])
    light = np.exp(-radius / 0.5)
    noise = np.random.default_rng(4).normal(0, 0.003, (3, size, size))
    return light / light.sum() * 10 ** (0.4 * (22.5 - r_mag)) + noise


def cutouts_of(anchors: AnchorList, images: list[np.ndarray]) -> CutoutSet:
    n = len(images)
    return CutoutSet(
        target_id=np.arange(n),
        images=np.array(images, np.float32),
        invvar=np.full((n, 3, 64, 64), 0.003**-2, np.float32),
        maskbits=np.zeros((n, 64, 64), np.int16),
        psf_fwhm_arcsec=np.full((n, 3), 1.2, np.float32),
        psf_depth_mag=np.full((n, 3), 24.0, np.float32),
        ra_deg=anchors.ra_deg[:n],
        dec_deg=anchors.dec_deg[:n],
        kind=np.zeros(n, np.int8),
        split=np.zeros(n, np.int8),
        mag=np.full((n, 3), np.nan, np.float32),
        axis_ratio=np.full(n, np.nan, np.float32),
        position_angle_rad=np.full(n, np.nan, np.float32),
        redshift=np.full(n, np.nan, np.float32),
    )


@pytest.fixture
def wrong(shared_data):
    return read_anchors(shared_data / "anchors" / "seeds_wrong_positions.csv")


def test_the_list_that_comes_with_the_package_is_that_of_the_verified_facts(shared_data):
    ours = slacs_bells()
    assert len(ours) == 125
    assert {name: int((ours.survey == name).sum()) for name in np.unique(ours.survey)} == {
        "BELLS": 24,
        "S4TM": 38,
        "SLACS": 63,
    }
    with (shared_data / "anchors" / "slacs_s4tm_bells.csv").open() as file:
        theirs = list(csv.DictReader(file))
    assert [row["sdss_name"] for row in theirs] == ours.sdss_name.tolist()
    np.testing.assert_array_equal([float(row["ra_deg"]) for row in theirs], ours.ra_deg)
    assert int(np.isfinite(ours.theta_e_arcsec).sum()) == 57


def test_the_125_pass_name_and_catalogue_and_count_only_with_a_galaxy_in_their_cutout():
    anchors = slacs_bells()
    without = audit(anchors, known=lenscat(), cutouts=None)
    assert (without.jname == "pass").all()
    assert (without.catalogue == "pass").all()
    assert int((without.catalogue_arcsec < 1).sum()) == 123
    assert not without.failed.any()
    assert not without.counts.any()  # nobody has looked at the pixels
    cutouts = cutouts_of(anchors, [galaxy(18.0)] * 125)
    assert audit(anchors, known=lenscat(), cutouts=cutouts).counts.all()


def test_all_68_positions_of_the_seeds_fail_with_and_without_pixels(wrong):
    assert len(wrong) == 68
    found = audit(wrong, known=lenscat(), cutouts=None)
    assert found.failed.all()
    assert found.catalogue_arcsec.min() == pytest.approx(20.7, abs=0.1)
    assert found.jname_is_short.all()  # their names agree to the minute and prove nothing
    cutouts = cutouts_of(wrong, [galaxy(18.0)] * 68)
    assert not audit(wrong, known=lenscat(), cutouts=cutouts).counts.any()


def test_a_position_that_disagrees_with_its_own_name_fails():
    anchors = slacs_bells()
    moved = AnchorList(**{**vars(anchors), "dec_deg": anchors.dec_deg + 1.7 / 3600})
    found = audit(moved, known=lenscat(), cutouts=None)
    assert (found.jname == "fail").all()
    assert "from its own J-name" in found.reason[0]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (galaxy(40.0), "no object"),
        (galaxy(21.0), "r = 21"),
        (galaxy(18.0, x_arcsec=2.0), "2.0 arcsec from the centre"),
        (galaxy(18.0, y_arcsec=-1.5), "arcsec from the centre"),
    ],
)
def test_a_cutout_without_a_bright_galaxy_at_its_centre_fails(image, words):
    anchors = slacs_bells()
    found = audit(anchors, known=lenscat(), cutouts=cutouts_of(anchors, [image]))
    assert found.pixels[0] == "fail"
    assert words in found.reason[0]
    assert not found.counts[0]


def test_a_bright_neighbour_does_not_hide_the_central_galaxy():
    both = galaxy(18.0) + galaxy(16.0, x_arcsec=5.0)
    found = central_object(both[1], good=np.ones((64, 64), bool), search_arcsec=1.0)
    assert found.distance_arcsec < 0.3


def test_masked_pixels_are_not_looked_at():
    assert np.isnan(central_object(galaxy(18.0)[1], good=np.zeros((64, 64), bool), search_arcsec=1.0).r_mag)


def test_cutouts_are_found_by_position_not_by_order():
    anchors = slacs_bells()
    cutouts = cutouts_of(anchors, [galaxy(18.0)] * 5).take(np.array([4, 2, 0]))
    assert find_cutouts(anchors, cutouts)[:5].tolist() == [2, -1, 1, -1, 0]


def test_hard_negatives_need_no_lens_in_a_catalogue(tmp_path):
    path = tmp_path / "rings.csv"
    path.write_text("name,ra_deg,dec_deg,kind\nring one,150.0,2.0,ring\n")
    rings = read_anchors(path)
    found = audit(rings, known=lenscat(), cutouts=cutouts_of(rings, [galaxy(17.0)]))
    assert found.catalogue[0] == "not checked"
    assert found.counts[0]


def test_the_second_catalogue_is_read_whole():
    known = lenscat()
    assert len(known.name) > 30_000
    row, separation = nearest(known.ra_deg[:50], known.dec_deg[:50], known=known)
    assert (separation < 0.01).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,ra,dec\na,1,2\n", "ra_deg is missing"),
        ("", "name is missing"),
        ("name,ra_deg,dec_deg\n", "empty"),
        ("name,ra_deg,dec_deg\na,one,2\n", "ra_deg = 'one'"),
        ("name,ra_deg,dec_deg\na,1,95\n", "-90 <= dec_deg"),
        ("name,ra_deg,dec_deg\na,,2\n", "must be degrees"),
        ("name,ra_deg,dec_deg\na,1,2\na,3,4\n", "2 times"),
        ("name,ra_deg,dec_deg\n,1,2\n", "has no name"),
        ("name,ra_deg,dec_deg\n" + "".join(f"n{i},{2 * i},{6 * i - 30}\n" for i in range(12)), "hours"),
    ],
)
def test_a_bad_list_is_one_line_that_says_what_and_where(tmp_path, text, words):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_anchors(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
