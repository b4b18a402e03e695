"""The early-type table, drawn again from GalSim's spectrum and bandpasses."""

from pathlib import Path

import numpy as np
import pytest

from dhs import early_types
from dhs.cosmology import cosmology


@pytest.fixture(scope="module")
def track() -> np.ndarray:
    """(redshifts, 3) magnitudes g, r, z of an elliptical of rest-frame r = 0, without distance."""
    galsim = pytest.importorskip("galsim")
    share = Path(galsim.meta_data.share_dir)
    spectrum = galsim.SED(str(share / "SEDs" / "CWW_E_ext.sed"), "Ang", "flambda")
    bands = [
        galsim.Bandpass(str(share / "bandpasses" / f"LSST_{band}.dat"), "nm").withZeropoint("AB") for band in "grz"
    ]
    rest = spectrum.calculateMagnitude(bands[1])
    redshifted = [spectrum.atRedshift(float(z)) for z in early_types.REDSHIFT]
    return np.array([[sed.calculateMagnitude(band) - rest for band in bands] for sed in redshifted])


def test_the_table_is_that_of_the_spectrum(track):
    np.testing.assert_allclose(track[:, 0] - track[:, 1], early_types.G_R, atol=2e-3)
    np.testing.assert_allclose(track[:, 1] - track[:, 2], early_types.R_Z, atol=2e-3)
    np.testing.assert_allclose(track[:, 2], early_types.K_ZR, atol=2e-3)


def test_the_absolute_magnitude_comes_back(track):
    """An unevolved elliptical of M_r = -22 at redshift 0.4; 0.85 z of fading is then added."""
    node = int(np.flatnonzero(np.isclose(early_types.REDSHIFT, 0.4))[0])
    z_mag = -22.0 + cosmology().distmod(0.4).value + track[node, 2]
    assert early_types.absolute_r_mag(z_mag, redshift=np.array(0.4)) == pytest.approx(-22.0 + 0.85 * 0.4, abs=0.005)
