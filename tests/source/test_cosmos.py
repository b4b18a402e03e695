"""The bank of the 100 example galaxies of HST/ACS: are its templates galaxies?"""

import json
import shutil

import galsim
import h5py
import numpy as np
import pytest
from astropy.io import fits

from dhs.config.source import BankBuild, CosmosSource
from dhs.source import measure
from dhs.source.bank import open_bank
from dhs.source.build import build_source
from dhs.source.candidates import Candidates, clean_limits
from dhs.source.catalog import read_catalog
from dhs.source.clean import REASONS, Refused, clean_galaxy
from dhs.source.cosmos import build_cosmos_bank
from dhs.source.painter import draw

MAIN = "real_galaxy_catalog_23.5_example.fits"


def test_measured_half_light_radii_are_the_catalogues(example_bank):
    _, summary = example_bank
    assert summary.median_hlr_ratio == pytest.approx(1, abs=0.10)
    assert summary.scatter_hlr_ratio < 0.25
    assert summary.max_pedestal_fraction < 0.01


def test_every_galaxy_is_kept_or_refused_for_a_counted_reason(example_bank):
    _, summary = example_bank
    assert summary.n_sources >= 40
    assert summary.n_tried == 100 == summary.n_sources + sum(summary.rejected.values())
    assert tuple(summary.rejected) == REASONS
    assert "20000 asked: the catalogue is exhausted" in str(summary)


def test_the_bank_opens_and_its_templates_end_within_their_support(example_bank):
    config, summary = example_bank
    bank = build_source(config)
    templates = bank.templates(np.arange(bank.n_sources))
    images = templates.each()[:, 0].numpy()
    assert bank.n_sources == summary.n_sources
    assert np.abs(images.sum(axis=(1, 2), dtype=float) - 1).max() < 1e-5
    assert (images[:, [0, -1]] == 0).all() and (images[:, :, [0, -1]] == 0).all()
    farthest = [measure.support_radius_arcsec(image, pixel_scale_arcsec=0.03) for image in images]
    assert (farthest <= templates.support_radius_arcsec.numpy() + 1e-6).all()
    sizes = [measure.half_light_radius_arcsec(image, pixel_scale_arcsec=0.03) for image in images]
    np.testing.assert_allclose(sizes, bank.meta["hlr_arcsec"], rtol=1e-5)
    assert (bank.half_light_radius_arcsec(np.arange(bank.n_sources)) >= 0.1).all()


def test_the_file_says_how_it_was_made(example_bank):
    config, _ = example_bank
    with h5py.File(config.bank) as file:
        attributes = dict(file.attrs)
        columns = set(file["meta"])
        zphot = file["meta/zphot"][()]
    assert attributes["galsim_version"] == galsim.__version__
    assert json.loads(attributes["build"])["seed"] == 1337
    assert len(attributes["catalog_checksum"]) == 32 and attributes["created_utc"].startswith("20")
    assert {
        "index",
        "hlr_arcsec",
        "clumpiness",
        "snr",
        "pedestal_fraction",
        "support_radius_arcsec",
        "mag_auto",
    } <= columns
    assert ((zphot > 0) & (zphot < 3)).all()


def test_the_same_seed_builds_the_same_bank_and_another_seed_another_order(example_bank, tmp_path):
    config, _ = example_bank
    first = open_bank(config).meta["index"][:10]
    for seed, same in ((1337, True), (1338, False)):
        build = config.build.model_copy(update={"n_sources": 10, "seed": seed})
        again = config.model_copy(update={"bank": tmp_path / f"{seed}.h5", "build": build})
        build_cosmos_bank(again)
        assert (list(open_bank(again).meta["index"]) == list(first)) == same


def test_a_missing_bank_is_built_when_asked_for(catalog_dir, tmp_path):
    bank = tmp_path / "new" / "b.h5"
    build = BankBuild(n_sources=10)
    config = CosmosSource(name="cosmos", bank=bank, catalog_dir=catalog_dir, build=build, build_if_missing=True)
    assert build_source(config).n_sources == 10
    with pytest.raises(FileNotFoundError, match="build it with inject.py task=bank"):
        build_source(config.model_copy(update={"bank": tmp_path / "other.h5", "build_if_missing": False}))


def test_fitted_shapes_are_those_of_the_templates(example_bank):
    config, _ = example_bank
    with h5py.File(config.bank) as file:
        images = file["images"][()]
        meta = {key: file["meta"][key][()] for key in ("axis_ratio", "position_angle_rad", "sersic_re_arcsec")}
        catalog_hlr, mag = file["meta/catalog_hlr_arcsec"][()], file["meta/mag_auto"][()]
    shapes = np.array([measure.shape_of(image) for image in images])
    elongated = meta["axis_ratio"] < 0.6
    apart = (shapes[:, 1] - meta["position_angle_rad"] + np.pi / 2) % np.pi - np.pi / 2
    assert elongated.sum() > 15
    assert np.median(np.abs(apart[elongated])) < np.radians(8)
    assert np.corrcoef(shapes[:, 0], meta["axis_ratio"])[0, 1] > 0.8
    circularised = meta["sersic_re_arcsec"] * np.sqrt(meta["axis_ratio"])
    assert np.median(circularised / catalog_hlr) == pytest.approx(1, abs=0.02)
    assert ((mag > 18) & (mag < 22.6)).all()


def dimmed(catalog, row, *, mag, noise_file, deviate):
    """A row's raw picture ``mag`` fainter in a field of real ACS noise as strong as its own, and its PSF picture."""
    candidates = Candidates(catalog, config=CosmosSource(name="cosmos", bank="unused.h5", build=BankBuild()))
    picture, psf = candidates.read(row)
    candidates.close()
    factor, side = 10 ** (-0.4 * mag), max(160, *picture.shape)
    field = galsim.ImageD(side, side, scale=0.03)
    y, x = (side - np.array(picture.shape)) // 2
    field.array[y : y + picture.shape[0], x : x + picture.shape[1]] = (picture - catalog.background[row]) * factor
    missing = catalog.noise_variance[row] * (1 - factor**2)
    field.addNoise(galsim.getCOSMOSNoise(file_name=noise_file, rng=deviate, variance=missing))
    return field.array, psf


@pytest.mark.parametrize(("dimmed_mag", "at_least", "seeds_pedestal"), [(1.0, 0.9, 0.3), (2.0, 0.25, 0.5)])
def test_dimmed_galaxies_keep_their_size_or_are_refused_unlike_with_the_seeds_recipe(
    example_bank, dimmed_mag, at_least, seeds_pedestal
):
    config, _ = example_bank
    catalog, limits = read_catalog(config.catalog_dir, name=None), clean_limits(config)
    meta, deviate = open_bank(config).meta, galsim.BaseDeviate(3)
    noise_file = str(config.catalog_dir / "acs_I_unrot_sci_20_cf.fits")
    ratios, pedestals = [], []
    for row, hlr in zip(meta["index"], meta["hlr_arcsec"], strict=True):
        raw, psf = dimmed(catalog, int(row), mag=dimmed_mag, noise_file=noise_file, deviate=deviate)
        scales = {"input_scale_arcsec": 0.03, "scale_arcsec": 0.03, "min_fwhm_arcsec": 0.1}
        dim = draw(raw, psf, max_size_px=192, **scales).picture
        y, x = ((n - 96) // 2 for n in dim.shape)
        clipped = np.clip(dim[y : y + 96, x : x + 96], 0, None)
        pedestals.append(measure.edge_pedestal_fraction(clipped[None])[0])
        try:
            found = clean_galaxy(dim, background=0.0, sum_noise=catalog.sum_noise(int(row)), limits=limits)
        except Refused:
            continue
        assert found.pedestal_fraction < 0.01
        assert abs(measure.edge_pedestal_fraction(found.image[None])[0]) < 0.01
        ratios.append(found.hlr_arcsec / hlr)
    assert np.median(pedestals) > seeds_pedestal
    assert len(ratios) >= at_least * len(meta["index"])
    assert np.median(ratios) == pytest.approx(1, abs=0.05)
    assert np.abs(np.array(ratios) - 1).max() < 0.2


def test_a_catalogue_that_is_not_there_names_its_folder_and_the_download(tmp_path):
    for folder in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises((ValueError, FileNotFoundError), match="galsim_download_cosmos") as caught:
            read_catalog(folder, name=None)
        assert folder is None or str(folder) in str(caught.value)


@pytest.fixture
def broken(catalog_dir, tmp_path):
    """A copy of the example catalogue to break."""
    folder = tmp_path / "catalogue"
    folder.mkdir()
    for file in catalog_dir.iterdir():
        shutil.copyfile(file, folder / file.name)
    return folder


def test_a_missing_picture_file_is_named(broken):
    (broken / "real_galaxy_images.fits").unlink()
    with pytest.raises(FileNotFoundError, match="real_galaxy_images.fits: named by .*missing; get the sample with"):
        read_catalog(broken, name=None)


def test_two_catalogues_in_one_folder_ask_for_a_choice(broken):
    shutil.copyfile(broken / MAIN, broken / "real_galaxy_catalog_25.2.fits")
    with pytest.raises(ValueError, match="set source.catalog_file"):
        read_catalog(broken, name=None)
    assert len(read_catalog(broken, name=MAIN).ident) == 100


def test_a_truncated_table_and_a_truncated_picture_file_are_named(broken, tmp_path):
    config = CosmosSource(name="cosmos", bank=tmp_path / "b.h5", catalog_dir=broken, build=BankBuild())
    pictures = broken / "real_galaxy_images.fits"
    whole = pictures.read_bytes()
    for n_bytes, fault in (
        (200_000, "truncated .200000 bytes"),
        (100 * 2880, r"galaxy \d+ cannot be read from it \(HDU \d+ is truncated\)"),
    ):
        pictures.write_bytes(whole[:n_bytes])
        with pytest.raises(ValueError, match=f"real_galaxy_images.fits: {fault}.*get the sample with") as caught:
            build_cosmos_bank(config)
        assert "\n" not in str(caught.value)
    (broken / MAIN).write_bytes((broken / MAIN).read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{MAIN}: not a readable FITS table"):
        build_cosmos_bank(config)
    assert list(tmp_path.glob("b.h5")) == list(tmp_path.glob(".b.h5*")) == []


def test_a_picture_with_nan_is_named(broken, tmp_path):
    with fits.open(broken / "real_galaxy_images.fits", mode="update") as file:
        file[37].data[5, 5] = np.nan
    ident = read_catalog(broken, name=None).ident[37]
    config = CosmosSource(name="cosmos", bank=tmp_path / "b.h5", catalog_dir=broken, build=BankBuild())
    with pytest.raises(ValueError, match=f"galaxy {ident} cannot be read from it .HDU 37 holds NaN"):
        build_cosmos_bank(config)


def test_fits_of_other_galaxies_are_refused(broken):
    path = broken / MAIN.replace(".fits", "_fits.fits")
    with fits.open(path, mode="update") as file:
        file[1].data["IDENT"][3] += 1
    with pytest.raises(ValueError, match="_fits.fits: its 100 rows are not those of the main table"):
        read_catalog(broken, name=None)


def test_a_catalogue_without_fits_builds_and_says_nothing_of_sizes(broken, tmp_path):
    (broken / MAIN.replace(".fits", "_fits.fits")).unlink()
    config = CosmosSource(name="cosmos", bank=tmp_path / "b.h5", catalog_dir=broken, build=BankBuild(n_sources=10))
    summary = build_cosmos_bank(config)
    assert np.isnan(summary.median_hlr_ratio) and summary.n_sources == 10
    stratified = config.model_copy(update={"build": BankBuild(n_sources=10, choice="stratified")})
    with pytest.raises(ValueError, match="no redshifts; put its .*_fits.fits beside it"):
        build_cosmos_bank(stratified)


def test_too_few_acceptable_galaxies_make_no_bank(catalog_dir, tmp_path):
    build = BankBuild(min_snr=300.0)
    config = CosmosSource(name="cosmos", bank=tmp_path / "b.h5", catalog_dir=catalog_dir, build=build)
    with pytest.raises(ValueError, match="acceptable galaxies among 100 .*10 needed; relax"):
        build_cosmos_bank(config)
    assert list(tmp_path.iterdir()) == []
