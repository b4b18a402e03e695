"""`task=bank_check` as a user types it: exit codes, table, JSON, page; and what is no bank at all is one line."""

import json
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from dhs.commands.inject import inject
from dhs.config.base import Range
from dhs.config.cli import CONF_DIR, Job, compose_job
from dhs.config.load import ConfigError
from dhs.config.root import InjectRoot
from dhs.source.bank import SCHEMA_VERSION
from dhs.source.check.pictures import NEGATIVE_RGB, ZERO_RGB, asinh_rgb, linear_rgb
from dhs.source.check.read import HIGHEST_VERSION, read_bank_file, read_images
from tests.source.bank_families import seeds_recipe, write_old_bank


def run(*overrides) -> int:
    return inject(Job(compose_job("inject", list(overrides), schema=InjectRoot), list(overrides)))


@pytest.fixture(scope="module")
def good(clumpy_images, tmp_path_factory):
    return write_old_bank(tmp_path_factory.mktemp("good") / "good.h5", clumpy_images[:30], kind="clumpy")


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    images = np.random.default_rng(0).normal(size=(20, 96, 96))
    path = tmp_path_factory.mktemp("noise") / "noise.h5"
    return write_old_bank(path, np.array([seeds_recipe(image) for image in images]))


def test_a_bank_of_galaxies_exits_0_whatever_the_sky_is(good, tmp_path, capsys):
    code = run("task=bank_check", f"task.bank={good}", f"task.output_dir={tmp_path}", "sky=files", "sky.paths=[no.npz]")
    assert code == 0
    printed = capsys.readouterr().out
    assert "PASS: these 30 sources are galaxies" in printed and "measuring: 30/30" in printed
    told = json.loads((tmp_path / "check.json").read_text())
    assert told["verdict"] == "pass" and len(told["checks"]) == 19
    assert told["quantiles"]["pedestal"][3] < 0.01 < told["references"]["noise_clumpiness"]


def test_a_bank_of_noise_exits_1_and_its_page_says_so_first(noise, tmp_path, capsys):
    assert run("task=bank_check", "source=cosmos", f"source.bank={noise}", f"task.output_dir={tmp_path}") == 1
    assert "FAIL: no bank of clean galaxies" in capsys.readouterr().out
    told = json.loads((tmp_path / "check.json").read_text())
    failed = {check["key"]: check for check in told["checks"] if check["outcome"] == "fail"}
    assert len(failed["speckle"]["worst"]) == 12
    page = (tmp_path / "check.html").read_text()
    assert page.isascii() and not re.search(r"https?://|<script|src=\"(?!data:)", page)
    assert page.index("FAIL: no bank") < page.index("<h2>Checks") < page.index("sources at random") < page.index("<h3>")
    assert page.count("<h3>") == len(failed)
    assert page.count("data:image/png") == 2 + 6 + sum(len(check["worst"]) for check in failed.values())


def test_the_same_check_writes_the_same_page(good, tmp_path):
    for name in "ab":
        run("task=bank_check", f"task.bank={good}", f"task.output_dir={tmp_path / name}")
    for file in ("check.html", "check.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_bank_without_a_usable_source_still_gets_its_page(tmp_path):
    path = write_old_bank(tmp_path / "b.h5", np.full((3, 96, 96), np.nan, np.float32))
    assert run("task=bank_check", f"task.bank={path}", f"task.output_dir={tmp_path}") == 1
    assert json.loads((tmp_path / "check.json").read_text())["quantiles"]["hlr_arcsec"][0] is None


def test_a_bank_of_another_grid_fails_with_the_override_that_would_fit(good, tmp_path, capsys):
    overrides = [
        "task=bank_check",
        f"task.bank={good}",
        f"task.output_dir={tmp_path}",
        "source.pixel_scale_arcsec=0.05",
    ]
    assert run(*overrides) == 1
    assert "source.pixel_scale_arcsec=0.03" in " ".join(capsys.readouterr().out.split())


def _drop(key):
    def spoil(file):
        del file[key]

    return spoil


def _attribute(key, value):
    def spoil(file):
        file.attrs[key] = value

    return spoil


def _integers(file):
    del file["images"]
    file["images"] = np.ones((30, 96, 96), np.int16)


def _short_column(file):
    file["meta/snr"] = np.ones(7)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_drop("images"), "images missing: this is no source bank"),
        (_drop("meta/index"), "meta/index missing"),
        (lambda file: file.attrs.__delitem__("stamp_size"), "attribute stamp_size missing"),
        (_attribute("schema_version", 99), "schema_version = 99, this program knows up to 1"),
        (_attribute("schema_version", "new"), "attribute schema_version = 'new'; must be a number"),
        (_attribute("stamp_size", 64), "images have shape (30, 96, 96) and stamp_size is 64"),
        (_attribute("src_pixscale_arcsec", -0.03), "src_pixscale_arcsec = -0.03; must be positive"),
        (_integers, "images are int16; must be floating point"),
        (_short_column, "meta/snr has shape (7,)"),
    ],
)
def test_what_is_no_bank_is_one_line(spoil, told, good, tmp_path):
    path = tmp_path / "b.h5"
    shutil.copyfile(good, path)
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        run("task=bank_check", f"task.bank={path}", f"task.output_dir={tmp_path / 'out'}")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_files_other_files_and_torn_files_exit_2_with_one_line(good, tmp_path):
    text, torn = tmp_path / "notes.h5", tmp_path / "torn.h5"
    text.write_text("not a bank")
    torn.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    for path, told in ((tmp_path / "none.h5", "no such file"), (text, "not a readable HDF5"), (torn, "not a readable")):
        with pytest.raises(ConfigError, match=told) as caught:
            run("task=bank_check", f"task.bank={path}")
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="task.bank = null: give the HDF5 bank"):
        run("task=bank_check")
    result = subprocess.run(
        [sys.executable, str(CONF_DIR.parent / "inject.py"), "task=bank_check", f"task.bank={text}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1


def test_damaged_pixels_are_one_line(good, tmp_path):
    path = tmp_path / "b.h5"
    shutil.copyfile(good, path)
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(1)
    with open(path, "r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\x00" * min(4096, chunk.size))
    with pytest.raises(ConfigError, match="images cannot be read .*the file is damaged"):
        run("task=bank_check", f"task.bank={path}", f"task.output_dir={tmp_path}")


def test_reader_and_writer_agree_on_the_version():
    assert HIGHEST_VERSION == SCHEMA_VERSION


def test_the_size_filter_is_read_from_our_files_and_from_the_seeds_configuration(good, tmp_path):
    path = tmp_path / "b.h5"
    shutil.copyfile(good, path)
    assert read_bank_file(path).hlr_filter() is None
    with h5py.File(path, "a") as file:
        file.attrs["build"] = json.dumps({"half_light_radius_arcsec": {"low": 0.2, "high": 0.9}})
    assert read_bank_file(path).hlr_filter() == Range(low=0.2, high=0.9)
    with h5py.File(path, "a") as file:
        file.attrs.update(hlr_min_arcsec=0.1, hlr_max_arcsec=1.0)
    assert read_bank_file(path).hlr_filter() == Range(low=0.1, high=1.0)


def test_rows_come_in_the_order_asked_for(good):
    bank = read_bank_file(good)
    rows = np.array([7, 2, 7, 29])
    with h5py.File(good) as file:
        np.testing.assert_array_equal(read_images(bank, rows)[:, 0], file["images"][()][rows])


def test_zero_is_blue_negative_is_red_and_the_first_row_is_at_the_bottom():
    image = np.zeros((1, 8, 8))
    image[0, 0, 0], image[0, 7, 7] = 1.0, -0.1
    picture = asinh_rgb(image)
    assert tuple(picture[7, 0]) == (255, 255, 255) and tuple(picture[0, 7]) == NEGATIVE_RGB
    assert tuple(picture[4, 4]) == ZERO_RGB
    assert linear_rgb(image)[4, 4].tolist() == [0, 0, 0]
    colour = linear_rgb(np.stack([image[0], 0 * image[0], 0 * image[0]]))
    assert colour[7, 0].tolist() == [0, 0, 255]
