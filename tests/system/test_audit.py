"""`evaluate.py task=audit` and `inject.py task=gallery` as a user types them."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dhs.sky.anchors import slacs_bells
from tests.sky.test_anchors import galaxy

REPO = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=REPO, capture_output=True, text=True, timeout=120)


@pytest.fixture
def cutout_file(tmp_path):
    """Galaxies for the 125, the last one blank."""
    anchors = slacs_bells()
    images = np.array([galaxy(18.0)] * 124 + [galaxy(40.0)], np.float32)
    path = tmp_path / "anchors.npz"
    np.savez(
        path,
        images=images,
        bands=np.array(list("grz")),
        pixscale_arcsec=0.262,
        unit="nanomaggy",
        ra_deg=anchors.ra_deg,
        dec_deg=anchors.dec_deg,
        id=anchors.name,
    )
    return path


def test_the_package_list_passes_without_cutouts_and_nothing_counts_yet(tmp_path):
    done = run("evaluate.py", "task=audit", f"task.output={tmp_path}/audit")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert (summary["n"], summary["n_failed"], summary["n_counts"]) == (125, 0, 0)


def test_an_anchor_on_blank_sky_fails_the_command_and_is_named(tmp_path, cutout_file):
    done = run("evaluate.py", "task=audit", f"anchors.cutouts=[{cutout_file}]", f"task.output={tmp_path}/audit")
    assert done.returncode == 1
    name = str(slacs_bells().name[-1])
    assert name in done.stdout
    with (tmp_path / "audit" / "audit.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert [row["counts"] for row in rows.values()].count("True") == 124
    assert rows[name]["reason"] == "no object in the cutout"
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert page.count("<img") == 125
    assert page.index("Failed (1)") < page.index("Passed (124)")


def test_the_seeds_positions_fail(tmp_path, shared_data):
    wrong = shared_data / "anchors" / "seeds_wrong_positions.csv"
    done = run("evaluate.py", "task=audit", "anchors=csv", f"anchors.path={wrong}", f"task.output={tmp_path}/audit")
    assert done.returncode == 1
    assert "68 of 68 failed" in done.stdout


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("anchors.cutouts=[nowhere]", "anchors.cutouts = nowhere"),
        ("anchors.grades=nowhere.csv", "anchors.grades = nowhere.csv"),
        ("anchors=slacs", "anchors = slacs: must be one of"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, override, words):
    done = run("evaluate.py", "task=audit", override, f"task.output={tmp_path}/audit")
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "audit").exists()


def test_a_gallery_of_files_is_one_page(tmp_path, cutout_file):
    page = tmp_path / "look" / "gallery.html"
    done = run("inject.py", "task=gallery", "sky=files", f"sky.paths=[{cutout_file}]", f"task.output={page}")
    assert done.returncode == 0, done.stderr
    assert page.read_text().count("<img") == 125
