"""task=cutouts and sky=store as a user types them."""

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
