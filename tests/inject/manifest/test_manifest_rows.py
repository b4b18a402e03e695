"""A row is a pure function of (seed, task id, galaxy), drawn by the functions that training draws with."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from dhs.config.load import ConfigError
from dhs.constants import BANDS
from dhs.inject.colour import draw_magnitudes
from dhs.inject.manifest.targets import load_targets
from dhs.inject.prior import draw_geometry
from dhs.inject.strength import build_strength, galaxies_of
from dhs.rng import Purpose, derived_rng, keyed_rng, stable_hash
from dhs.source.build import build_source
from tests.inject.manifest.conftest import columns_of, config_of, galaxy_list, nothing, rows_by_id

GOLDEN = {
    "grid_sota/39627000000000415/566/0": {
        "key_index": 4968563411484516408,
        "theta_e_arcsec": 1.25,
        "axis_ratio": 0.4285714285714286,
        "gamma1": 0.024484341033345215,
        "lens_x_arcsec": 0.013125907521661644,
        "source_index": 272,
        "source_x_arcsec": -0.839807800926186,
        "source_rotation_rad": 5.556928675921013,
        "source_g_mag": 22.263944231573753,
        "source_r_mag": 20.808931350708008,
        "source_z_mag": 19.88212890917,
        "natural_weight": 0.8986476652066417,
    },
    "grid_sota/39627000000000643/710/0": {
        "key_index": 6395337744657917246,
        "theta_e_arcsec": 1.5,
        "axis_ratio": 0.4285714285714286,
        "gamma1": 0.030009298818780363,
        "lens_x_arcsec": -0.04004826502168501,
        "source_index": 174,
        "source_x_arcsec": 0.7234472220528307,
        "source_rotation_rad": 2.149243232931583,
        "source_g_mag": 19.908110301428167,
        "source_r_mag": 19.740381240844727,
        "source_z_mag": 19.710079186682144,
        "natural_weight": 0.6399912681374067,
    },
}
"""Two rows of a manifest made when the format was new; whoever changes them changes every manifest."""


def test_rows_keep_their_values_for_ever(make):
    rows = rows_by_id(make("task/design=grid_sota", targets=galaxy_list(80)))
    for task_id, wanted in GOLDEN.items():
        for name, value in wanted.items():
            exact = isinstance(value, int)  # single-precision magnitudes may round otherwise on another machine
            assert rows[task_id][name] == (value if exact else pytest.approx(value, rel=1e-6)), (task_id, name)


def test_a_row_does_not_depend_on_what_else_is_asked_for(make):
    everything = rows_by_id(make("task/design=grid_sota", "task.design.cells_per_galaxy=4", "task.design.replicates=2"))
    some = make("task/design=grid_sota", "task.n_galaxies={train: 100, val: 20, test: 0}")
    alone = make("task/design=grid_sota", "task.n_galaxies={train: 0, val: 11, test: 0}", "task.controls.mode=none")
    for part in (some, alone):
        injected = {name: row for name, row in rows_by_id(part).items() if row["injected"]}
        shared = injected.keys() & everything.keys()
        assert len(shared) > 3
        for name in shared:
            assert injected[name] == everything[name], name
    assert rows_by_id(some).items() <= everything.items()


def test_a_row_does_not_depend_on_the_order_of_the_list(make):
    targets = galaxy_list(200)
    upside_down = targets.take(pa.array(np.arange(200)[::-1]))
    assert rows_by_id(make("task/design=prior", targets=targets)) == rows_by_id(
        make("task/design=prior", targets=upside_down)
    )


def test_cells_of_a_smaller_design_come_in_the_larger_one(make):
    few = rows_by_id(make("task/design=bright_arc", "task.design.per_cell=5"))
    many = rows_by_id(make("task/design=bright_arc", "task.design.per_cell=90"))
    assert len(few) == 40
    assert len(many) == 8 * 90
    assert few.items() <= many.items()


def test_another_seed_or_label_is_another_draw(make):
    first = columns_of(make("task/design=prior"))
    for change in ("seed=2", "task.design.label=again"):
        other = columns_of(make("task/design=prior", change))
        injected = first["injected"]
        np.testing.assert_array_equal(other["injected"], injected)
        assert not np.any(other["source_x_arcsec"][injected] == first["source_x_arcsec"][injected])


def test_prior_rows_are_what_the_functions_of_training_draw(make, tmp_path):
    """One row drawn here by hand, alone: no code of the manifest but its keys."""
    table = columns_of(make("task/design=prior", "lens=natural", "task.design.replicates=3"))
    config = config_of(
        tmp_path / "x.parquet", "task/design=prior", "lens=natural", f"task.targets={tmp_path}/targets.parquet"
    )
    galaxies = load_targets(config, config.task, progress=nothing)
    source = build_source(config.source, draw_templates=False)
    strength = build_strength(config.lens)
    for i in np.flatnonzero(table["injected"])[[0, 7, 30]]:
        index = stable_hash(table["task_id"][i]) >> 1
        assert table["key_index"][i] == index
        where = galaxies.rows_of(table["target_id"][i : i + 1])
        drawn = draw_geometry(
            [keyed_rng(1, Purpose.MANIFEST, 0, index)],
            galaxies=galaxies_of(galaxies, where),
            lens=config.lens,
            strength=strength,
            choose_source=source.choose,
        )
        for name in ("theta_e_arcsec", "axis_ratio", "gamma1", "source_x_arcsec", "natural_weight", "source_index"):
            assert table[name][i] == getattr(drawn, name)[0], name
        mags = draw_magnitudes(
            [derived_rng(1, Purpose.PHOTOMETRY, 0, index, of=Purpose.MANIFEST)],
            colour=config.colour,
            n_draws=1,
            z_source=drawn.z_source,
            own_mag=None,
        )[0, 0]
        assert [table[f"source_{band}_mag"][i] for band in BANDS] == mags.tolist()


def test_prior_draws_follow_the_priors(make):
    table = columns_of(make("task/design=prior", "task.design.replicates=10"))
    injected = table["injected"]
    theta = table["theta_e_arcsec"][injected]
    assert stats.kstest(theta, stats.uniform(0.5, 2.0).cdf).pvalue > 1e-3
    slope, span = 0.3, 3.5
    cdf = lambda m: (10 ** (slope * (m - 22.5)) - 1) / (10 ** (slope * span) - 1)  # noqa: E731
    assert stats.kstest(table["source_r_mag"][injected], cdf).pvalue > 1e-3
    assert np.isnan(table["theta_e_arcsec"][~injected]).all()
    assert (table["source_index"][~injected] == -1).all()


def test_every_quantity_of_a_grid_is_used_as_asked(make):
    axes = {
        "theta_e_arcsec": "[0.8, 1.6]",
        "axis_ratio": "[0.6]",
        "phi_rad": "[0.3]",
        "gamma1": "[0.02]",
        "gamma2": "[-0.03]",
        "lens_x_arcsec": "[0.1]",
        "lens_y_arcsec": "[-0.1]",
        "source_index": "[7, 250]",
        "source_x_arcsec": "[0.2]",
        "source_y_arcsec": "[0.05]",
        "source_rotation_rad": "[1.0]",
        "source_r_mag": "[23.5]",
        "psf_fwhm_g_arcsec": "[1.5]",
        "psf_fwhm_r_arcsec": "[1.25]",
        "psf_fwhm_z_arcsec": "[0.75]",
    }
    spelt = ", ".join(f"{name}: {values}" for name, values in axes.items())
    table = columns_of(make("task/design=grid", f"task.design.axes={{{spelt}}}", "task.design.cells_per_galaxy=all"))
    injected = table["injected"]
    assert injected.sum() > 100
    for name in axes:
        np.testing.assert_array_equal(table[name][injected], table[f"asked_{name}"][injected], err_msg=name)
        assert np.isnan(table[f"asked_{name}"][~injected]).all()
    assert sorted(np.unique(table["source_index"][injected])) == [7, 250]


def test_colours_and_offsets_of_a_grid_are_used_as_asked(make):
    axes = "{theta_e_arcsec: [1.0, 2.0], source_offset_theta_e: [0.25], source_g_r: [0.1], source_r_z: [0.6], shear: [0.1], shear_angle_rad: [1.0]}"  # noqa: E501
    table = columns_of(make("task/design=grid", f"task.design.axes={axes}", "task.design.cells_per_galaxy=all"))
    table = {name: column[table["injected"]] for name, column in table.items()}
    np.testing.assert_allclose(table["source_g_mag"] - table["source_r_mag"], 0.1, atol=1e-12)
    np.testing.assert_allclose(table["source_r_mag"] - table["source_z_mag"], 0.6, atol=1e-12)
    np.testing.assert_allclose(np.arctan2(table["gamma2"], table["gamma1"]), 1.0)
    x, y, g1, g2 = (table[name] for name in ("lens_x_arcsec", "lens_y_arcsec", "gamma1", "gamma2"))
    dx = table["source_x_arcsec"] - (x - (g1 * x + g2 * y))
    dy = table["source_y_arcsec"] - (y - (g2 * x - g1 * y))
    np.testing.assert_allclose(np.hypot(dx, dy), 0.25 * table["theta_e_arcsec"])


def test_dmag_is_the_seeds_lens_magnitude_plus_dmag_and_colours_stay_free(make):
    targets = galaxy_list()
    table = columns_of(make("task/design=grid_sota", targets=targets))
    flux = dict(zip(targets["target_id"].to_pylist(), targets["flux_r_nmgy"].to_pylist(), strict=True))
    injected = np.flatnonzero(table["injected"])
    lens_r = np.array([22.5 - 2.5 * np.log10(flux[table["target_id"][i]]) for i in injected])
    np.testing.assert_allclose(table["source_r_mag"][injected] - lens_r, table["asked_dmag"][injected], atol=2e-6)
    assert set(table["asked_dmag"][injected]) == {0.5, 1.0, 1.5, 2.0}
    g_r = (table["source_g_mag"] - table["source_r_mag"])[injected]
    assert np.std(g_r) > 0.2
    assert len(np.unique(np.round(g_r, 6))) == len(g_r)


def test_ellipticity_and_shear_are_those_of_the_conventions(make):
    table = columns_of(make("task/design=grid_sota"))
    table = {name: column[table["injected"]] for name, column in table.items()}
    q = table["axis_ratio"]
    np.testing.assert_allclose((1 - q) / (1 + q), table["asked_ellipticity"], atol=1e-12)
    np.testing.assert_allclose(np.hypot(table["gamma1"], table["gamma2"]), table["asked_shear"], atol=1e-12)
    np.testing.assert_array_equal(table["theta_e_arcsec"], table["asked_theta_e_arcsec"])


def test_the_source_lies_inside_the_caustic_of_the_lens_asked_for(make):
    """With the caustic of another theta_E, sources of the smallest lens would lie outside its own cut."""
    table = columns_of(
        make("task/design=grid", "task.design.axes={theta_e_arcsec: [0.5, 2.5], axis_ratio: [1.0], shear: [0.0]}")
    )
    table = {name: column[table["injected"]] for name, column in table.items()}
    offset = np.hypot(
        table["source_x_arcsec"] - table["lens_x_arcsec"], table["source_y_arcsec"] - table["lens_y_arcsec"]
    )
    ratio = offset / table["theta_e_arcsec"]
    assert ratio.max() <= 1.0 + 1e-6
    assert stats.kstest(ratio**2, stats.uniform(0, 1).cdf).pvalue > 1e-3


def test_bright_arcs_are_uniform_in_their_bins(make):
    table = columns_of(make("task/design=bright_arc", "task.design.per_cell=200"))
    assert table["injected"].all()
    low = 18.0 + table["cell"]
    within = table["source_r_mag"] - low
    assert stats.kstest(within, stats.uniform(0, 1).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(np.bincount(table["cell"]), np.full(8, 200))
    assert set(table["split"]) == {"test"}
    assert np.abs(np.corrcoef(within, table["source_g_mag"] - table["source_r_mag"])[0, 1]) < 0.1


def test_an_index_beyond_the_source_is_refused(make):
    with pytest.raises(ValueError, match="has 300 sources; allowed: 0 to 299"):
        make("task/design=grid", "task.design.axes={source_index: [300]}")


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ("{theta: [1]}", "'theta' is no quantity"),
        ("{theta_e_arcsec: [1, 9]}", r"axes.theta_e_arcsec = 9: must lie in \[0.05, 6\]"),
        ("{theta_e_arcsec: [1, 1]}", "must be different values"),
        ("{theta_e_arcsec: []}", "must be different values"),
        ("{axis_ratio: [0.5], ellipticity: [0.1]}", "exclude each other"),
        ("{source_index: [1.5]}", "whole numbers"),
        ("{}", "give at least one of"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(tmp_path, axes, told):
    with pytest.raises(ConfigError, match=told):
        config_of(tmp_path / "m.parquet", "task/design=grid", f"task.design.axes={axes}")


def test_the_arcs_psf_cannot_be_given_where_it_comes_from_images(tmp_path, shared_data):
    sky = ["sky=files", f"sky.paths=[{shared_data}/cutouts/dr9_south_256_grz.npz]", "psf=survey"]
    with pytest.raises(ConfigError, match="psf = survey takes the PSF from images"):
        config_of(tmp_path / "m.parquet", "task/design=grid", "task.design.axes={psf_fwhm_r_arcsec: [1.0]}", *sky)
