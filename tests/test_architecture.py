"""The house rules that can be checked: imports run one way, files stay small, heavy optional imports stay lazy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
ALLOWED = {
    "config": {"config"},
    "sky": {"sky", "config"},
    "sweep": {"sweep", "sky", "config"},
    "source": {"source", "config"},
    "lens": {"lens", "config"},
    "inject": {"inject", "lens", "source", "sky", "config"},
    "train": {"train", "inject", "lens", "source", "sky", "config"},
    "evaluate": {"evaluate", "train", "inject", "lens", "source", "sky", "config"},
}
"""Rooms that each room may know; modules directly under dhs (constants, rng, display) are open to all."""


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_one_way(room):
    for path in (REPO / "dhs" / room).rglob("*.py"):
        rooms = {name.split(".")[1] for name in imported_modules(path) if name.startswith("dhs.") and "." in name}
        rooms &= {p.name for p in (REPO / "dhs").iterdir() if p.is_dir()} | {"commands"}
        assert rooms <= ALLOWED[room], f"{path.name} imports {rooms - ALLOWED[room]}"


def test_only_reference_imports_lenstronomy():
    users = [p.name for p in (REPO / "dhs").rglob("*.py") if any("lenstronomy" in m for m in imported_modules(p))]
    assert users == ["reference.py"]


def test_no_file_is_longer_than_500_lines():
    for path in [*REPO.glob("*.py"), *(REPO / "dhs").rglob("*.py"), *(REPO / "tests").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 500, path


def test_entry_scripts_are_under_80_lines():
    for name in ("train.py", "inject.py", "evaluate.py"):
        assert len((REPO / name).read_text().splitlines()) < 80


def test_everything_imports_without_galsim_lenstronomy_and_wandb():
    """A GPU box without them still trains from a bank and cutout files."""
    code = (
        "import sys\n"
        "for name in ('galsim', 'lenstronomy', 'wandb'): sys.modules[name] = None\n"
        "import dhs.commands.train, dhs.commands.inject, dhs.commands.evaluate\n"
        "import dhs.inject.build, dhs.train.fit, dhs.evaluate.run, dhs.source.cosmos, dhs.sky.mock\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)


def test_every_folder_of_tests_is_a_package_so_that_two_files_may_have_one_name():
    folders = {path.parent for path in REPO.glob("tests/**/*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
