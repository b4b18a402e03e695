"""Which galaxy gets which cell, and which are controls."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.manifest.design import build_design
from dhs.inject.manifest.plan import mixed
from dhs.rng import Purpose, stable_fraction
from tests.inject.manifest.conftest import columns_of, galaxy_list


def test_grid_sota_is_the_grid_of_the_seeds():
    config = compose_job("inject", ["task=manifest"], schema=InjectRoot)
    design = build_design(config.task.design)
    assert design.n_cells == 1008
    values = {axis.name: axis.low.tolist() for axis in design.axes}
    assert values == {
        "theta_e_arcsec": [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5],
        "dmag": [0.5, 1.0, 1.5, 2.0],
        "source_hlr_arcsec": [0.06, 0.10, 0.15, 0.20],
        "ellipticity": [0.0, 0.2, 0.4],
        "shear": [0.0, 0.02, 0.04],
    }
    last = design.asked(np.array([0, 1, 1007]), within=np.zeros(3))
    assert [column.tolist() for column in last.values()] == [
        [0.5, 0.5, 2.5],
        [0.5, 0.5, 2.0],
        [0.06, 0.06, 0.20],
        [0.0, 0.0, 0.4],
        [0.0, 0.02, 0.04],
    ]


def test_the_full_cross_has_every_cell_once_for_every_host(make):
    few = "task.n_galaxies={train: 12, val: 0, test: 0}"
    table = columns_of(make("task/design=grid_sota", "task.design.cells_per_galaxy=all", few))
    for target in np.unique(table["target_id"][table["injected"]]):
        cells = table["cell"][table["target_id"] == target]
        assert sorted(cells) == list(range(1008))


def test_a_galaxy_gets_different_cells_and_all_cells_are_as_likely(make):
    targets = galaxy_list(3000)
    table = columns_of(
        make(
            "task/design=grid",
            "task.design.axes={theta_e_arcsec: [0.5, 1.0, 1.5], shear: [0.0, 0.1], source_r_mag: [23, 25]}",
            "task.design.cells_per_galaxy=7",
            targets=targets,
        )
    )
    injected = table["injected"]
    pairs = np.stack([table["target_id"][injected], table["cell"][injected]], axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert stats.chisquare(np.bincount(table["cell"][injected], minlength=12)).pvalue > 1e-3


def test_rows_are_sorted_by_split_and_a_galaxy_stays_in_its_own(make):
    targets = galaxy_list()
    table = columns_of(make("task/design=prior", "task.design.replicates=3", targets=targets))
    order = [("train", "val", "test").index(split) for split in table["split"]]
    assert order == sorted(order)
    splits = {target: set() for target in table["target_id"].tolist()}
    for target, split in zip(table["target_id"].tolist(), table["split"], strict=True):
        splits[target].add(split)
    assert all(len(each) == 1 for each in splits.values())
    assert len(np.unique(table["task_id"])) == len(table["task_id"])


def test_unpaired_controls_are_those_of_training(make):
    table = columns_of(make("task/design=prior"))
    for target, kind, injected in zip(table["target_id"], table["kind"], table["injected"], strict=True):
        assert injected == (kind == "lrg" and stable_fraction(str(target), salt="control") < 0.5)
    assert len(np.unique(table["target_id"])) == 600


def test_a_manifest_of_a_sky_has_the_pools_of_its_stream(small_injector, small_config, tmp_path):
    from dhs.inject.manifest.plan import pool_of

    config = compose_job("inject", ["task=manifest"], schema=InjectRoot)
    for purpose, split in ((Purpose.TRAIN, "train"), (Purpose.VAL, "val"), (Purpose.TEST, "test")):
        pool = pool_of(small_injector.cutouts, split=split, task=config.task)
        np.testing.assert_array_equal(pool.hosts, small_injector.pool(purpose).hosts)
        np.testing.assert_array_equal(pool.controls, small_injector.pool(purpose).negatives)


def test_the_control_fraction_moves_the_share_and_keeps_the_rest(make):
    hosts = {}
    for fraction in (0.2, 0.5, 0.8):
        table = columns_of(make("task/design=prior", f"task.controls.fraction={fraction}", "task.controls.kinds=[lrg]"))
        assert set(table["kind"]) == {"lrg"}
        assert (~table["injected"]).mean() == pytest.approx(fraction, abs=0.06)
        hosts[fraction] = set(table["target_id"][table["injected"]].tolist())
    assert hosts[0.8] < hosts[0.5] < hosts[0.2]


def test_pairs_are_the_same_galaxy_with_and_without(make):
    table = columns_of(make("task/design=prior", "task.controls.mode=paired", "task.design.replicates=2"))
    assert set(table["kind"]) == {"lrg"}
    for pair in np.unique(table["pair_id"]):
        mine = table["pair_id"] == pair
        assert len(np.unique(table["target_id"][mine])) == 1
        assert sorted(table["injected"][mine]) == [False, True, True]


def test_no_controls_and_repeated_controls(make):
    assert columns_of(make("task/design=prior", "task.controls.mode=none"))["injected"].all()
    table = columns_of(make("task/design=prior", "task.controls.rows_per_galaxy=3"))
    counts = np.unique(table["target_id"][~table["injected"]], return_counts=True)[1]
    assert set(counts) == {3}
    assert set(table["replicate"][~table["injected"]]) == {0, 1, 2}


def test_selection_hosts_have_the_conditions_of_their_cell(make):
    targets = galaxy_list(4000)
    table = columns_of(make("task/design=selection", "task.design.per_cell=7", targets=targets))
    seeing_edges = [0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.9]
    depth_edges = [23.5, 24.0, 24.4, 24.8, 25.2, 26.0]
    depth_of = dict(zip(targets["target_id"].to_pylist(), targets["psfdepth_r_mag"].to_pylist(), strict=True))
    theta_place, seeing_place, depth_place = np.unravel_index(table["cell"], (11, 7, 5))
    depth = np.array([depth_of[target] for target in table["target_id"]])
    np.testing.assert_array_equal(np.digitize(table["psf_fwhm_r_arcsec"], np.float32(seeing_edges)) - 1, seeing_place)
    np.testing.assert_array_equal(np.digitize(depth, depth_edges) - 1, depth_place)
    np.testing.assert_allclose(table["theta_e_arcsec"], 0.5 + 0.2 * theta_place)
    assert set(np.bincount(table["cell"])[np.unique(table["cell"])]) == {7}


def test_empty_cells_are_left_empty_and_said(make):
    targets = galaxy_list(2000)
    table = make("task/design=selection", "task.design.per_cell=2", targets=targets)
    summary = make.summary
    cells = summary["splits"]["test"]["cells"]
    filled = np.unique(table["cell"].to_numpy())
    assert summary["n_cells"] == 385
    assert cells["filled"] == len(filled)
    assert cells["empty"] == 385 - len(filled) > 0
    assert set(cells["empty_cells"]) == set(range(385)) - set(filled.tolist())
    without = [each for each in summary["splits"]["test"]["hosts_by_condition"] if each["hosts"] == 0]
    assert len(without) * 11 == cells["empty"]
    assert any("have no hosts" in warning for warning in summary["warnings"])


def test_a_cell_of_few_hosts_uses_each_as_often_and_records_it(make):
    targets = galaxy_list(2500)
    table = columns_of(make("task/design=selection", "task.design.per_cell=20", targets=targets))
    cells = make.summary["splits"]["test"]["cells"]
    reused = set()
    for cell in np.unique(table["cell"]):
        mine = table["cell"] == cell
        hosts, counts = np.unique(table["target_id"][mine], return_counts=True)
        assert counts.max() - counts.min() <= 1
        if len(hosts) < 20:
            reused.add(int(cell))
            assert table["replicate"][mine].max() == counts.max() - 1
        else:
            assert table["replicate"][mine].max() == 0
    assert reused == set(cells["hosts_reused_cells"])
    assert 0 < len(reused)
    assert any("serve again" in warning for warning in make.summary["warnings"])


def test_cells_choose_their_hosts_independently(make):
    """The same hosts in every cell would make 385 completenesses share one accident."""
    table = columns_of(make("task/design=bright_arc", "task.design.per_cell=20", targets=galaxy_list(3000)))
    first, second = (set(table["target_id"][table["cell"] == cell]) for cell in (0, 1))
    assert len(first & second) < 12


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("task.n_galaxies.train=9000", r"task.n_galaxies.train = 9000: the split has \d+ galaxies"),
        ("max_galaxies=2", "split '.*' is empty"),
    ],
)
def test_too_few_galaxies_are_refused_with_the_remedy(make, override, told):
    if override.startswith("max"):
        targets = galaxy_list(40)
        targets = targets.set_column(targets.column_names.index("kind"), "kind", pa.array(["spiral"] * 40))
        with pytest.raises(ValueError, match=told):
            make("task/design=prior", targets=targets)
        return
    with pytest.raises(ValueError, match=told):
        make("task/design=prior", override)


def test_a_selection_without_any_host_is_refused(make):
    with pytest.raises(ValueError, match="none of the .* hosts has an r-band seeing and depth within the cells"):
        make("task/design=selection", "task.design.psfsize_r_edges_arcsec=[3.0, 4.0]")


def test_mixing_is_a_bijection_that_spreads_neighbours():
    out = mixed(np.arange(100_000, dtype=np.uint64))
    assert len(np.unique(out)) == 100_000
    assert mixed(np.array([0], np.uint64))[0] == 0xE220A8397B1DCDAF  # SplitMix64's first output for seed 0 (Vigna)
    assert stats.kstest(out / 2.0**64, "uniform").pvalue > 1e-3
