"""Lists of targets that cannot serve are refused in one line that says what to do."""

import numpy as np
import pyarrow as pa
import pytest

from tests.inject.manifest.conftest import columns_of, galaxy_list


def with_column(name: str, values) -> pa.Table:
    table = galaxy_list(60)
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.array(values))


def holed(name: str, hole) -> pa.Table:
    values = galaxy_list(60)[name].to_pylist()
    values[17] = hole
    return with_column(name, values)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (galaxy_list(60).drop_columns(["psfsize_r_arcsec"]), "no column psfsize_r_arcsec; needed: the seeing"),
        (galaxy_list(60).drop_columns(["target_id"]), "no column target_id"),
        (holed("psfsize_g_arcsec", float("nan")), "1 of 60 galaxies have no seeing"),
        (holed("psfsize_z_arcsec", 0.0), "1 of 60 galaxies have no seeing"),
        (holed("ra_deg", float("nan")), "1 of 60 targets have no split"),
        (with_column("target_id", [5] * 2 + list(range(100, 158))), "duplicate ids, first target_id 5, 2 times"),
        (holed("flux_r_nmgy", -1.0), "1 of .* hosts have no r magnitude"),
        (galaxy_list(60).slice(0, 0), "no rows"),
    ],
)
def test_an_unfit_list_is_refused(make, targets, told):
    with pytest.raises(ValueError, match=told) as caught:
        make(
            "task/design=grid_sota",
            "task.controls.mode=none",
            "task.n_galaxies={train: null, val: 0, test: 0}" if "magnitude" not in told else "task.n_galaxies={}",
            targets=targets,
        )
    assert "\n" not in str(caught.value)


def test_an_empty_split_is_refused_with_the_remedy(make):
    targets = galaxy_list(60).append_column("split", pa.array(["train"] * 60))
    with pytest.raises(ValueError, match=r"split 'val' is empty.*task.n_galaxies.val=0"):
        make("task/design=prior", targets=targets)
    table = make("task/design=prior", "task.n_galaxies={val: 0, test: 0}", targets=targets)
    assert set(table["split"].to_pylist()) == {"train"}


def test_a_lens_prior_that_needs_redshifts_is_refused_without_them(make):
    targets = galaxy_list(200).drop_columns(["z_phot"])
    with pytest.raises(ValueError, match="lens = photometric: .* no redshift"):
        make("task/design=prior", "lens=photometric", targets=targets)
    assert make("task/design=selection", "lens=photometric", "task.design.per_cell=1", targets=targets).num_rows > 0


def test_psf_shapes_of_a_list_are_those_that_a_sky_would_draw(make):
    from dhs.rng import Purpose, keyed_rng

    table = columns_of(make("task/design=prior", "psf.ellipticity_sigma=0.05"))
    drawn = keyed_rng(0, Purpose.PSF, 0, int(table["target_id"][3])).standard_normal((2, 3)) * 0.05
    np.testing.assert_array_equal(
        [[table[f"psf_{band}_{part}"][3] for band in "grz"] for part in ("e1", "e2")], np.float32(drawn)
    )
