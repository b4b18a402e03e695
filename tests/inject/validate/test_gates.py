"""Good sets pass; each way of being wrong fails the gates that are about it, and no other."""

from collections.abc import Callable

import numpy as np
import pytest

from dhs.inject.validate.gate import Gate, exit_code
from tests.inject.validate.sets import (
    StampRows,
    arcs_times,
    joined,
    one_colour,
    one_colour_columns,
    paired,
    write_gen5,
    write_stamps,
)

Answers = dict[str, Gate]


def failed(answers: Answers) -> set[str]:
    return {key for key, gate in answers.items() if gate.outcome == "FAIL"}


def unchecked(answers: Answers) -> set[str]:
    return {key for key, gate in answers.items() if gate.outcome == "not checked"}


@pytest.fixture(scope="module")
def good(rows, ask, tmp_path_factory) -> Answers:
    return ask(write_stamps(rows, tmp_path_factory.mktemp("good")))


def test_a_good_set_passes_every_gate(good):
    assert failed(good) | unchecked(good) == set()
    assert exit_code(list(good.values())) == 0


def test_a_good_set_of_pairs_passes_and_its_light_is_measured_exactly(rows, ask, tmp_path):
    answers = ask(write_stamps(paired(rows), tmp_path))
    assert failed(answers) | unchecked(answers) == set()
    ratios = answers["arc_flux_pixels"].numbers
    np.testing.assert_allclose([ratios[band] for band in "grz"], 1.0, atol=2e-3)
    truth = (rows.columns["arc_g_mag"] - rows.columns["arc_r_mag"])[rows.injected]
    scatter = 1.4826 * np.median(np.abs(truth - np.median(truth)))
    assert answers["colour_pixels"].numbers["g_r"] == pytest.approx(scatter, rel=0.02)


def test_a_good_gen5_set_passes_but_for_what_it_has_no_columns_for(rows, ask, tmp_path):
    answers = ask(write_gen5(rows, tmp_path))
    assert failed(answers) == set()
    assert unchecked(answers) == {"arc_flux_columns", "arcs_outshine", "colour_columns"}
    assert "arc_g_mag" in answers["colour_columns"].measured
    assert exit_code(list(answers.values())) == 3


def fixed_colour(rows: StampRows) -> StampRows:
    return one_colour_columns(one_colour(rows))


def too_faint(rows: StampRows) -> StampRows:
    """Surface brightness given as flux per pixel: arcs, and what is measured of them, 1,111 times fainter."""
    columns = {name: rows.columns[name] / 1111 for name in rows.columns if name.startswith("arc_snr")}
    return arcs_times(rows, 1 / 1111).with_columns(**columns)


def too_faint_pixels_only(rows: StampRows) -> StampRows:
    return arcs_times(rows, 1 / 1111)


def leaked(rows: StampRows) -> StampRows:
    """Forty train galaxies once more in test, under another task id, with another arc's pixels."""
    train = rows.where((rows.columns["split"] == "train") & ~rows.injected).take(np.arange(40))
    copies = train.with_images(train.images + np.float32(1e-5)).with_columns(
        split=np.full(40, "test"), task_id=np.array([f"again/{name}" for name in train.columns["task_id"]])
    )
    return joined([rows, copies])


def with_nan(rows: StampRows) -> StampRows:
    images = rows.images.copy()
    images[7, 1, 30, 30] = np.nan
    images[11, 2, 0, 0] = -np.inf
    return rows.with_images(images)


def blank(rows: StampRows) -> StampRows:
    images = rows.images.copy()
    images[3, 2] = 0
    images[5, 0] = 0.25
    return rows.with_images(images)


def duplicated(rows: StampRows) -> StampRows:
    """A tenth of the train split again: the same rows, the same ids."""
    return joined([rows, rows.where(rows.columns["split"] == "train").take(np.arange(50))])


def copied_pixels(rows: StampRows) -> StampRows:
    """A stamp of train in test under ids and a place of its own."""
    place = int(np.flatnonzero(rows.columns["split"] == "test")[0])
    images = rows.images.copy()
    images[place] = images[int(np.flatnonzero(rows.columns["split"] == "train")[0])]
    return rows.with_images(images)


def shallower_controls(rows: StampRows) -> StampRows:
    """Controls of another survey: 0.6 mag less depth, and the noise that goes with it."""
    rng = np.random.default_rng(2)
    worse = ~rows.injected
    sigma = np.array([0.002, 0.004, 0.01])[None, :, None, None] * np.sqrt(10**0.48 - 1)
    images = rows.images.copy()
    images[worse] += (rng.normal(size=images[worse].shape) * sigma).astype(np.float32)
    depth = {name: rows.columns[name] - 0.6 * worse for name in rows.columns if name.startswith("psfdepth")}
    return rows.with_images(images).with_columns(**depth)


def noisier_arcs(rows: StampRows) -> StampRows:
    """Noise added to injections alone, all over the stamp."""
    rng = np.random.default_rng(2)
    images = rows.images.copy()
    sigma = np.array([0.0015, 0.003, 0.007])[None, :, None, None]
    images[rows.injected] += (rng.normal(size=images[rows.injected].shape) * sigma).astype(np.float32)
    return rows.with_images(images)


def bright_cores(rows: StampRows) -> StampRows:
    """The unlensed source left on the lens: half as much light again in the core."""
    axis = np.arange(64) - 31.5
    core = 1 + 0.8 * np.exp(-0.5 * (np.hypot(axis, axis[:, None]) * 0.262 / 0.5) ** 2)
    images = rows.images.copy()
    images[rows.injected] *= core.astype(np.float32)
    return rows.with_images(images)


def bands_reversed(rows: StampRows) -> StampRows:
    """Images alone: what the columns say stays g, r, z."""
    return rows.with_images(rows.images[:, ::-1])


def other_galaxies(rows: StampRows) -> StampRows:
    """Controls a magnitude fainter than the galaxies with arcs, in pixels and columns."""
    faint = np.where(rows.injected, 1.0, 10**-0.4).astype(np.float32)
    ring = np.median(rows.images, axis=(-2, -1), keepdims=True)
    images = ring + (rows.images - ring) * 1.0
    axis = np.arange(64) - 31.5
    inside = np.exp(-0.5 * (np.hypot(axis, axis[:, None]) / 6) ** 4)
    images = images - images * inside * (1 - faint[:, None, None, None])
    mags = {f"mag_{band}": rows.columns[f"mag_{band}"] + (~rows.injected) for band in "grz"}
    return rows.with_images(images).with_columns(**mags)


def other_unit(rows: StampRows) -> StampRows:
    """Microjansky: 3.63 times the nanomaggies."""
    return rows.with_images(rows.images * np.float32(3.631))


def lensed_as_source(rows: StampRows) -> StampRows:
    return rows.with_columns(source_hlr_arcsec=rows.columns["lensed_hlr_arcsec"])


def one_snr(rows: StampRows) -> StampRows:
    return rows.with_columns(arc_snr_sum=rows.columns["arc_snr"])


def renormalised(rows: StampRows) -> StampRows:
    """Lensed flux put back to the source's: the columns say so as well."""
    arc = {f"arc_{band}_mag": rows.columns[f"source_{band}_mag"] for band in "grz"}
    return rows.with_columns(**arc)


def inverted_proportions(rows: StampRows) -> StampRows:
    names = {"train": "test", "test": "train", "val": "val"}
    return rows.with_columns(split=np.array([names[split] for split in rows.columns["split"]]))


def split_by_row(rows: StampRows) -> StampRows:
    """Two galaxies next to one another, in train and in test: other galaxies, the same piece of sky."""
    ra, dec = rows.columns["ra_deg"].copy(), rows.columns["dec_deg"].copy()
    train, test = (int(np.flatnonzero(rows.columns["split"] == split)[0]) for split in ("train", "test"))
    ra[test], dec[test] = ra[train], dec[train] + 20 / 3600
    return rows.with_columns(ra_deg=ra, dec_deg=dec)


def outshining(rows: StampRows) -> StampRows:
    """The galaxies' magnitudes a column further: as if sources were set 3 mag above them."""
    return rows.with_columns(mag_r=rows.columns["mag_r"] + np.float32(3))


def failed_cutouts(rows: StampRows) -> StampRows:
    ok = np.arange(len(rows)) % 10 > 0
    return rows.with_columns(cutout_ok=ok, reason=np.where(ok, "", "no coverage"))


def nearly_no_arcs(rows: StampRows) -> StampRows:
    """Labels lost: one in ten injections of train is called one."""
    mislabelled = rows.injected & (rows.columns["split"] == "train") & (np.arange(len(rows)) % 10 > 0)
    return rows.where(~mislabelled)


WRONG: dict[str, tuple[Callable[[StampRows], StampRows], set[str]]] = {
    "one fixed arc colour": (fixed_colour, {"colour_columns", "colour_pixels"}),
    "one colour in the pixels alone": (one_colour, {"colour_pixels"}),
    "one colour in the columns alone": (one_colour_columns, {"colour_columns"}),
    "1,111 times too faint": (too_faint, {"arc_snr", "arcs_seen"}),
    "leaked galaxies": (leaked, {"galaxies_apart", "sky_apart"}),
    "a leaked piece of sky": (split_by_row, {"sky_apart"}),
    "NaN": (with_nan, {"finite"}),
    "blank stamps": (blank, {"lit"}),
    "duplicate rows": (duplicated, {"task_ids", "pixels_once"}),
    "a stamp copied from train to test": (copied_pixels, {"pixels_apart"}),
    "another depth of controls": (shallower_controls, {"same_sky", "same_noise"}),
    "noisier injections": (noisier_arcs, {"same_noise"}),
    "brighter cores": (bright_cores, {"same_cores"}),
    # What is taken for z is g, and there arcs do brighten the core.
    "bands reversed": (bands_reversed, {"band_order", "same_cores"}),
    "another unit": (other_unit, {"unit"}),
    "the lensed radius called the source's": (lensed_as_source, {"hlr_is_the_sources"}),
    "one S/N under two names": (one_snr, {"two_snrs"}),
    "renormalised arcs": (renormalised, {"arc_flux_columns"}),
    "inverted proportions": (inverted_proportions, {"proportions"}),
    "arcs above their galaxies": (outshining, {"arcs_outshine"}),
    "failed cutouts": (failed_cutouts, {"cutout_ok"}),
    "hardly any arcs": (nearly_no_arcs, {"balance"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_set_fails_its_own_gates_and_no_other(name, rows, ask, tmp_path):
    spoil, expected = WRONG[name]
    answers = ask(write_stamps(spoil(rows), tmp_path))
    assert failed(answers) == expected, {key: answers[key].measured for key in failed(answers) ^ expected}
