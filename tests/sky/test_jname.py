"""J-names: truncated sexagesimal boxes, signs, short forms."""

import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from dhs.sky.jname import decode_jname, distance_arcsec


@given(st.floats(0, 359.9999), st.floats(-89.5, 89.5))
def test_a_truncated_name_written_by_astropy_decodes_to_its_position(ra, dec):
    coordinate = SkyCoord(ra * units.deg, dec * units.deg)
    text = (
        "SDSS J"
        + coordinate.ra.to_string(unit=units.hourangle, sep="", precision=4, pad=True)[:-2]
        + coordinate.dec.to_string(unit=units.deg, sep="", precision=3, alwayssign=True, pad=True)[:-2]
    )
    named = decode_jname(text)
    assert distance_arcsec(named, ra_deg=ra, dec_deg=dec) < 0.02
    assert named.size_arcsec < 0.16


@pytest.mark.parametrize("offset_arcsec", [2.0, 30.0, 600.0])
def test_distance_is_measured_from_the_box(offset_arcsec):
    named = decode_jname("SDSS J002907.77-005550.5")
    north = distance_arcsec(named, ra_deg=7.28239, dec_deg=named.dec_high_deg + offset_arcsec / 3600)
    assert north == pytest.approx(offset_arcsec, rel=1e-6)
    east = distance_arcsec(named, ra_deg=named.ra_high_deg + offset_arcsec / 3600, dec_deg=60.0)
    assert east > 60 * 3600  # far in declination


def test_a_position_across_ra_zero_is_near():
    named = decode_jname("J235959.99+000000.0")
    assert distance_arcsec(named, ra_deg=0.0001, dec_deg=0.00001) < 0.5


def test_southern_names_extend_away_from_zero():
    named = decode_jname("J002907.77-005550.5")
    assert named.dec_low_deg < named.dec_high_deg < 0
    assert named.dec_high_deg == pytest.approx(-(55 + 50.5 / 60) / 60)


def test_a_short_name_is_a_box_of_a_minute():
    assert decode_jname("SDSSJ0029-0055").size_arcsec == pytest.approx(900, rel=0.01)


@pytest.mark.parametrize("name", ["NGC 1068", "", "J2460-0055", "J0029-9955", "J002967.77-005550.5"])
def test_what_is_no_j_name_is_said_so(name):
    with pytest.raises(ValueError, match="J-name"):
        decode_jname(name)
