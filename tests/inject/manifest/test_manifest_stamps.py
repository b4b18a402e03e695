"""From Parquet to pixels: the stamps of a manifest are those of the recipes it was made of."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.build import build_painter
from dhs.inject.manifest import run
from dhs.inject.manifest.run import make_manifest
from dhs.inject.manifest.table import recipes_of
from tests.inject.manifest.conftest import SMALL_SOURCE, nothing


@pytest.fixture(scope="module")
def config(cache_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stamps")
    return compose_job(
        "inject",
        ["task=manifest", f"task.output={folder}/m.parquet", f"paths.cache_dir={cache_dir}", "max_galaxies=256"]
        + ["inject.arc_noise=poisson_correlated", "psf.ellipticity_sigma=0.03", *SMALL_SOURCE],
        schema=InjectRoot,
    )


def test_stamps_of_a_manifest_read_back_are_those_of_the_recipes_in_memory(config, monkeypatch):
    drawn, table_of = [], run.manifest_table
    monkeypatch.setattr(run, "manifest_table", lambda d, *a, **k: drawn.append(d) or table_of(d, *a, **k))
    make_manifest(config, config.task, sky_progress=nothing, progress=nothing)
    painter = build_painter(config)
    table = pq.read_table(config.task.output).slice(0, 40)
    recipes = recipes_of(table, painter.cutouts)
    assert 4 < recipes.injected.sum() < 40
    read = painter.stamps(recipes, measure=True)
    made = painter.stamps(drawn[0].recipes.take(np.arange(40)), measure=True)
    assert torch.equal(read.images, made.images)
    assert torch.equal(read.good, made.good)
    alone = painter.stamps(recipes.take(np.array([int(np.flatnonzero(recipes.injected)[2])])))
    assert torch.equal(alone.images[0], read.images[np.flatnonzero(recipes.injected)[2]])
    injected = recipes.injected
    np.testing.assert_array_equal(
        table["source_hlr_arcsec"].to_numpy()[injected], read.measures.source_hlr_arcsec[injected]
    )
    changed = (read.images.numpy() != painter.cutouts.images[recipes.row]).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, injected)


def test_a_sky_without_the_galaxies_is_refused(config):
    make_manifest(config, config.task, sky_progress=nothing, progress=nothing)
    painter = build_painter(config)
    with pytest.raises(ValueError, match="the sky has no target_id"):
        recipes_of(pq.read_table(config.task.output), painter.cutouts.take(np.arange(100)))
