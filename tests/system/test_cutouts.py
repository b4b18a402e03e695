"""task=cutouts and sky=store as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.sky.store_files import target_table, write_bricks

REPO = Path(__file__).resolve().parents[2]


def inject(*overrides):
    return subprocess.run([sys.executable, "inject.py", *overrides], cwd=REPO, capture_output=True, text=True)


def test_from_a_list_to_a_contact_sheet(tmp_path):
    write_bricks(tmp_path / "coadd")
    pq.write_table(target_table(), tmp_path / "targets.parquet")
    task = ["task=cutouts", f"task.targets={tmp_path}/targets.parquet", f"task.output={tmp_path}/store"]
    made = inject(*task, f"task.bricks.root={tmp_path}/coadd", "task.bricks.num_processes=1")
    assert made.returncode == 0, made.stderr
    assert "cutouts: 60/60 targets" in made.stdout
    assert "55 of 60 targets have a cutout; left out: 5 masked_centre" in made.stdout
    sheet = inject(
        "task=sheet",
        "task.n_stamps=4",
        f"task.output={tmp_path}/sheet.png",
        "sky=store",
        f"sky.path={tmp_path}/store",
        "source=sersic",
        "source.n_sources=50",
        "inject=paired",
        "inject.acceptance.max_tries=1",
        f"paths.cache_dir={tmp_path}/cache",
    )
    assert sheet.returncode == 0, sheet.stderr
    assert "55 cutouts of 60 targets; left out: 5 masked_centre" in sheet.stdout
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_store_of_anchors_is_audited_by_its_pixels(tmp_path):
    """The store's targets as an anchor list: those on the test bricks' galaxies are looked at, whatever their names."""
    write_bricks(tmp_path / "coadd")
    table = target_table()
    pq.write_table(table, tmp_path / "targets.parquet")
    task = ["task=cutouts", f"task.targets={tmp_path}/targets.parquet", f"task.output={tmp_path}/store"]
    assert inject(*task, f"task.bricks.root={tmp_path}/coadd", "task.bricks.num_processes=1").returncode == 0
    rows = [f"t{i},{ra},{dec},ring" for i, (ra, dec) in enumerate(zip(*positions(table), strict=True))]
    (tmp_path / "list.csv").write_text("\n".join(["name,ra_deg,dec_deg,kind", *rows]) + "\n")
    audit = subprocess.run(
        [
            sys.executable,
            "evaluate.py",
            "task=audit",
            "anchors=csv",
            f"anchors.path={tmp_path}/list.csv",
            f"anchors.cutouts=[{tmp_path}/store]",
            f"task.output={tmp_path}/audit",
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert audit.returncode in (0, 1), audit.stderr
    summary = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert summary["checks"]["pixels"].get("not checked", 0) == 5  # the five without a cutout
    assert summary["n"] == 60


def positions(table) -> tuple[list[float], list[float]]:
    return table["ra_deg"].to_pylist(), table["dec_deg"].to_pylist()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.targets=none.csv", "task.bricks.root=x"], "task.targets = none.csv: no such file"),
        (["task.targets=none.csv"], "task.bricks.root = null: must be the folder or URL of the coadds"),
        (["task.targets=a.csv", "task.source=service", "task.service.urls=[a.org]"], "must start with http"),
        (["task.targets=a.csv", "task.stamp_size_px=8"], "task.stamp_size_px = 8: must be greater than"),
    ],
)
def test_a_wrong_job_is_one_line_and_exit_code_2(tmp_path, overrides, message):
    result = inject("task=cutouts", f"task.output={tmp_path}/store", *overrides)
    assert result.returncode == 2
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
