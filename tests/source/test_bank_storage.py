"""How a bank's pixels are read and kept: any HDF5 layout, all cores, one copy for every process, safe files."""

import errno
import logging
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from benchmarks.shared_pages import mapping_at, place_of, workers_on
from dhs.source import bank as bank_module
from dhs.source.bank import open_bank, write_bank
from dhs.source.bank_read import read_stack
from dhs.source.measure import edge_pedestal_fraction
from tests.source.bank_data import (
    ATTRIBUTES,
    bank_config,
    sersic_contents,
    write_contents,
)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/smaps")
N = 37
"""Not a multiple of the chunk of 16."""


@pytest.fixture(scope="module")
def contents():
    return sersic_contents(N)


@pytest.fixture
def config(tmp_path, contents):
    write_contents(tmp_path / "bank.h5", contents)
    return bank_config(tmp_path / "bank.h5")


def mapped(config):
    return config.model_copy(update={"storage": "mapped"})


def relayout(path, **layout):
    """Store the images again with another layout."""
    with h5py.File(path, "r+") as file:
        images = file["images"][()]
        del file["images"]
        file.create_dataset("images", data=images.astype(layout.pop("dtype", np.float32)), **layout)


LAYOUTS = {
    "contiguous": {},
    "one image a chunk, gzip only": {"chunks": (1, 96, 96), "compression": "gzip"},
    "images cut into tiles": {"chunks": (8, 24, 48), "compression": "gzip", "shuffle": True},
    "lzf": {"chunks": (16, 96, 96), "compression": "lzf", "shuffle": True},
    "checksummed": {"chunks": (16, 96, 96), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "big-endian": {"chunks": (16, 96, 96), "compression": "gzip", "shuffle": True, "dtype": ">f4"},
    "double": {"chunks": (5, 96, 96), "compression": "gzip", "shuffle": True, "dtype": "<f8"},
    "gzip and shuffle": {"chunks": (5, 96, 96), "compression": "gzip", "shuffle": True},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pixels(config, contents, layout):
    relayout(config.bank, **LAYOUTS[layout])
    np.testing.assert_array_equal(open_bank(config).stack().images[:, 0], contents[0])


def test_a_chunk_that_its_filters_skipped_is_read(config, contents):
    with h5py.File(config.bank, "r+") as file:
        file["images"].id.write_direct_chunk((16, 0, 0), contents[0][16:32].tobytes(), filter_mask=0b11)
    np.testing.assert_array_equal(open_bank(config).stack().images[:, 0], contents[0])


def test_a_float16_bank_is_read_with_exact_unit_flux(config, contents):
    images, meta = contents
    write_bank(config.bank, images=images.astype(np.float16), meta=meta, attributes=ATTRIBUTES)
    with h5py.File(config.bank) as file:
        assert file["images"].dtype == np.float16
    read = open_bank(config).stack().images[:, 0].numpy()
    assert read.dtype == np.float32
    np.testing.assert_allclose(read.sum(axis=(1, 2), dtype=np.float64), 1, atol=1e-6)
    assert np.abs(read - images).max() < 1e-3 * images.max()


def test_an_image_per_band_comes_back(config, contents):
    images, meta = contents
    colour = np.stack([images, images[:, ::-1], images[:, :, ::-1]], axis=1)
    write_bank(config.bank, images=colour, meta=meta, attributes=ATTRIBUTES)
    bank = open_bank(config)
    assert bank.n_channels == 3
    np.testing.assert_array_equal(bank.templates(np.array([20, 3])).each(), colour[[20, 3]])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.attrs.update({"bands": "gri"}), "attribute bands = 'gri'; must be 3 and 'grz'; rebuild"),
        (lambda file: file.attrs.pop("bands"), "attribute bands = ''"),
        (
            lambda file: file["images"].__setitem__((4, 2), 2 * file["images"][4, 2]),
            "source 104 has flux 2 in z, must be 1",
        ),
    ],
)
def test_wrong_bands_are_one_line(config, contents, spoil, message):
    write_bank(config.bank, images=np.repeat(contents[0][:, None], 3, 1), meta=contents[1], attributes=ATTRIBUTES)
    with h5py.File(config.bank, "r+") as file:
        spoil(file)
    with pytest.raises(ValueError, match=message):
        open_bank(config)


def test_a_damaged_chunk_is_one_line(config):
    with h5py.File(config.bank, "r+") as file:
        file["images"].id.write_direct_chunk((16, 0, 0), b"no zlib stream")
    with pytest.raises(ValueError, match=r"bank .*bank.h5: images cannot be unpacked \(.*\); rebuild it"):
        open_bank(config)


def test_images_of_integers_are_refused(config):
    relayout(config.bank, dtype=np.int16)
    with pytest.raises(ValueError, match="images are int16, must be float16 or float32"):
        open_bank(config)


def test_a_mapped_bank_is_unpacked_once(config, contents, tmp_path, monkeypatch):
    first = open_bank(mapped(config), cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(first.stack().images[:, 0], contents[0])

    def never(*_, **__):
        raise AssertionError("unpacked again")

    monkeypatch.setattr(bank_module, "checked_stack", never)
    again = open_bank(mapped(config), cache_dir=tmp_path / "cache")
    assert torch.equal(again.stack().images, first.stack().images)
    assert len(list((tmp_path / "cache" / "banks").glob("*.npy"))) == 1


@pytest.mark.parametrize("damage", ["byte", "short", "no record", "torn record"])
def test_a_damaged_unpacked_file_is_named_and_made_again(config, contents, tmp_path, caplog, damage):
    open_bank(mapped(config), cache_dir=tmp_path)
    (path,) = (tmp_path / "banks").glob("*.npy")
    if damage == "byte":
        with path.open("r+b") as file:
            file.seek(500_000)
            file.write(b"\x17")
    elif damage == "short":
        os.truncate(path, 500_000)
    elif damage == "no record":
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text('{"sha')
    with caplog.at_level(logging.WARNING):
        bank = open_bank(mapped(config), cache_dir=tmp_path)
    np.testing.assert_array_equal(bank.stack().images[:, 0], contents[0])
    assert damage == "no record" or f"{path} is damaged" in caplog.text


def test_an_edited_bank_never_meets_the_old_pixels(config, contents, tmp_path):
    open_bank(mapped(config), cache_dir=tmp_path)
    images, meta = contents
    write_contents(config.bank, (images[::-1], meta))
    np.testing.assert_array_equal(open_bank(mapped(config), cache_dir=tmp_path).stack().images[:, 0], images[::-1])


def test_a_bad_bank_leaves_no_unpacked_file(config, tmp_path):
    with h5py.File(config.bank, "r+") as file:
        file["images"][4, 40, 40] = np.nan
    with pytest.raises(ValueError, match="source 104 holds NaN"):
        open_bank(mapped(config), cache_dir=tmp_path)
    assert [path.suffix for path in (tmp_path / "banks").iterdir()] == [".lock"]


def test_a_full_disk_is_one_line_and_not_a_dead_process(config, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match="no room for an unpacked bank of 1 MB .*source.storage=resident"):
        open_bank(mapped(config), cache_dir=tmp_path)


def test_processes_that_ask_at_the_same_time_unpack_once(config, tmp_path, monkeypatch):
    calls = []
    original = bank_module.checked_stack

    def counted(*arguments, **about):
        calls.append(1)
        return original(*arguments, **about)

    monkeypatch.setattr(bank_module, "checked_stack", counted)
    with ThreadPoolExecutor(4) as pool:
        banks = list(pool.map(lambda _: open_bank(mapped(config), cache_dir=tmp_path), range(4)))
    assert len(calls) == 1
    assert all(torch.equal(bank.stack().images, banks[0].stack().images) for bank in banks)


@on_linux
@pytest.mark.parametrize("storage", ["resident", "mapped"])
def test_a_pickled_bank_carries_no_pixels_and_maps_the_same_file(config, contents, tmp_path, storage):
    bank = open_bank(config.model_copy(update={"storage": storage}), cache_dir=tmp_path)
    frozen = pickle.dumps(bank)
    assert len(frozen) < 10_000
    np.testing.assert_array_equal(pickle.loads(frozen).stack().images[:, 0], contents[0])
    (path,) = (tmp_path / "banks").glob("*.npy")
    assert mapping_at(os.getpid(), bank.stack().images.data_ptr())[0] == str(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        pickle.loads(frozen)


@on_linux
@pytest.mark.parametrize(("method", "storage"), [("fork", "resident"), ("fork", "mapped"), ("spawn", "resident")])
def test_workers_share_one_copy(tmp_path, method, storage):
    n, n_workers = 400, 2 if method == "spawn" else 4
    write_contents(tmp_path / "bank.h5", sersic_contents(n))
    bank = open_bank(bank_config(tmp_path / "bank.h5", storage=storage), cache_dir=tmp_path)
    with workers_on(bank, n_workers=n_workers, method=method) as workers:
        places = [place_of(bank), *workers]
        mappings = [mapping_at(pid, address) for pid, _, address in places]
    assert [total for _, total, _ in places] == pytest.approx([n] * len(places), rel=1e-4)
    size = bank.stack().images.nbytes
    for _, sizes in mappings[1:]:
        assert sizes["Rss"] > 0.95 * size
        assert sizes["Private_Dirty"] + sizes["Private_Clean"] < 0.1 * size
    if storage == "mapped" or method == "spawn":
        assert {Path(name).suffix for name, _ in mappings} == {".npy"}
        assert sum(sizes["Pss"] for _, sizes in mappings) == pytest.approx(size, rel=0.05)


def test_reading_measures_what_the_checks_need(config, contents):
    with h5py.File(config.bank) as file:
        out = np.empty((N, 1, 96, 96), np.float32)
        figures = read_stack(file["images"], out=out)
    np.testing.assert_allclose(figures.flux[:, 0], contents[0].sum(axis=(1, 2), dtype=np.float64))
    expected = edge_pedestal_fraction(contents[0] + np.float32(1e-5))
    with h5py.File(config.bank, "r+") as file:
        file["images"][...] = contents[0] + np.float32(1e-5)
        figures = read_stack(file["images"], out=out)
    np.testing.assert_allclose(figures.edge_pedestal_fraction[:, 0], expected, rtol=1e-5)
