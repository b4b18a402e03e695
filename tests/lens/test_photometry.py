"""Magnitudes and the two signal-to-noise ratios of an arc."""

import numpy as np
import pytest
import torch

from dhs.lens.photometry import arc_snr, flux_nmgy, mag_ab


def test_magnitudes_and_nanomaggies_are_inverse_and_anchored_at_22_5():
    assert flux_nmgy(np.array(22.5)) == pytest.approx(1.0)
    assert flux_nmgy(np.array(20.0)) == pytest.approx(10.0)
    mags = np.linspace(15, 28, 20)
    assert mag_ab(flux_nmgy(mags)) == pytest.approx(mags)
    assert np.isnan(mag_ab(np.array([0.0, -1.0]))).all()


def test_peak_and_integrated_snr_are_told_apart_and_use_good_pixels_only():
    """Four pixels of 3 sigma: peak 3, integrated 12 / sqrt(4) = 6; a masked pixel of 100 sigma counts for nothing."""
    sigma = 0.002
    arc = torch.zeros(1, 1, 8, 8)
    arc[..., 2:4, 2:4] = 3 * sigma
    arc[..., 6, 6] = 100 * sigma
    arc[..., 0, :] = 0.5 * sigma  # below one sigma: not part of the footprint
    good = torch.ones_like(arc, dtype=torch.bool)
    good[..., 6, 6] = False
    snr = arc_snr(arc, invvar=torch.full_like(arc, sigma**-2), good=good)
    assert snr.peak.item() == pytest.approx(3, rel=1e-5)
    assert snr.integrated.item() == pytest.approx(6, rel=1e-5)


def test_an_arc_below_one_sigma_everywhere_has_its_peak_as_snr():
    arc = torch.full((1, 1, 4, 4), 0.4)
    snr = arc_snr(arc, invvar=torch.ones_like(arc), good=torch.ones_like(arc, dtype=torch.bool))
    assert snr.integrated.item() == snr.peak.item() == pytest.approx(0.4)
