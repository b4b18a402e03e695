"""Injections of the selection function: honest conditions, the manifest's own draws, a planted finder found again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot, TrainConfig
from dhs.config.selection import SelectionSettings
from dhs.constants import BANDS, CLASSES, SPLITS
from dhs.evaluate.selection.cells import completeness
from dhs.evaluate.selection.curves import completeness_curve
from dhs.evaluate.selection.items import NoHosts, SelectionItems
from dhs.inject.build import build_painter
from dhs.inject.manifest.run import make_manifest
from dhs.inject.painter import Painter
from tests.conftest import SMALL
from tests.evaluate.selection.planted import injections_from, scored

SETTINGS = SelectionSettings(per_cell=12, theta_e_arcsec=(0.6, 1.2, 2.0))
NOBODY = np.zeros(0, np.int64)


@pytest.fixture(scope="module")
def config(small_config: Callable[..., TrainConfig]) -> TrainConfig:
    return small_config()


@pytest.fixture(scope="module")
def painter(config: TrainConfig) -> Painter:
    return build_painter(config)


def items_of(
    painter: Painter, config: TrainConfig, settings: SelectionSettings = SETTINGS, calibrating: np.ndarray = NOBODY
) -> SelectionItems:
    return SelectionItems(
        painter,
        settings=settings,
        lens=config.lens,
        colour=config.colour,
        seed=config.seed,
        calibrating=calibrating,
    )


@pytest.fixture(scope="module")
def items(painter: Painter, config: TrainConfig) -> SelectionItems:
    return items_of(painter, config)


def test_every_stamp_is_an_unchanged_galaxy_of_the_test_sky_with_the_conditions_of_its_cell(items, painter):
    index = np.arange(len(items))
    stamps = items.stamps(index)
    columns = items.columns(stamps, index)
    t, p, d = np.unravel_index(columns["cell"], items.grid.shape)
    row, sky = stamps.recipes.row, painter.cutouts
    assert (sky.split[row] == SPLITS.index("test")).all() and (sky.kind[row] == CLASSES.index("lrg")).all()
    assert np.array_equal(stamps.recipes.theta_e_arcsec, items.grid.theta_e_arcsec[t])
    r = BANDS.index("r")
    seeing, depth = sky.psf_fwhm_arcsec[row, r], sky.psf_depth_mag[row, r]
    assert (seeing >= items.grid.psf_edges_arcsec[p]).all() and (seeing < items.grid.psf_edges_arcsec[p + 1]).all()
    assert (depth >= items.grid.depth_edges_mag[d]).all() and (depth < items.grid.depth_edges_mag[d + 1]).all()
    assert np.array_equal(stamps.recipes.psf_fwhm_arcsec, sky.psf_fwhm_arcsec[row])  # the arc's PSF is the galaxy's
    arcs = stamps.images.numpy() - np.asarray(sky.images[row])
    assert arcs.min() > -1e-4 and (arcs.sum(axis=(1, 2, 3)) > 0).all()  # an arc was added, and nothing else was done
    snr = (arcs * stamps.good.numpy()).sum(axis=(2, 3))
    assert np.corrcoef(snr[:, r], columns["arc_snr_sum"])[0, 1] > 0.5


def test_cells_without_a_galaxy_have_no_injections_and_the_others_all_of_theirs(items, painter):
    counts = np.bincount(
        items.columns(items.stamps(np.arange(len(items))), np.arange(len(items)))["cell"], minlength=items.grid.n_cells
    )
    assert (items.cell_hosts == 0).any() and (items.cell_hosts > 0).any()
    assert np.array_equal(counts, np.where(items.cell_hosts > 0, SETTINGS.per_cell, 0))


def test_an_injection_does_not_depend_on_what_else_is_asked_for(items):
    chosen = np.array([5, 17, len(items) - 1])
    together, alone = (
        items.stamps(np.arange(len(items))).take(chosen),
        [items.stamps(chosen[i : i + 1]) for i in range(3)],
    )
    for i, one in enumerate(alone):
        assert torch.equal(one.images[0], together.images[i])
        assert np.array_equal(one.recipes.key[0], together.recipes.key[i])
    fewer = SelectionSettings(**(SETTINGS.model_dump() | {"per_cell": 6}))
    assert fewer.design.label == SETTINGS.design.label


def test_a_larger_function_contains_the_smaller_one(items, painter, config):
    smaller = items_of(painter, config, SelectionSettings(**(SETTINGS.model_dump() | {"per_cell": 4})))
    keys = {tuple(key) for key in items.stamps(np.arange(len(items))).recipes.key.tolist()}
    assert {tuple(key) for key in smaller.stamps(np.arange(len(smaller))).recipes.key.tolist()} < keys


def test_the_recipes_are_those_of_the_selection_manifest(items, config, tmp_path: Path):
    design = {name: list(getattr(SETTINGS, name)) for name in ("psfsize_r_edges_arcsec", "psfdepth_r_edges_mag")}
    overrides = [f"task.design.{name}={values}" for name, values in design.items()]
    root = compose_job(
        "inject",
        [*SMALL, f"paths.cache_dir={config.paths.cache_dir}", "task=manifest", "task/design=selection", *overrides,
         f"task.design.theta_e_arcsec={list(SETTINGS.theta_e_arcsec)}", f"task.design.per_cell={SETTINGS.per_cell}",
         f"task.output={tmp_path / 'manifest.parquet'}"],
        schema=InjectRoot,
    )  # fmt: skip
    make_manifest(root, root.task, sky_progress=lambda *_: None, progress=lambda *_: None)  # type: ignore[arg-type]
    rows = pq.read_table(tmp_path / "manifest.parquet")
    ours = items.stamps(np.arange(len(items))).recipes.columns()
    assert rows.num_rows == len(items)
    for name in ("key_index", "target_id", "theta_e_arcsec", "source_index", "source_x_arcsec", "source_r_mag"):
        theirs = rows[name].to_numpy()
        assert np.allclose(ours.get(name, ours.get("source_r_mag")), theirs, rtol=1e-6), name


def test_galaxies_that_set_the_threshold_are_no_hosts(items, painter, config):
    taken = painter.cutouts.target_id[items.hosts[::2]]
    rest = items_of(painter, config, calibrating=taken)
    hosts = rest.stamps(np.arange(len(rest))).recipes.target_id
    assert not np.isin(hosts, taken).any() and rest.identity != items.identity


def test_a_sky_without_a_galaxy_in_any_cell_is_said(painter, config):
    settings = SelectionSettings(psfsize_r_edges_arcsec=(3.0, 4.0))
    with pytest.raises(NoHosts, match=r"none of the \d+ lens galaxies of the test sky has an r-band seeing"):
        items_of(painter, config, settings)


def test_a_finder_of_known_selection_gives_its_completeness_back(painter, config):
    settings = SelectionSettings(per_cell=60, theta_e_arcsec=(0.6, 1.2, 2.0))
    items = items_of(painter, config, settings)
    table, chance = scored(items)
    made = injections_from(table, grid=items.grid)
    cells = completeness(made, found=made.logit > 0)
    expected = np.bincount(made.cell, weights=chance, minlength=items.grid.n_cells) / np.maximum(1, cells.n.ravel())
    some = cells.n.ravel() > 0
    inside = (cells.low.ravel() <= expected) & (expected <= cells.high.ravel())
    assert inside[some].mean() > 0.9 and expected[some].min() < 0.35 and expected[some].max() > 0.45
    edges = np.array([0, 10, 20, 40, 80, 160], float)
    curve = completeness_curve(
        made.arc_snr_sum, edges=edges, found=made.logit > 0, weight=np.ones(len(made)), host=made.host, rho=0.0
    )
    bins = np.searchsorted(edges, made.arc_snr_sum, side="right") - 1
    law = np.array([chance[bins == b].mean() for b in range(5)])
    assert ((curve.low <= law) & (law <= curve.high)).sum() >= 4
    assert (np.diff(curve.value) > 0).all()


def test_a_finder_that_sees_all_above_a_signal_to_noise_is_a_step_over_it(painter, config):
    items = items_of(painter, config)
    index = np.arange(len(items))
    columns = items.columns(items.stamps(index), index)
    found = columns["arc_snr_sum"] > 25
    curve = completeness_curve(
        columns["arc_snr_sum"].astype(float),
        edges=np.array([0.0, 10.0, 25.0000001, 60.0, 1e6]),
        found=found,
        weight=np.ones(len(index)),
        host=columns["target_id"],
        rho=0.0,
    )
    assert curve.value.tolist() == [0, 0, 1, 1] and curve.n.min() > 5
