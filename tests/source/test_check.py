"""The bank check tells galaxies from noise, and names each thing that is wrong."""

import h5py
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dhs.source import measure
from dhs.source.check.measure import Ruler
from dhs.source.check.run import check_bank
from dhs.source.check.verdict import Grid
from tests.source.bank_families import (
    SCALE,
    TASK,
    failures,
    judged,
    outcomes,
    parametric,
    seeds_recipe,
    write_old_bank,
)

ADVICE = {"support", "box_fill", "hlr_filter", "clumpiness_column"}


def test_the_bank_of_the_example_galaxies_passes(example_bank):
    config, _ = example_bank
    report = judged(config.bank)
    assert report.passed, failures(report)
    assert outcomes(report)["catalog"] == "pass"
    assert {key for key, outcome in outcomes(report).items() if outcome != "pass"} <= ADVICE


@pytest.mark.parametrize("name", ["sersic", "clumpy"])
def test_parametric_banks_pass_although_they_say_nothing_of_themselves(name, tmp_path):
    report = judged(write_old_bank(tmp_path / "b.h5", parametric(name, n=120), kind=name))
    assert report.passed, failures(report)
    assert outcomes(report)["catalog"] == "absent"


@pytest.mark.parametrize("name", ["seeds_2_mag_fainter", "seeds_3_mag_fainter", "noise"])
def test_the_seeds_recipe_on_faint_galaxies_and_pure_noise_fail(name, noise_banks, tmp_path):
    report = judged(write_old_bank(tmp_path / "b.h5", noise_banks[name]))
    assert not report.passed
    assert {"pedestal", "speckle", "galaxy_light", "frame", "empty_box", "clumpiness", "snr"} <= failures(report)
    (speckle,) = (check for check in report.checks if check.key == "speckle")
    assert "without one negative pixel: negative noise was clipped" in speckle.meaning


def test_the_seeds_recipe_on_bright_galaxies_fails_for_its_clipped_noise_not_for_its_sizes(noise_banks, tmp_path):
    report = judged(write_old_bank(tmp_path / "b.h5", noise_banks["seeds_bright"]))
    assert {"pedestal", "speckle", "frame"} <= failures(report)
    assert outcomes(report)["empty_box"] == "pass" and outcomes(report)["snr"] == "pass"


def test_ten_percent_of_noise_among_good_galaxies_is_enough_to_fail(clumpy_images, noise_banks, tmp_path):
    mixed = clumpy_images.copy()
    mixed[::10] = noise_banks["noise"][::10]
    report = judged(write_old_bank(tmp_path / "b.h5", mixed, kind="clumpy"))
    assert {"pedestal", "speckle", "galaxy_light", "frame"} <= failures(report)
    assert outcomes(report)["empty_box"] == "pass"  # a median does not see them


def test_noise_that_was_not_clipped_fails_too_and_is_called_by_its_name(clumpy_images, tmp_path):
    noise = np.random.default_rng(1).normal(scale=2e-4, size=clumpy_images.shape)
    noise -= noise.mean(axis=(1, 2), keepdims=True)
    report = judged(write_old_bank(tmp_path / "b.h5", (clumpy_images + noise).astype(np.float32), kind="clumpy"))
    assert "speckle" in failures(report)
    (speckle,) = (check for check in report.checks if check.key == "speckle")
    assert "0% of them without one negative pixel: noise fills the box" in speckle.meaning


@pytest.fixture(scope="module")
def measured_families(example_bank, noise_banks, clumpy_images):
    """Measurements of every source: `galaxies` (real and clumpy) and each bank of the seeds' recipe."""
    ruler = Ruler(96, pixel_scale_arcsec=SCALE)
    with h5py.File(example_bank[0].bank) as file:
        banks = {"galaxies": np.concatenate([file["images"][()], clumpy_images]), **noise_banks}
    return {name: ruler.measure(images[:, None].astype(float)) for name, images in banks.items()}


@pytest.mark.parametrize(
    ("figure", "towards_galaxy", "faint", "bright"),
    [
        ("pedestal", -1, 0.999, 0.96),
        ("galaxy_light", 1, 0.999, 0.999),
        ("frame_flux", -1, 0.999, 0.999),
        ("speckle", -1, 0.97, 0.90),
        ("hlr_arcsec", -1, 0.99, 0.70),
        ("clumpiness", -1, 0.97, 0.90),
    ],
)
def test_each_figure_separates_galaxies_from_noise_source_by_source(
    figure, towards_galaxy, faint, bright, measured_families
):
    """AUC of single sources, real and parametric galaxies against the seeds' recipe; the sizes do worst."""
    galaxies = getattr(measured_families["galaxies"], figure)
    for name, least in (("seeds_2_mag_fainter", faint), ("noise", faint), ("seeds_bright", bright)):
        noise = getattr(measured_families[name], figure)
        label = np.r_[np.ones(len(galaxies)), np.zeros(len(noise))]
        assert roc_auc_score(label, towards_galaxy * np.r_[galaxies, noise]) >= least, name


def _nan(images, file):
    file["images"][5, 40, 40] = np.nan


def _one_number(images, file):
    file["images"][7] = np.full((96, 96), 1 / 96**2)


def _twice_the_flux(images, file):
    file["images"][3] = 2 * images[3]


def _sizes_of_others(images, file):
    file["meta/hlr_arcsec"][:] *= 1.3


def _clumpiness_of_others(images, file):
    file["meta/clumpiness"][:] *= 2


def _turned_copy(images, file):
    file["images"][9] = np.rot90(images[20].T)


def _index_twice(images, file):
    file["meta/index"][1] = file["meta/index"][0]


def _off_centre(images, file):
    file["images"][:] = np.roll(np.where(measure.radius_px(96) < 34, images, 0), 10, axis=2)
    file["images"][:] /= file["images"][()].sum(axis=(1, 2), keepdims=True)


def _frame_of_light(images, file):
    lit = images.copy()
    lit[:, 0] += 4e-5
    file["images"][:] = lit / lit.sum(axis=(1, 2), keepdims=True)


def _catalogue_of_others(images, file):
    file["meta/catalog_hlr_arcsec"] = 0.5 * file["meta/hlr_arcsec"][()]


def _low_stored_snr(images, file):
    file["meta/snr"] = np.full(len(images), 4.0)


def _other_scale(images, file):
    file.attrs["src_pixscale_arcsec"] = 0.06


FAULTS = [
    (_nan, {"finite"}, set()),
    (_one_number, {"constant"}, set()),
    (_twice_the_flux, {"flux"}, set()),
    (_sizes_of_others, {"hlr_column"}, set()),
    (_clumpiness_of_others, set(), {"clumpiness_column"}),
    (_turned_copy, {"duplicates"}, set()),
    (_index_twice, set(), {"duplicates"}),
    (_off_centre, {"centroid"}, set()),
    (_frame_of_light, {"frame"}, {"support"}),
    (_catalogue_of_others, {"catalog"}, set()),
    (_low_stored_snr, {"snr"}, set()),
    (_other_scale, {"grid", "hlr_column"}, set()),
]


@pytest.mark.parametrize(("fault", "failed", "warned"), FAULTS)
def test_each_fault_fails_its_own_check_and_no_other(fault, failed, warned, clumpy_images, tmp_path):
    images = clumpy_images[:30]
    path = write_old_bank(tmp_path / "b.h5", images, kind="clumpy")
    with h5py.File(path, "a") as file:
        fault(images, file)
    report = check_bank(path, task=TASK.model_copy(update={"n_matched": 8}), grid=Grid(96, SCALE))
    assert failures(report) == failed
    assert {key for key, outcome in outcomes(report).items() if outcome == "warn"} - {"clumpiness_column"} <= warned
    assert warned <= {key for key, outcome in outcomes(report).items() if outcome == "warn"}


def test_a_bank_with_an_image_per_band_is_checked_in_each_band(clumpy_images, tmp_path):
    bands = np.stack([clumpy_images, clumpy_images, clumpy_images], axis=1)
    assert judged(write_old_bank(tmp_path / "good.h5", bands, kind="clumpy")).passed
    bands[4, 2] *= 1.01
    bands[:, 1] = 0.9 * bands[:, 1] + 0.1 / 96**2
    report = judged(write_old_bank(tmp_path / "bad.h5", bands, kind="clumpy"))
    assert {"flux", "pedestal"} <= failures(report)


def test_the_verdict_does_not_depend_on_the_size_of_the_pieces(clumpy_images, tmp_path, monkeypatch):
    path = write_old_bank(tmp_path / "b.h5", clumpy_images, kind="clumpy")
    whole = [check.measured for check in judged(path).checks]
    monkeypatch.setattr("dhs.source.check.read.READ_BYTES", 1)
    steps = []
    again = check_bank(path, task=TASK, grid=Grid(96, SCALE), progress=lambda done, total: steps.append((done, total)))
    assert [check.measured for check in again.checks] == whole
    assert steps == [(16, 60), (32, 60), (48, 60), (60, 60)]


def test_a_bank_of_nan_alone_fails_without_an_error(tmp_path):
    report = judged(write_old_bank(tmp_path / "b.h5", np.full((12, 96, 96), np.nan, np.float32)))
    assert {"finite", "pedestal", "clumpiness"} <= failures(report)


def test_a_bank_in_float16_passes_with_the_rounding_of_its_pixels(clumpy_images, tmp_path):
    path = write_old_bank(tmp_path / "b.h5", clumpy_images.astype(np.float16), kind="clumpy")
    assert judged(path).passed


def test_white_noise_through_the_recipe_fails_without_the_catalogue(tmp_path):
    """Runs where no shared data is."""
    noise = np.random.default_rng(0).normal(size=(40, 96, 96))
    report = judged(write_old_bank(tmp_path / "b.h5", np.array([seeds_recipe(image) for image in noise])))
    assert {"pedestal", "speckle", "galaxy_light", "empty_box", "clumpiness", "snr"} <= failures(report)
