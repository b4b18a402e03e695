"""`task=one`: the stream's stamp bit for bit, a header that says it all, and what is not given drawn."""

from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from dhs.config.load import ConfigError, validate
from dhs.config.one import OneTask, RecipeKeys
from dhs.config.sky import FilesSky
from dhs.inject.build import build_injector, build_painter
from dhs.inject.one.choose import choose, recipe_of_keys
from dhs.inject.one.figure import one_figure
from dhs.inject.one.fits_file import read_recipe, require_header_gives, write_one
from dhs.inject.one.stamp import paint
from dhs.lens.sie import radial_caustics
from dhs.rng import Purpose
from dhs.sky.files import load_files_sky


@pytest.fixture(scope="module")
def small(small_config):
    """``small("inject.arc_noise=none", ...)``: a configuration whose sources are drawn in no time."""
    return lambda *overrides: small_config("source.n_sources=64", *overrides)


@pytest.fixture(scope="module")
def injector(small):
    return build_injector(small())


def task_of(tmp_path, **keys) -> OneTask:
    return validate({"name": "one", "output": tmp_path / "one.fits"} | keys, schema=OneTask)


def written(config, task):
    chosen = choose(config, task=task)
    stamp = paint(chosen)
    write_one(task.output, stamp, config=chosen.config)
    return chosen, stamp


def pixels(path, extension):
    with fits.open(path) as hdus:
        return hdus[extension].data.astype(np.float32)


@pytest.mark.parametrize("noise", ["none", "poisson_correlated"])
@pytest.mark.parametrize(("purpose", "epoch", "index"), [("train", 3, 11), ("train", 0, 4), ("test", 0, 2)])
def test_the_file_holds_the_streams_stamp_and_its_header_paints_it_again(small, tmp_path, purpose, epoch, index, noise):
    config = small(f"inject.arc_noise={noise}")
    task = task_of(tmp_path, stream=index, purpose=purpose, epoch=epoch)
    chosen, stamp = written(config, task)
    streamed = build_injector(config).stamps(np.array([index]), purpose=Purpose[purpose.upper()], epoch=epoch)
    assert pixels(task.output, "IMAGE").tobytes() == streamed.images[0].numpy().tobytes()
    for field in fields(streamed.recipes):
        if field.name != "row":
            stored, original = (getattr(each, field.name) for each in (read_recipe(task.output), streamed.recipes))
            np.testing.assert_array_equal(stored, original, err_msg=field.name)
            assert stored.dtype == original.dtype, field.name
    again = replace(read_recipe(task.output), row=chosen.painter.cutouts.rows_of(read_recipe(task.output).target_id))
    assert build_painter(config).stamps(again).images[0].numpy().tobytes() == stamp.image_nmgy.tobytes()
    rest = pixels(task.output, "IMAGE") - pixels(task.output, "BACKGROUND") - pixels(task.output, "ARC")
    has_noise = noise != "none" and bool(streamed.recipes.injected[0])
    assert (np.abs(rest).max() > 1e-4) == has_noise
    assert np.any(pixels(task.output, "ARC")) == bool(streamed.recipes.injected[0])


def test_the_samples_above_are_injections_and_a_control(injector):
    stamps = [injector.stamps(np.array([i]), purpose=Purpose.TRAIN, epoch=e) for i, e in ((11, 3), (4, 0))]
    assert sorted(bool(each.recipes.injected[0]) for each in stamps) == [False, True]


def test_a_changed_header_no_longer_gives_the_image(small, tmp_path):
    chosen, stamp = written(small(), task_of(tmp_path, recipe={"theta_e_arcsec": 1.5}))
    path = tmp_path / "one.fits"
    require_header_gives(path, stamp, painter=chosen.painter)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["RECIPE THETA_E_ARCSEC"] = 1.5000001
    with pytest.raises(ValueError, match="does not paint IMAGE bit for bit"):
        require_header_gives(path, stamp, painter=chosen.painter)


def test_numbers_of_any_length_survive_the_header(small, tmp_path):
    """FITS libraries cut floats at 20 characters: 1 ulp off is another lens."""
    task = task_of(
        tmp_path,
        target_id=7,
        recipe={"gamma1": -1.2345678901234567e-05, "phi_rad": -2.2250738585072014e-300, "theta_e_arcsec": 1 / 3},
    )
    written(small(), task)
    recipe = read_recipe(task.output)
    assert recipe.gamma1[0] == -1.2345678901234567e-05
    assert recipe.phi_rad[0] == -2.2250738585072014e-300
    assert recipe.theta_e_arcsec[0] == 1 / 3
    assert np.isnan(recipe.z_source[0]) and np.isnan(recipe.natural_weight[0])


def test_a_row_of_a_manifest_by_number_and_by_id(small, injector, tmp_path):
    streamed = injector.stamps(np.arange(24), purpose=Purpose.TRAIN)
    table = pa.table({"task_id": [f"draws/{i}" for i in range(24)]} | streamed.recipes.columns()).drop_columns("row")
    path = tmp_path / "manifest.parquet"
    pq.write_table(table, path, row_group_size=5)
    for which in ({"row": 17}, {"task_id": "draws/17"}):
        _, stamp = written(small(), task_of(tmp_path, manifest=str(path), **which))
        assert stamp.image_nmgy.tobytes() == streamed.images[17].numpy().tobytes()
        assert "draws/17" in fits.getheader(tmp_path / "one.fits")["TITLE"]


def test_what_is_not_given_is_drawn_and_what_is_given_changes_no_other_draw(small):
    config = small()
    painter = build_painter(config)
    free = recipe_of_keys(painter, 7, keys=RecipeKeys(), config=config).columns()
    keys = RecipeKeys(theta_e_arcsec=1.7, source_r_mag=23.25, psf_fwhm_g_arcsec=2.0)
    given = recipe_of_keys(painter, 7, keys=keys, config=config).columns()
    assert (given["theta_e_arcsec"], given["source_r_mag"], given["psf_fwhm_g_arcsec"]) == (1.7, 23.25, 2.0)
    assert given["source_g_mag"] - 23.25 == pytest.approx(free["source_g_mag"] - free["source_r_mag"], abs=1e-12)
    follow = {"source_x_arcsec", "source_y_arcsec", "natural_weight", "sigma_v_km_s"}
    for name in free.keys() - follow - {"theta_e_arcsec", "psf_fwhm_g_arcsec"}:
        if not name.startswith("source_") or name in ("source_index", "source_rotation_rad"):
            np.testing.assert_array_equal(given[name], free[name], err_msg=name)


def test_the_source_stays_inside_the_caustic_of_the_given_lens(small):
    """A given theta_E moves the drawn source with it: alone it would lie outside a smaller caustic."""
    config = small("lens.source_offset=caustic", "lens.shear_sigma=0")
    painter = build_painter(config)
    reach = []
    for row in range(40):
        keys = RecipeKeys(theta_e_arcsec=0.3, axis_ratio=0.7, lens_x_arcsec=0.0, lens_y_arcsec=0.0)
        recipe = recipe_of_keys(painter, row, keys=keys, config=config)
        edge = np.abs(radial_caustics(recipe.theta_e_arcsec, axis_ratio=recipe.axis_ratio, phi_rad=recipe.phi_rad))
        reach.append(np.hypot(recipe.source_x_arcsec, recipe.source_y_arcsec)[0] / np.hypot(*edge[0].T).max())
    assert 0.5 < max(reach) <= 1.0


def test_a_control_is_the_galaxy_itself(small, tmp_path):
    _, stamp = written(small(), task_of(tmp_path, target_id=3, recipe={"injected": False}))
    assert stamp.image_nmgy.tobytes() == stamp.background_nmgy.tobytes()
    assert not stamp.arc_nmgy.any()
    assert not read_recipe(tmp_path / "one.fits").injected[0]


def test_the_position_is_the_galaxys(small, tmp_path):
    chosen, stamp = written(small(), task_of(tmp_path, target_id=25))
    with fits.open(tmp_path / "one.fits") as hdus:
        hdus.verify("exception")
        wcs = WCS(hdus["IMAGE"].header, naxis=2)
    cutouts, row = chosen.painter.cutouts, stamp.recipe.row[0]
    x, y = wcs.wcs_world2pix([[cutouts.ra_deg[row], cutouts.dec_deg[row]]], 0)[0]
    assert (x - 31.5) * 0.262 == pytest.approx(cutouts.centre_x_arcsec[row], abs=1e-6)
    assert (y - 31.5) * 0.262 == pytest.approx(cutouts.centre_y_arcsec[row], abs=1e-6)
    east, north = wcs.wcs_world2pix([[stamp.ra_deg + 1e-3, stamp.dec_deg], [stamp.ra_deg, stamp.dec_deg + 1e-3]], 0)
    assert east[0] < x and north[1] > y


def test_a_file_of_ones_own_is_injected_and_the_result_is_a_cutout_again(small, tmp_path):
    config = small()
    written(config, task_of(tmp_path, target_id=25, recipe={"injected": False}))
    (tmp_path / "one.fits").rename(tmp_path / "galaxy.fits")
    before = pixels(tmp_path / "galaxy.fits", "IMAGE")
    task = task_of(tmp_path, cutout=str(tmp_path / "galaxy.fits"), recipe={"theta_e_arcsec": 1.4})
    _, stamp = written(config, task)
    assert stamp.background_nmgy.tobytes() == before.tobytes()
    np.testing.assert_array_equal(stamp.invvar, pixels(tmp_path / "galaxy.fits", "INVVAR"))
    sky = FilesSky.model_validate({"name": "files", "paths": [task.output], "split": config.sky.split})
    cutouts = load_files_sky(sky)
    assert np.array(cutouts.images[0]).tobytes() == stamp.image_nmgy.tobytes()
    assert cutouts.ra_deg[0] == stamp.ra_deg


def test_the_same_command_writes_the_same_bytes(small, tmp_path):
    task = task_of(tmp_path, stream=0)
    files = []
    for _ in range(2):
        _, stamp = written(small(), task)
        one_figure(stamp, path=tmp_path / "one.png")
        files.append((task.output.read_bytes(), (tmp_path / "one.png").read_bytes()))
    assert files[0] == files[1]


WRONG = {
    "nothing": ({}, r"no stamp is asked for; give task\.stream=INDEX"),
    "two ways": ({"stream": 1, "recipe": {}}, r"task\.stream and task\.recipe ask for different stamps"),
    "manifest alone": ({"manifest": "m.parquet"}, r"give one of task\.row=N and task\.task_id=ID"),
    "row alone": ({"row": 3, "stream": 1}, r"row = 3: needs task\.manifest=FILE or task\.cutout=FILE"),
    "epoch of test": ({"stream": 1, "purpose": "test", "epoch": 2}, r"epoch = 2: the test set is the same"),
    "epoch of a recipe": ({"recipe": {}, "epoch": 2}, r"epoch = 2: are of a stream"),
    "png": ({"stream": 1, "output": "one.png"}, r"output = one\.png: must end in \.fits"),
    "typing error": ({"recipe": {"theta_arcsec": 1}}, r"recipe\.theta_arcsec = 1: unknown key \(did you mean theta_e"),
    "round arcs": ({"recipe": {"axis_ratio": 1.5}}, r"recipe\.axis_ratio = 1\.5: must be less than or equal to 1"),
    "arc of a control": ({"recipe": {"injected": False, "gamma1": 0.1}}, r"control has no arc; remove gamma1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line(case, tmp_path):
    keys, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as caught:
        task_of(tmp_path, **keys)
    assert "\n" not in str(caught.value)


def test_what_the_sky_does_not_have_is_one_line(small, injector, tmp_path):
    recipes = injector.stamps(np.arange(2), purpose=Purpose.TRAIN).recipes
    columns = replace(recipes, target_id=np.array([99_999_999, 5])).columns()
    pq.write_table(pa.table({"task_id": ["a", "b"]} | columns), tmp_path / "m.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and then nothing")
    manifest = str(tmp_path / "m.parquet")
    for keys, message in (
        ({"stream": 10**9}, r"task\.stream = 1000000000: the train stream has the samples 0 to 95"),
        ({"target_id": -4}, r"task\.target_id = -4: not among the 256 galaxies of this sky, ids 0 to 255"),
        ({"recipe": {"source_index": 10**7}}, r"source_index = 10000000: source = clumpy has the indices 0 to 63"),
        ({"manifest": manifest, "row": 2}, r"task\.row = 2: .*m\.parquet has the rows 0 to 1"),
        ({"manifest": manifest, "task_id": "c"}, r"task\.task_id = c: not among the 2 tasks"),
        ({"manifest": manifest, "row": 0}, r"task a is on galaxy 99999999, which this sky \(256 galaxies\) does not"),
        ({"manifest": str(tmp_path / "none.parquet"), "row": 0}, r"task\.manifest = .*none\.parquet: no such file"),
        ({"manifest": str(tmp_path / "no.parquet"), "row": 0}, r"no\.parquet: not a readable Parquet file"),
        ({"cutout": str(tmp_path / "none.fits")}, r"none\.fits: no such file"),
        ({"cutout": str(tmp_path / "m.parquet")}, r"m\.parquet: suffix '\.parquet'; allowed: \.npz"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            choose(small(), task=task_of(tmp_path, **keys))
        assert "\n" not in str(caught.value)
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "plain.fits")
    with pytest.raises(ValueError, match="no HIERARCH RECIPE cards"):
        read_recipe(tmp_path / "plain.fits")
