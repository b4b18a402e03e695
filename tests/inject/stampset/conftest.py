"""A manifest of 60 rows on a small sky with few sources, and the configuration that renders it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.build import build_injector
from tests.inject.stampset.rows import manifest_table, write_manifest

FEW_SOURCES = "source.n_sources=40"


@pytest.fixture(scope="session")
def rows(small_config):
    """60 rows, 20 of each split, in an Arrow table."""
    return manifest_table(build_injector(small_config(FEW_SOURCES)), n_rows=60)


@pytest.fixture(scope="session")
def manifest(rows, tmp_path_factory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("manifest") / "manifest.parquet", rows)


@pytest.fixture(scope="session")
def overrides(manifest, cache_dir) -> Callable[..., list[str]]:
    """Command-line overrides of a task=stamps in parts of 8 rows; later ones win."""

    def make(output: object, *more: str, of: Path = manifest) -> list[str]:
        fixed = ["task=stamps", "debug=fast", "max_galaxies=256", FEW_SOURCES, "engine.num_processes=1"]
        small = ["task.rows_per_part=8", "task.row_group_size=4", f"paths.cache_dir={cache_dir}"]
        return [*fixed, *small, f"task.manifest={of}", f"task.output={output}", *more]

    return make


@pytest.fixture(scope="session")
def stamps_config(overrides) -> Callable[..., InjectRoot]:
    """``stamps_config(output, "task.verify=true", of=other_manifest)``."""

    def make(output: object, *more: str, **where: Path) -> InjectRoot:
        return compose_job("inject", overrides(output, *more, **where), schema=InjectRoot)

    return make
