"""The command as the user types it: exit codes, JSON, a page that needs nothing beside itself."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dhs.inject.validate.gate import Gate, Question, exit_code, verdict
from dhs.inject.validate.report import as_json, render_page
from dhs.inject.validate.run import validate_set
from tests.inject.validate.sets import write_gen5, write_stamps

REPO = Path(__file__).resolve().parents[3]
QUESTION = Question("key", "Title", "meaning", "remedy")


def test_exit_codes_are_those_of_selfcheck():
    good, bad = QUESTION.judged("", good=True), QUESTION.judged("", good=False)
    blind, odd = QUESTION.not_checked("no column"), QUESTION.warn("twice")
    absent = QUESTION.not_applicable("one split")
    assert exit_code([good, odd, absent]) == 0
    assert exit_code([good, blind, odd]) == 3
    assert exit_code([good, blind, bad]) == 1
    assert verdict([good, absent])[0].startswith("PASS: all 1 gates")
    assert "could not be checked" in verdict([good, blind])[0]


def run(*overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "inject.py", "task=validate", "task.num_processes=1", *overrides],
        cwd=REPO,
        capture_output=True,
        text=True,
    )


def test_the_command_writes_a_page_and_a_json_and_says_what_failed(rows, tmp_path):
    few = rows.take(np.arange(150))
    images = few.images.copy()
    images[2, 1, 4, 4] = np.nan
    write_stamps(few.with_images(images), tmp_path / "set")
    done = run(f"task.input={tmp_path / 'set'}", f"task.output_dir={tmp_path / 'out'}")
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "validate.json").read_text())
    assert found["exit_code"] == 1 and not found["passed"]
    gates = {gate["key"]: gate for gate in found["gates"]}
    assert gates["finite"]["outcome"] == "FAIL" and gates["finite"]["numbers"] == {"n": 1}
    assert found["coverage"]["n_pixel_rows"] == 150
    assert set(found["splits"]) == {"train", "val", "test"}
    page = (tmp_path / "out" / "validate.html").read_text()
    assert "FAIL:" in page and "No NaN and no infinity" in page and page.count("data:image/png") > 100
    assert 'src="http' not in page and 'href="http' not in page
    assert "No NaN and no infinity: 1 of 150 stamps" in done.stdout


def test_bad_input_is_one_line_and_exit_code_2(tmp_path):
    done = run(f"task.input={tmp_path / 'nowhere'}")
    assert done.returncode == 2 and "nothing is there" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_tables_give_the_columns_own_quantiles(rows, validate_task, tmp_path):
    evidence, gates = validate_set(validate_task(write_gen5(rows, tmp_path)))
    found = json.loads(as_json(evidence, gates, run_info={}))
    record = next(r for r in found["distributions"] if r["quantity"].startswith("arc S/N of") and r["split"] == "train")
    mine = rows.columns["arc_snr"][rows.injected & (rows.columns["split"] == "train")]
    assert record["n"] == len(mine)
    assert [record["p5"], record["median"], record["p95"]] == pytest.approx(
        np.quantile(mine, (0.05, 0.5, 0.95)), rel=1e-5
    )
    train = found["splits"]["train"]
    assert train["arc_snr_above_10"] == pytest.approx((mine > 10).mean())
    assert train["sources"] == len(
        np.unique(rows.columns["source_own_index"][rows.injected & (rows.columns["split"] == "train")])
    )
    assert found["columns_under_other_names"]["theta_e_arcsec"] == "theta_e"


def test_the_page_escapes_what_comes_from_the_set(rows, validate_task, tmp_path):
    few = rows.take(np.arange(60)).with_columns(split=np.full(60, "<b>train"))
    write_gen5(few, tmp_path)
    evidence, _ = validate_set(validate_task(tmp_path))
    gate = Gate(QUESTION, "FAIL", "<script>alert(1)</script>", "")
    page = render_page(evidence, [gate], run_info={})
    assert "<script>alert" not in page and "<b>train" not in page
