"""LRG cuts, shapes, depths and the unit traps: the meaning of catalogue columns."""

import csv
from pathlib import Path

import numpy as np
import pytest
from astropy.wcs import WCS

from dhs.sky.catalogue_checks import (
    brick_centres,
    depth_mag,
    require_degrees,
    require_invvar,
    require_magnitudes,
)
from dhs.sky.lrg_cuts import LRG_CUTS, lrg_bits, magnitude, passes
from dhs.sky.target_table import gets_arc, target_id
from dhs.sky.tractor_shapes import axis_ratio_and_angle

SCIENCE_SECTION_4 = {
    "v1": (20.0, 0.5, 1.6),
    "v2": (20.4, 0.4, 1.6),
    "v3": (20.4, 0.4, 0.8),
    "v4": (21.0, 0.4, 0.8),
    "v5": (21.5, 0.3, 0.8),
}


@pytest.mark.parametrize("name", SCIENCE_SECTION_4)
def test_each_cut_takes_a_galaxy_just_inside_and_none_just_outside(name: str) -> None:
    z_max, r_z, z_w1 = SCIENCE_SECTION_4[name]
    z = np.array([z_max - 0.01, z_max + 0.01, z_max - 0.01, z_max - 0.01, np.nan])
    r = z + r_z + np.array([0.01, 0.01, -0.01, 0.01, 0.01])
    w1 = z - z_w1 - np.array([0.01, 0.01, 0.01, -0.01, 0.01])
    assert passes(r, z, w1, cut=LRG_CUTS[name]).tolist() == [True, False, False, False, False]


def test_bits_agree_with_the_cuts_and_looser_cuts_hold_stricter_ones() -> None:
    rng = np.random.default_rng(1)
    z = rng.uniform(17, 22, 5000)
    r, w1 = z + rng.uniform(-0.5, 2, 5000), z - rng.uniform(-0.5, 3, 5000)
    bits = lrg_bits(r, z, w1)
    taken = {}
    for k, (name, cut) in enumerate(LRG_CUTS.items()):
        taken[name] = passes(r, z, w1, cut=cut)
        assert np.array_equal((bits >> k) & 1 == 1, taken[name])
        assert 0.02 < taken[name].mean() < 0.8
    for strict, loose in zip(list(taken)[:-1], list(taken)[1:], strict=True):
        assert not (taken[strict] & ~taken[loose]).any()


def test_real_dr10_parents_pass_the_cut_they_were_selected_by(shared_data: Path) -> None:
    """Every published parent passes v3 on its FLUX columns, at its very thresholds, and most fail v2 (z - W1 > 1.6)."""
    with (shared_data / "survey" / "dr10_lrg_parents.csv").open() as file:
        rows = list(csv.DictReader(file))
    mags = {band: magnitude(np.array([float(row[f"FLUX_{band}"]) for row in rows])) for band in ("G", "R", "Z", "W1")}
    r, z, w1 = mags["R"], mags["Z"], mags["W1"]
    assert len(rows) == 7730
    assert np.isnan(mags["G"]).any()  # some have no positive g flux; the cut does not need g
    for name, share in {"v1": 0.0502, "v2": 0.1203, "v3": 1.0, "v4": 1.0, "v5": 1.0}.items():
        assert passes(r, z, w1, cut=LRG_CUTS[name]).mean() == pytest.approx(share, abs=1e-4)
    cut = LRG_CUTS["v3"]
    assert 0 < cut.z_mag_max - z.max() < 1e-3
    assert 0 < (r - z).min() - cut.r_z_min < 1e-3
    assert 0 < (z - w1).min() - cut.z_w1_min < 1e-3


def test_magnitudes_are_above_the_dust() -> None:
    flux, ebv = np.array([10.0, 10.0, -1.0, 0.0]), 0.1
    transmission = np.full(4, 10 ** (-0.4 * 2.165 * ebv))
    observed, dereddened = magnitude(flux), magnitude(flux, transmission=transmission)
    assert observed[0] == pytest.approx(20.0)
    assert (observed - dereddened)[:2] == pytest.approx(2.165 * ebv)
    assert np.isnan(observed[2:]).all()


def tractor_moments(e1: float, e2: float) -> np.ndarray:
    """Covariance in (delta RA cos Dec, delta Dec) as Tractor's EllipseE.getRaDecBasis defines it, r = 1 arcsec."""
    theta, e = 0.5 * np.arctan2(e2, e1), np.hypot(e1, e2)
    ab = (1 + e) / (1 - e)
    basis = np.array([[np.cos(theta) / ab, np.sin(theta)], [-np.sin(theta) / ab, np.cos(theta)]])
    return basis @ basis.T


@pytest.mark.parametrize(("e1", "e2"), [(0.5, 0.0), (-0.5, 0.0), (0.0, 0.4), (0.0, -0.4), (0.21, -0.33), (-0.1, 0.6)])
def test_angle_and_axis_ratio_are_those_of_the_galaxy_drawn_on_a_survey_stamp(e1: float, e2: float) -> None:
    """Tractor's ellipse, put on pixels by a coadd's WCS (North up, East left), measured by its second moments."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [59.1, -30.5], [51.0, 51.0]
    wcs.wcs.cd = np.diag([-0.1, 0.1]) / 3600.0
    y, x = np.mgrid[:101, :101]
    sky = wcs.pixel_to_world(x, y)
    east = (sky.ra.deg - 59.1) * np.cos(np.radians(-30.5)) * 3600.0
    north = (sky.dec.deg + 30.5) * 3600.0
    inverse = np.linalg.inv(tractor_moments(e1, e2))
    image = np.exp(-0.5 * (inverse[0, 0] * east**2 + 2 * inverse[0, 1] * east * north + inverse[1, 1] * north**2))
    dx, dy = x - (image * x).sum() / image.sum(), y - (image * y).sum() / image.sum()
    xx, yy, xy = ((image * product).sum() / image.sum() for product in (dx * dx, dy * dy, dx * dy))
    measured_angle = 0.5 * np.arctan2(2 * xy, xx - yy) % np.pi
    low, high = np.linalg.eigvalsh([[xx, xy], [xy, yy]])
    ratio, angle = axis_ratio_and_angle(np.array([e1]), np.array([e2]), has_shape=np.array([True]))
    assert ratio[0] == pytest.approx(np.sqrt(low / high), rel=0.02)
    assert abs((angle[0] - measured_angle + np.pi / 2) % np.pi - np.pi / 2) < 0.01


def test_round_by_construction_is_unknown_not_round() -> None:
    ratio, angle = axis_ratio_and_angle(np.array([0.0, 0.3, 1.2]), np.zeros(3), has_shape=np.array([False, True, True]))
    assert np.isnan(ratio).tolist() == [True, False, True]
    assert np.isnan(angle).tolist() == [True, False, True]


def test_depth_of_an_inverse_variance_is_its_five_sigma_magnitude() -> None:
    sigma_nmgy = 10.0 ** ((22.5 - 24.0) / 2.5) / 5.0
    assert depth_mag(np.array([sigma_nmgy**-2.0])) == pytest.approx([24.0], abs=1e-5)
    assert np.isnan(depth_mag(np.array([0.0]))).all()


def test_depths_given_as_magnitudes_are_refused_where_inverse_variances_belong() -> None:
    mags = np.random.default_rng(0).normal(24.2, 0.4, (3, 500))
    with pytest.raises(ValueError, match=r"a\.fits: PSFDEPTH from 2.* are AB magnitudes; allowed: inverse variances"):
        require_invvar(mags, mags - 0.3, where="a.fits")
    with pytest.raises(ValueError, match="AB magnitudes"):
        require_invvar(mags, None, where="a.fits")


@pytest.mark.parametrize("depth", [21.0, 22.4, 22.5, 24.0, 25.5])
def test_inverse_variances_of_any_depth_are_taken(depth: float) -> None:
    """At 22.4 to 22.5 mag they are 20 to 25, as magnitudes are: GALDEPTH tells them apart."""
    mags = np.random.default_rng(0).normal(depth, 0.02, (3, 500))
    invvar = 25.0 * 10.0 ** ((2 * mags - 45.0) / 2.5)
    require_invvar(invvar, 0.6 * invvar, where="a.fits")


def test_inverse_variances_are_refused_where_a_brick_table_has_magnitudes() -> None:
    require_magnitudes(np.array([24.1, 23.2, 0.0]), where="bricks.fits")
    with pytest.raises(ValueError, match=r"bricks\.fits: psfdepth up to 900\.0 are inverse variances; allowed: AB"):
        require_magnitudes(np.array([24.1, 900.0]), where="bricks.fits")


def test_right_ascension_in_hours_is_told_by_the_brick_names() -> None:
    rng = np.random.default_rng(0)
    dec = rng.uniform(-15.1, -14.9, 50)
    ra = rng.uniform(34.65, 34.85, 50)
    brick = np.full(50, "0347m150")
    require_degrees(ra, dec, brick, where="a.fits")
    with pytest.raises(ValueError, match=r"a\.fits: RA is in hours \(up to 2\.3"):
        require_degrees(ra / 15.0, dec, brick, where="a.fits")
    with pytest.raises(ValueError, match="positions do not lie in their bricks"):
        require_degrees(np.radians(ra), np.radians(dec), brick, where="a.fits")


def test_brick_names_decode_to_positions_across_the_equator_and_ra_zero() -> None:
    ra, dec = brick_centres(np.array(["0347m150", "3599p002", "0001m002", "garbage"]))
    assert ra[:3].tolist() == [34.7, 359.9, 0.1]
    assert dec[:3].tolist() == [-15.0, 0.2, -0.2]
    assert np.isnan([ra[3], dec[3]]).all()
    require_degrees(np.array([0.01]), np.array([0.1]), np.array(["3599p002"]), where="a.fits")


def brick_of_id(brickid: int) -> tuple[float, float]:
    """Dec and RA of the centre of a brick: rows of 0.25 degrees from pole to pole, an even number of bricks each."""
    dec = np.arange(-90.0, 90.01, 0.25)
    nearer_equator = np.maximum(np.abs(dec) - 0.125, 0.0)
    columns = np.ceil(360.0 / 0.25 * np.cos(np.radians(nearer_equator))).astype(int)
    columns += columns % 2
    columns[[0, -1]] = 1
    assert columns.sum() == 662_174  # legacysurvey.org/dr10/catalogs: Brick ID [1,662174]
    first = np.concatenate([[0], np.cumsum(columns)])
    row = int(np.searchsorted(first, brickid - 1, side="right")) - 1
    return float(dec[row]), float((brickid - 1 - first[row] + 0.5) * 360.0 / columns[row])


def test_target_ids_are_those_of_desi() -> None:
    """A published DESI target (PROVABGS catalogue: RA 213.449417, Dec -1.494071) decodes to the brick it lies in."""
    published = 39627752067830488
    release, brickid, objid = published >> 42, (published >> 22) & 0xFFFFF, published & 0x3FFFFF
    assert release == 9010  # DR9 south
    row, centre = brick_of_id(brickid)
    assert (row, centre) == (-1.5, 213.375)
    columns = (np.array([value], dtype) for value, dtype in ((release, ">i2"), (brickid, ">i4"), (objid, ">i4")))
    one = target_id(*columns)
    assert one.dtype == np.int64
    assert one.tolist() == [published]
    with pytest.raises(ValueError, match="OBJID from 0 to 5000000: allowed are 0 to 4194303"):
        target_id(np.array([1, 1]), np.array([1, 1]), np.array([0, 5_000_000]))


def test_about_half_of_the_hosts_get_arcs_and_the_id_alone_decides() -> None:
    ids = np.arange(4000) + (10 << 42)
    arcs = gets_arc(ids)
    assert 0.47 < arcs.mean() < 0.53
    assert np.array_equal(gets_arc(ids[::-1]), arcs[::-1])
