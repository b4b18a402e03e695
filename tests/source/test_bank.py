"""The HDF5 bank: a round trip, and every way a file can be wrong."""

import h5py
import numpy as np
import pytest

from dhs.source.bank import open_bank, write_bank
from tests.source.bank_data import ATTRIBUTES, bank_config, sersic_contents, write_contents


@pytest.fixture
def config(tmp_path):
    return bank_config(tmp_path / "bank.h5")


@pytest.fixture(scope="module")
def contents():
    """Images and columns of a good bank of 12 Sersic galaxies."""
    return sersic_contents(12)


def written(config, contents):
    write_contents(config.bank, contents)


def edit(config, change):
    with h5py.File(config.bank, "r+") as file:
        change(file)


def test_a_bank_comes_back_as_it_was_written(config, contents):
    written(config, contents)
    bank = open_bank(config)
    rows = np.array([5, 0, 5])
    templates = bank.templates(rows)
    np.testing.assert_array_equal(templates.each()[:, 0].numpy(), contents[0][rows])
    np.testing.assert_array_equal(templates.support_radius_arcsec.numpy(), contents[1]["support_radius_arcsec"][rows])
    np.testing.assert_array_equal(bank.half_light_radius_arcsec(rows), contents[1]["hlr_arcsec"][rows])
    assert (bank.name, bank.n_sources, bank.stamp_size_px, bank.pixel_scale_arcsec) == ("cosmos", 12, 96, 0.03)
    with h5py.File(config.bank) as file:
        assert file["images"].dtype == np.float32 and file["images"].shuffle
        assert (file["images"].compression, file["images"].compression_opts) == ("gzip", 4)
        assert file.attrs["schema_version"] == 1


def test_an_older_bank_without_support_radius_gets_a_measured_one(config, contents):
    images, meta = contents
    write_bank(
        config.bank,
        images=images,
        meta={k: meta[k] for k in ("index", "hlr_arcsec", "clumpiness")},
        attributes=ATTRIBUTES,
    )
    edit(config, lambda file: file.attrs.pop("schema_version"))
    measured = open_bank(config).templates(np.arange(12)).support_radius_arcsec.numpy()
    assert (measured <= meta["support_radius_arcsec"]).all()
    assert (measured > meta["support_radius_arcsec"] - 0.1).all()


def test_an_index_outside_the_bank_is_an_index_error(config, contents):
    written(config, contents)
    with pytest.raises(IndexError, match="index 12 is outside"):
        open_bank(config).templates(np.array([12]))


def test_a_missing_bank_names_the_command_that_builds_it(config):
    with pytest.raises(FileNotFoundError, match="no such file; build it with inject.py task=bank"):
        open_bank(config)


def set_pixels(value):
    def change(file):
        file["images"][4, 40:50, 40:50] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_pixels(np.nan), "source 104 holds NaN"),
        (set_pixels(0.5), "source 104 has flux"),
        (
            lambda f: f.attrs.update({"src_pixscale_arcsec": 0.05}),
            "src_pixscale_arcsec = 0.05.*source.pixel_scale_arcsec = 0.03",
        ),
        (lambda f: f.attrs.update({"stamp_size": 64}), "stamp_size 64, but source.stamp_size_px = 96"),
        (lambda f: f.attrs.update({"schema_version": 99}), "schema_version 99"),
        (lambda f: f.attrs.pop("src_pixscale_arcsec"), "src_pixscale_arcsec is missing"),
        (lambda f: f.pop("meta/hlr_arcsec"), "meta/hlr_arcsec is missing"),
        (lambda f: f.pop("images"), "images is missing"),
        (lambda f: f.create_dataset("meta/snr", data=np.ones(3)), "meta/snr has not one value for each of 12"),
    ],
)
def test_a_wrong_bank_gets_one_line_with_file_fault_and_remedy(config, contents, change, message):
    written(config, contents)
    edit(config, change)
    with pytest.raises(ValueError, match=message) as caught:
        open_bank(config)
    line = str(caught.value)
    assert str(config.bank) in line and "rebuild it with inject.py task=bank" in line and "\n" not in line


def test_a_file_that_is_not_hdf5_is_named(config):
    config.bank.write_bytes(b"not a bank")
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        open_bank(config)


def test_a_bank_with_a_pedestal_is_refused_as_noise(config, contents):
    images, meta = contents
    flat = np.full_like(images, 1 / 96**2)
    write_bank(config.bank, images=0.8 * images + 0.2 * flat, meta=meta, attributes=ATTRIBUTES)
    with pytest.raises(ValueError, match="a noise pedestal holds 2.% of the flux"):
        open_bank(config)


def test_a_bank_with_the_half_light_radius_of_an_empty_box_is_refused(config, contents):
    images, meta = contents
    meta = meta | {"hlr_arcsec": np.full(12, 1.08, np.float32)}
    write_bank(config.bank, images=images, meta=meta, attributes=ATTRIBUTES)
    with pytest.raises(ValueError, match=r"median meta/hlr_arcsec 1.08 is nearly an empty box's \(1.15\)"):
        open_bank(config)


def test_a_failed_write_leaves_nothing_behind(config, contents):
    images, meta = contents
    with pytest.raises(ValueError, match="flux 2, must be 1"):
        write_bank(config.bank, images=2 * images, meta=meta, attributes=ATTRIBUTES)
    with pytest.raises(TypeError):
        write_bank(config.bank, images=images, meta=meta, attributes={"bad": object()})
    assert list(config.bank.parent.iterdir()) == []


def test_a_write_without_a_required_column_is_refused(config, contents):
    images, meta = contents
    with pytest.raises(ValueError, match="columns missing \\['clumpiness'\\]"):
        write_bank(config.bank, images=images, meta={k: v for k, v in meta.items() if k != "clumpiness"}, attributes={})
