"""Cutouts from coadd bricks, against astropy's Cutout2D pixel for pixel."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.nddata.utils import NoOverlapError, PartialOverlapError
from astropy.wcs import WCS

from dhs.constants import BANDS
from dhs.sky.brick_grid import brick_of_position
from dhs.sky.coadd_bricks import BrickReader, brick_file
from dhs.sky.tile_plane import open_plane
from tests.sky.brick_files import IMAGE_STEP_NMGY, SCALE_DEG, brick_header, read_plane, write_brick

CENTRE = (34.7498, -15.0)
BRICK = "0347m150"
SHAPE = (430, 370)
"""No multiple of the tile: the last tiles are partial, as in a real brick they are not, so both must work."""


def draw_brick(root, brick, centre, *, seed, shape=SHAPE):
    """A brick of noise with a seeing gradient, a patch without data in g, and some mask bits."""
    rng = np.random.default_rng(seed)
    sigma = np.array([0.002, 0.0035, 0.008], np.float32)[:, None, None]
    images = (rng.standard_normal((3, *shape)) * sigma).astype(np.float32)
    invvar = (sigma**-2 * (1 + 0.05 * rng.random((3, *shape)))).astype(np.float32)
    images[0, :40, :60], invvar[0, :40, :60] = 0.0, 0.0
    maskbits = np.where(rng.random(shape) < 0.02, 1 << 12 | 1 << 15 | 1 << 16, 0).astype(np.int32)
    psfsize = np.linspace(1.0, 1.6, 3 * shape[0] * shape[1], dtype=np.float32).reshape(3, *shape)
    write_brick(root, brick, images=images, invvar=invvar, maskbits=maskbits, psfsize=psfsize, centre_deg=centre)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coadd")
    draw_brick(folder, BRICK, CENTRE, seed=1)
    return folder


def sky(x, y, *, brick=BRICK, centre=CENTRE, shape=SHAPE):
    return WCS(brick_header(brick, shape=shape, centre_deg=centre)).wcs_pix2world(x, y, 0)


def icrs_wcs(brick, centre):
    """EQUINOX = 2000 alone would be FK5, 20 mas away; the Legacy Survey's positions are Gaia's, ICRS."""
    header = brick_header(brick, shape=SHAPE, centre_deg=centre)
    header["RADESYS"] = "ICRS"
    return WCS(header)


def fetch(root, x, y, *, size_px=64):
    ra, dec = sky(np.atleast_1d(x).astype(float), np.atleast_1d(y).astype(float))
    return BrickReader(str(root), size_px=size_px).fetch(ra, dec, brick=np.full(len(ra), BRICK))


@pytest.mark.parametrize("size_px", [64, 101])
def test_cutouts_are_those_of_astropy_pixel_for_pixel(root, size_px):
    x, y = np.random.default_rng(2).uniform(60, 300, (2, 25))
    ra, dec = sky(x, y)
    fetched = fetch(root, x, y, size_px=size_px)
    assert set(fetched.reason) == {""}
    wcs = icrs_wcs(BRICK, CENTRE)
    for product, ours in (("image", fetched.images), ("invvar", fetched.invvar)):
        for i, band in enumerate(BANDS):
            plane = read_plane(root, BRICK, f"{product}-{band}")
            for row in range(len(x)):
                theirs = Cutout2D(plane, SkyCoord(ra[row], dec[row], unit="deg"), size_px, wcs=wcs, mode="strict")
                np.testing.assert_array_equal(ours[row, i], theirs.data)
    mask = read_plane(root, BRICK, "maskbits")
    for row in range(len(x)):
        theirs = Cutout2D(mask, SkyCoord(ra[row], dec[row], unit="deg"), size_px, wcs=wcs, mode="strict")
        np.testing.assert_array_equal(fetched.maskbits[row].view(np.uint16), (theirs.data & 0xFFFF).astype(np.uint16))


def test_the_offset_of_the_target_from_the_stamps_centre_puts_it_back_on_the_sky(root):
    x, y = np.random.default_rng(3).uniform(60, 300, (2, 40))
    fetched = fetch(root, x, y)
    assert np.abs(fetched.centre_arcsec).max() <= 0.5 * 0.262 + 1e-4
    assert np.abs(fetched.centre_arcsec).max() > 0.1
    left, bottom = np.rint(x - 31.5), np.rint(y - 31.5)
    np.testing.assert_allclose(fetched.centre_arcsec[:, 0] / 0.262, x - left - 31.5, atol=1e-4)
    np.testing.assert_allclose(fetched.centre_arcsec[:, 1] / 0.262, y - bottom - 31.5, atol=1e-4)


def test_a_point_source_lies_where_the_offset_says(tmp_path):
    """Independent of our pixel arithmetic: a Gaussian drawn at a sky position is found at centre + offset."""
    ra, dec = sky(181.3, 205.8)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    x, y = WCS(brick_header(BRICK, shape=SHAPE, centre_deg=CENTRE)).wcs_world2pix(ra, dec, 0)
    star = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 2.0**2)).astype(np.float32)
    flat = np.ones((3, *SHAPE), np.float32)
    write_brick(
        tmp_path,
        BRICK,
        images=star * flat,
        invvar=flat,
        maskbits=np.zeros(SHAPE, np.int32),
        psfsize=flat,
        centre_deg=CENTRE,
    )
    fetched = BrickReader(str(tmp_path), size_px=64).fetch(np.array([ra]), np.array([dec]), brick=np.array([BRICK]))
    image = fetched.images[0, 1].astype(float)
    axis = np.arange(64) - 31.5
    centroid = np.array([(image * axis).sum(), (image * axis[:, None]).sum()]) / image.sum() * 0.262
    np.testing.assert_allclose(centroid, fetched.centre_arcsec[0], atol=2e-3)


def test_quantisation_loses_less_than_half_a_step_and_keeps_exact_zeros(tmp_path):
    rng = np.random.default_rng(5)
    images = (0.004 * rng.standard_normal((3, *SHAPE))).astype(np.float32)
    invvar = np.full((3, *SHAPE), 1e5, np.float32) * (1 + 0.1 * rng.random((3, *SHAPE))).astype(np.float32)
    images[:, 150:170, 150:170], invvar[:, 150:170, 150:170] = 0.0, 0.0
    zeros = np.zeros(SHAPE, np.int32)
    write_brick(
        tmp_path, BRICK, images=images, invvar=invvar, maskbits=zeros, psfsize=np.ones_like(images), centre_deg=CENTRE
    )
    fetched = fetch(tmp_path, 161.5, 161.5)
    truth = images[:, 130:194, 130:194]
    assert np.abs(fetched.images[0] - truth).max() <= 0.5 * IMAGE_STEP_NMGY * 1.001
    np.testing.assert_array_equal(fetched.invvar[0] == 0, invvar[:, 130:194, 130:194] == 0)
    assert (fetched.invvar[0] == 0).sum() == 3 * 400


def test_psfsize_is_the_maps_value_at_the_targets_pixel(root):
    fetched = fetch(root, [100.2, 250.0], [220.4, 300.6])
    for i, band in enumerate(BANDS):
        plane = read_plane(root, BRICK, f"psfsize-{band}")
        np.testing.assert_array_equal(fetched.psfsize_arcsec[:, i], [plane[220, 100], plane[301, 250]])


@pytest.mark.parametrize("product", ["image-g", "invvar-r", "maskbits", "psfsize-z"])
def test_tiles_are_those_of_astropys_public_section(root, product):
    path = brick_file(str(root), BRICK, product)
    with open_plane(path) as plane, fits.open(path) as hdus:
        for row, first, last in ((0, 0, 0), (1, 1, 2), (4, 2, 3), (4, 3, 3)):
            theirs = hdus[1].section[row * 100 : (row + 1) * 100, first * 100 : (last + 1) * 100]
            np.testing.assert_array_equal(plane.read(row, first, last), theirs)


def test_each_file_of_a_brick_is_opened_once(root, monkeypatch):
    opened = []
    real = fits.open
    monkeypatch.setattr(fits, "open", lambda path, *a, **k: opened.append(path) or real(path, *a, **k))
    fetch(root, np.linspace(80, 280, 30), np.linspace(80, 330, 30))
    assert len(opened) == len(set(opened)) == 10


def test_stamps_that_leave_the_brick_are_named_and_hold_nothing(root):
    x, y = np.array([20.0, 184.0, 340.0, 184.0, -40.0]), np.array([200.0, 410.0, 200.0, 200.0, 200.0])
    fetched = fetch(root, x, y)
    assert fetched.reason == ["edge", "edge", "edge", "", "outside_brick"]
    assert "pixel (20.0, 200.0) of 370x430" in fetched.detail[0]
    assert (fetched.images[[0, 1, 2, 4]] == 0).all() and (fetched.invvar[[0, 1, 2, 4]] == 0).all()
    plane = read_plane(root, BRICK, "image-r")
    for where, error in (((20, 200), PartialOverlapError), ((-40, 200), NoOverlapError)):
        with pytest.raises(error):  # astropy agrees
            Cutout2D(plane, where, 64, mode="strict")


def test_a_galaxy_near_the_edge_is_cut_whole_from_the_neighbour(tmp_path):
    north = str(brick_of_position(np.array([34.75]), np.array([-14.8]))[0])
    border = -14.875
    own, other = (
        (CENTRE[0], border - 0.5 * SHAPE[0] * SCALE_DEG + 0.0015),
        (CENTRE[0], border + 0.5 * SHAPE[0] * SCALE_DEG - 0.006),
    )
    draw_brick(tmp_path, BRICK, own, seed=1)
    draw_brick(tmp_path, north, other, seed=2)
    ra, dec = np.array([CENTRE[0]]), np.array([border - 0.0005])
    fetched = BrickReader(str(tmp_path), size_px=64).fetch(ra, dec, brick=np.array([BRICK]))
    assert fetched.reason == [""] and fetched.brick == [north]
    plane = read_plane(tmp_path, north, "image-r")
    wcs = icrs_wcs(north, other)
    theirs = Cutout2D(plane, SkyCoord(ra[0], dec[0], unit="deg"), 64, wcs=wcs, mode="strict")
    np.testing.assert_array_equal(fetched.images[0, 1], theirs.data)


def test_the_real_dr9_patch_written_as_a_brick_comes_back(shared_data, tmp_path):
    real = np.load(shared_data / "cutouts" / "dr9_south_256_grz.npz", allow_pickle=False)
    ra, dec = float(real["ra_deg"]), float(real["dec_deg"])
    brick = str(brick_of_position(np.array([ra]), np.array([dec]))[0])
    images, shape = real["images"], real["images"].shape[1:]
    write_brick(
        tmp_path,
        brick,
        images=images,
        invvar=real["invvar"],
        maskbits=np.zeros(shape, np.int32),
        psfsize=np.full_like(images, 1.2),
        centre_deg=(ra, dec),
    )
    fetched = BrickReader(str(tmp_path), size_px=64).fetch(np.array([ra]), np.array([dec]), brick=np.array([brick]))
    assert fetched.reason == [""]
    np.testing.assert_allclose(fetched.centre_arcsec, 0.0, atol=1e-4)  # an even patch: the target is its very centre
    truth = images[:, 96:160, 96:160]
    assert np.abs(fetched.images[0] - truth).max() <= 0.5 * IMAGE_STEP_NMGY * 1.001
    wanted = real["invvar"][:, 96:160, 96:160]
    assert np.median(np.abs(fetched.invvar[0] / wanted - 1)) < 0.02


def test_a_folder_at_an_fsspec_url_gives_the_same(root):
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in (root / BRICK[:3] / BRICK).iterdir():
        memory.pipe(f"/dr10/{BRICK[:3]}/{BRICK}/{path.name}", path.read_bytes())
    ra, dec = sky(np.array([150.0]), np.array([200.0]))
    remote = BrickReader("memory://dr10", size_px=64).fetch(ra, dec, brick=np.array([BRICK]))
    assert remote.reason == [""]
    np.testing.assert_array_equal(remote.images, fetch(root, 150, 200).images)
    missing = BrickReader("memory://dr10", size_px=64).fetch(ra, dec, brick=np.array(["0350m150"]))
    assert missing.brick == [BRICK]  # the grid's own brick, where the list names another that is not there


@pytest.fixture
def own_root(tmp_path):
    draw_brick(tmp_path, BRICK, CENTRE, seed=1)
    return tmp_path


def file_of(root, product):
    return root / BRICK[:3] / BRICK / f"legacysurvey-{BRICK}-{product}.fits.fz"


def test_a_missing_band_is_named(own_root):
    file_of(own_root, "invvar-z").unlink()
    fetched = fetch(own_root, 150, 200)
    assert fetched.reason == ["brick_missing"] and "invvar-z" in fetched.detail[0]


def test_a_missing_psfsize_map_is_no_fault_of_the_pixels(own_root):
    file_of(own_root, "psfsize-g").unlink()
    fetched = fetch(own_root, 150, 200)
    assert fetched.reason == [""]
    assert np.isnan(fetched.psfsize_arcsec[0, 0]) and np.isfinite(fetched.psfsize_arcsec[0, 1:]).all()


@pytest.mark.parametrize("damage", ["truncated", "cut short", "text", "empty", "tile"])
def test_an_unreadable_file_is_named_and_stops_nothing(own_root, damage):
    path = file_of(own_root, "image-z")
    whole = path.read_bytes()
    if damage == "tile":
        with fits.open(path) as hdus:
            start = hdus[1].fileinfo()["datLoc"]
        bad = whole[:start] + bytes(255 for _ in range(4000)) + whole[start + 4000 :]
    else:
        bad = {
            "truncated": whole[: len(whole) // 2],
            "cut short": whole[:-2880],
            "text": b"<html>busy</html>" * 500,
        }.get(damage, b"")
    path.write_bytes(bad)
    fetched = fetch(own_root, [150.0, 180.0], [200.0, 210.0])
    assert fetched.reason == ["brick_unreadable"] * 2
    assert BRICK in fetched.detail[0]


def test_another_pixel_scale_or_unit_is_no_coadd(own_root):
    path = file_of(own_root, "image-r")
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["BUNIT"] = "counts"
    assert "unit 'counts'" in fetch(own_root, 150, 200).detail[0]


def test_positions_that_are_none_and_the_far_side_of_the_sky_are_failures_of_their_own(root):
    ra, dec = np.array([np.nan, 214.75, 34.75]), np.array([0.0, 15.0, -15.0])
    fetched = BrickReader(str(root), size_px=64).fetch(ra, dec, brick=np.array(["", BRICK, BRICK]))
    assert fetched.reason == ["bad_position", "outside_brick", ""]
