"""The bank of the 100 example galaxies of HST/ACS: are its templates galaxies?"""

import json
import shutil

import galsim
import h5py
import numpy as np
import pytest

from dhs.config.source import BankBuild, CosmosSource
from dhs.source import measure
from dhs.source.bank import open_bank
from dhs.source.build import build_source
from dhs.source.catalog import read_catalog
from dhs.source.clean import REASONS, Refused, clean_galaxy
from dhs.source.cosmos import MAX_GAIN, Painter, build_cosmos_bank, clean_limits, smallest_psf_fwhm_arcsec

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
    build = BankBuild(catalog_dir=catalog_dir, n_sources=10)
    config = CosmosSource(name="cosmos", bank=tmp_path / "new" / "b.h5", build=build, build_if_missing=True)
    assert build_source(config).n_sources == 10
    with pytest.raises(FileNotFoundError, match="build it with inject.py task=bank"):
        build_source(config.model_copy(update={"bank": tmp_path / "other.h5", "build_if_missing": False}))


def test_the_psf_is_wide_enough_that_deconvolution_amplifies_nothing_much(catalog_dir):
    psf = galsim.RealGalaxyCatalog(MAIN, dir=str(catalog_dir)).getPSF(0)
    frequencies = np.linspace(0.5, 14, 28) * 2 * np.pi
    gain = {}
    for fwhm in (0.10, smallest_psf_fwhm_arcsec(psf)):
        target = galsim.Gaussian(fwhm=fwhm)
        gain[fwhm] = max(abs(target.kValue(k, 0)) / abs(psf.kValue(k, 0)) for k in frequencies)
    narrow, wide = gain.values()
    assert wide <= 1.02 * MAX_GAIN < narrow


@pytest.mark.parametrize(("dimmed_mag", "at_least", "seeds_pedestal"), [(1.0, 30, 0.4), (2.0, 5, 0.5)])
def test_dimmed_galaxies_keep_their_size_or_are_refused_unlike_with_the_seeds_recipe(
    example_bank, dimmed_mag, at_least, seeds_pedestal
):
    config, _ = example_bank
    catalog = read_catalog(config.build.catalog_dir, name=None)
    painter, limits = Painter(catalog, config=config), clean_limits(config)
    meta = open_bank(config).meta
    deviate = galsim.BaseDeviate(3)
    noise_file = str(config.build.catalog_dir / "acs_I_unrot_sci_20_cf.fits")
    ratios, pedestals, dim_factor = [], [], 10 ** (-0.4 * dimmed_mag)
    for row, hlr in zip(meta["index"], meta["hlr_arcsec"], strict=True):
        bright, _ = painter.picture(int(row))
        dim = galsim.ImageF(160, 160, scale=0.03)
        y, x = (160 - np.array(bright.shape)) // 2
        dim.array[y : y + bright.shape[0], x : x + bright.shape[1]] = (bright - catalog.background[row]) * dim_factor
        dim.addNoise(galsim.getCOSMOSNoise(file_name=noise_file, rng=deviate, variance=catalog.noise_variance[row]))
        clipped = np.clip(dim.array[32:128, 32:128], 0, None)
        pedestals.append(measure.edge_pedestal_fraction(clipped[None])[0])
        try:
            power = catalog.noise_variance[row] * 6.10
            found = clean_galaxy(dim.array, background=0.0, sum_noise=float(np.sqrt(power)), limits=limits)
            assert found.pedestal_fraction < 0.01
            assert abs(measure.edge_pedestal_fraction(found.image[None])[0]) < 0.01
            ratios.append(found.hlr_arcsec / hlr)
        except Refused:
            continue
    painter.close()
    assert np.median(pedestals) > seeds_pedestal
    assert len(ratios) >= at_least
    assert np.median(ratios) == pytest.approx(1, abs=0.1)
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
    with pytest.raises(ValueError, match="set source.build.catalog_file"):
        read_catalog(broken, name=None)
    assert len(read_catalog(broken, name=MAIN).ident) == 100


def test_a_truncated_table_and_a_truncated_picture_file_are_named(broken, tmp_path):
    config = CosmosSource(name="cosmos", bank=tmp_path / "b.h5", build=BankBuild(catalog_dir=broken))
    pictures = broken / "real_galaxy_images.fits"
    pictures.write_bytes(pictures.read_bytes()[:200_000])
    with pytest.raises(ValueError, match=r"galaxy \d+ cannot be read from real_galaxy_images.fits"):
        build_cosmos_bank(config)
    (broken / MAIN).write_bytes((broken / MAIN).read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{MAIN}: not a readable FITS table"):
        build_cosmos_bank(config)
    assert not config.bank.exists()


def test_a_catalogue_without_fits_builds_and_says_nothing_of_sizes(broken, tmp_path):
    (broken / MAIN.replace(".fits", "_fits.fits")).unlink()
    build = BankBuild(catalog_dir=broken, n_sources=10)
    summary = build_cosmos_bank(CosmosSource(name="cosmos", bank=tmp_path / "b.h5", build=build))
    assert np.isnan(summary.median_hlr_ratio) and summary.n_sources == 10


def test_too_few_acceptable_galaxies_make_no_bank(catalog_dir, tmp_path):
    build = BankBuild(catalog_dir=catalog_dir, min_snr=300.0)
    with pytest.raises(ValueError, match="acceptable galaxies among 100 .*10 needed; relax"):
        build_cosmos_bank(CosmosSource(name="cosmos", bank=tmp_path / "b.h5", build=build))
    assert not (tmp_path / "b.h5").exists()
