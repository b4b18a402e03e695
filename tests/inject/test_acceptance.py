"""Rejects are kept and counted; lenses sit on their galaxies, at every sub-pixel phase."""

import csv
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.acceptance import CUTS
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.inject.sheet import acceptance_line, injection_sheet
from dhs.inject.stamp_batch import StampBatch
from dhs.rng import Purpose

INDEX = np.arange(96)
TEST_INDEX = np.arange(60)
"""32 injections and some of the negatives."""


@pytest.fixture(scope="module")
def strict(small_config) -> Injector:
    """Cuts that reject often, few tries."""
    return build_injector(
        small_config(
            "inject.acceptance.max_tries=6",
            "inject.acceptance.min_theta_e_over_psf=1.0",
            "inject.acceptance.min_magnification=5",
            "inject.acceptance.min_arc_snr_sum=40",
        )
    )


def cut_failed(stamps: StampBatch, cuts) -> np.ndarray:
    """Graded again, from the columns alone."""
    resolved = stamps.recipes.theta_e_arcsec / stamps.recipes.psf_fwhm_arcsec[:, BANDS.index("r")]
    failed = np.where(stamps.arc_snr_sum.max(axis=1) < cuts.min_arc_snr_sum, CUTS.index("arc_snr"), 0)
    failed = np.where(stamps.magnification < cuts.min_magnification, CUTS.index("magnification"), failed)
    failed = np.where(resolved < cuts.min_theta_e_over_psf, CUTS.index("resolution"), failed)
    return np.where(stamps.recipes.injected, failed, -1)


@pytest.mark.parametrize("purpose", [Purpose.TRAIN, Purpose.TEST])
def test_the_reason_is_the_cut_that_the_stamps_own_columns_fail(strict, purpose):
    stamps = strict.stamps(INDEX if purpose == Purpose.TRAIN else TEST_INDEX, purpose=purpose)
    np.testing.assert_array_equal(stamps.reject_reason, cut_failed(stamps, strict.inject.acceptance))
    assert len(set(stamps.reject_reason)) >= 4, "the cuts of this test bite"


def test_the_test_set_is_graded_but_never_redrawn(strict, small_injector):
    stamps = strict.stamps(TEST_INDEX, purpose=Purpose.TEST)
    injected = stamps.recipes.injected
    assert (stamps.n_tries[injected] == 1).all()
    assert (stamps.n_tries[~injected] == 0).all()
    assert not stamps.rejected.any()
    lenient = small_injector.stamps(TEST_INDEX, purpose=Purpose.TEST)
    assert (lenient.images == stamps.images).all()
    assert lenient.accepted.sum() > stamps.accepted.sum()


def test_tries_are_those_of_a_galaxy_alone(strict):
    """The n-th training draw of a galaxy is the first that passes: with n - 1 tries it does not pass."""
    stamps = strict.stamps(INDEX, purpose=Purpose.TRAIN)
    geometry_tries = 1 + stamps.rejected[:, 1 : CUTS.index("arc_snr")].sum(axis=1)
    late = np.flatnonzero(stamps.accepted & (geometry_tries >= 3))[:5]
    assert len(late) == 5
    inject = strict.inject
    for i in late:
        for tries, passes in ((int(geometry_tries[i]) - 1, False), (int(geometry_tries[i]), True)):
            cuts = inject.acceptance.model_copy(update={"max_tries": tries, "min_arc_snr_sum": 0.0})
            strict.inject = inject.model_copy(update={"acceptance": cuts})
            alone = strict.stamps(np.array([i]), purpose=Purpose.TRAIN)
            strict.inject = inject
            assert alone.accepted[0] == passes
        assert alone.recipes.theta_e_arcsec[0] == stamps.recipes.theta_e_arcsec[i]


def test_counts_do_not_depend_on_the_batch_and_never_exceed_the_tries(strict):
    stamps = strict.stamps(INDEX, purpose=Purpose.TRAIN)
    for i in np.flatnonzero(stamps.recipes.injected)[:6]:
        alone = strict.stamps(np.array([i]), purpose=Purpose.TRAIN)
        np.testing.assert_array_equal(alone.rejected[0], stamps.rejected[i])
    assert stamps.rejected[:, 1 : CUTS.index("arc_snr")].sum(axis=1).max() <= 5
    assert stamps.rejected[:, CUTS.index("arc_snr")].max() <= 5
    assert not stamps.rejected[:, 0].any()


def test_photometric_lenses_outside_their_interval_are_rejected_and_counted(small_config):
    narrow = build_injector(
        small_config(
            "lens=photometric",
            "lens.theta_e_arcsec={low: 0.9, high: 1.1}",
            "lens.redraws=2",
            "inject.acceptance.max_tries=3",
            "inject.acceptance.min_theta_e_over_psf=0",
        )
    )
    stamps = narrow.stamps(INDEX, purpose=Purpose.TRAIN)
    theta_e, injected = stamps.recipes.theta_e_arcsec, stamps.recipes.injected
    outside = injected & ((theta_e < 0.9) | (theta_e > 1.1))
    code = CUTS.index("theta_e_range")
    np.testing.assert_array_equal(stamps.reject_reason == code, outside)
    assert outside.any()
    assert stamps.accepted.any()
    assert stamps.rejected[:, code].sum() > outside.sum()
    assert np.isfinite(stamps.recipes.sigma_v_km_s[injected]).all()
    galaxy = narrow.cutouts.redshift[stamps.recipes.row]
    np.testing.assert_allclose(stamps.recipes.z_lens[injected], galaxy[injected])


def test_the_lens_sits_on_its_galaxy_and_on_no_fixed_pixel_phase(small_injector):
    stamps = small_injector.stamps(np.arange(400), purpose=Purpose.TRAIN)
    some = stamps.recipes.take(np.flatnonzero(stamps.recipes.injected))
    cutouts = small_injector.cutouts
    for lens, centre in (
        (some.lens_x_arcsec, cutouts.centre_x_arcsec[some.row]),
        (some.lens_y_arcsec, cutouts.centre_y_arcsec[some.row]),
    ):
        assert (lens - centre).std() == pytest.approx(0.05, rel=0.15)  # the jitter alone
        phase = np.mod(lens / PIXEL_SCALE_ARCSEC, 1.0)
        assert np.histogram(phase, bins=4, range=(0, 1))[0].min() > 0.12 * len(lens)
        assert abs(np.exp(2j * np.pi * phase).mean()) < 0.35, "no phase is preferred"


def test_a_galaxy_that_is_told_to_lie_elsewhere_takes_the_lens_with_it(small_injector, small_config):
    """Half a pixel of the stamp's own: a lens put at the stamp's centre instead is off by what the galaxy is off."""
    moved = build_injector(small_config())
    cutouts = small_injector.cutouts
    moved.cutouts = replace(cutouts, centre_x_arcsec=cutouts.centre_x_arcsec + np.float32(0.5))
    one = int(np.flatnonzero(small_injector.stamps(TEST_INDEX, purpose=Purpose.TEST).recipes.injected)[0])
    before = small_injector.stamps(np.array([one]), purpose=Purpose.TEST).recipes
    after = moved.stamps(np.array([one]), purpose=Purpose.TEST).recipes
    assert after.lens_x_arcsec[0] - before.lens_x_arcsec[0] == pytest.approx(0.5, abs=1e-6)
    assert after.lens_y_arcsec[0] == before.lens_y_arcsec[0]


def test_the_sheets_table_and_log_say_what_was_rejected(strict, tmp_path: Path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("dhs"), "propagate", True)  # a program run before may have taken it over
    with caplog.at_level("INFO", logger="dhs"):
        path = injection_sheet(strict, n_stamps=6, path=tmp_path / "sheet.png")
    with path.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["reject_reason"] for row in rows} <= set(CUTS)
    assert sum(int(row["n_rejected_magnification"]) for row in rows) > 0
    assert all(float(row["source_hlr_arcsec"]) < float(row["lensed_hlr_arcsec"]) for row in rows)
    stamps = strict.stamps(np.arange(40), purpose=Purpose.TRAIN)
    line = acceptance_line(stamps)
    assert line.startswith(f"{stamps.accepted.sum()} of {stamps.recipes.injected.sum()} injections pass")
    assert f"magnification {stamps.rejected[:, CUTS.index('magnification')].sum()}" in line
    assert any("injections pass the acceptance cuts" in record.message for record in caplog.records)
