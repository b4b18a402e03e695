"""The parallel, resumable build: many files, any number of processes, kill -9, damaged and foreign journals."""

import logging
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from benchmarks.tiled_catalog import tile_catalog
from dhs.config.source import BankBuild, CosmosSource
from dhs.rng import Purpose, keyed_rng
from dhs.source import build_pool
from dhs.source.bank import open_bank
from dhs.source.candidates import Candidates
from dhs.source.catalog import read_catalog
from dhs.source.cosmos import build_cosmos_bank
from dhs.source.journal import Journal
from tests.conftest import REPO

N_REPEATS = 5


@pytest.fixture(scope="module")
def tiled_dir(catalog_dir, tmp_path_factory):
    """500 galaxies in 5 picture and 5 PSF files."""
    folder = tmp_path_factory.mktemp("tiled")
    tile_catalog(catalog_dir, folder, n_repeats=N_REPEATS, galaxies_per_file=120)
    return folder


def source(bank, catalog_dir, **build):
    return CosmosSource(name="cosmos", bank=bank, catalog_dir=catalog_dir, build=BankBuild(**build))


def contents(path):
    """Every dataset, and every attribute but the time."""
    with h5py.File(path) as file:
        datasets = {"images": file["images"][()]} | {key: column[()] for key, column in file["meta"].items()}
        return datasets, {key: value for key, value in file.attrs.items() if key != "created_utc"}


def assert_same_bank(one, other):
    (datasets, attributes), (others, other_attributes) = contents(one), contents(other)
    assert attributes == other_attributes and datasets.keys() == others.keys()
    for key, values in datasets.items():
        np.testing.assert_array_equal(values, others[key], err_msg=key)


@pytest.fixture(scope="module")
def whole_bank(tiled_dir, tmp_path_factory):
    """A bank of 240 built in one go by one process."""
    bank = tmp_path_factory.mktemp("whole") / "b.h5"
    build_cosmos_bank(source(bank, tiled_dir, n_sources=240, num_processes=1))
    return bank


def test_many_files_make_the_bank_of_one(example_bank, catalog_dir, tmp_path):
    tile_catalog(catalog_dir, tmp_path, n_repeats=1, galaxies_per_file=9)
    assert len(set(read_catalog(tmp_path, name=None).gal_file)) == 12
    build_cosmos_bank(source(tmp_path / "b.h5", tmp_path))
    (ours, _), (one_file, _) = contents(tmp_path / "b.h5"), contents(example_bank[0].bank)
    assert (ours.pop("ident") != one_file.pop("ident")).all()
    for key, values in ours.items():
        np.testing.assert_array_equal(values, one_file[key], err_msg=key)


def test_each_file_is_opened_once_for_a_part_of_the_catalogue(tiled_dir, tmp_path, monkeypatch):
    from dhs.source import pictures

    opened = []
    plain = pictures.PictureFile.__init__
    monkeypatch.setattr(
        pictures.PictureFile, "__init__", lambda self, path: (opened.append(path), plain(self, path))[1]
    )
    parts = []
    do = build_pool._Worker.do
    monkeypatch.setattr(build_pool._Worker, "do", lambda self, rows: (parts.append(rows), do(self, rows))[1])
    build_cosmos_bank(source(tmp_path / "b.h5", tiled_dir, n_sources=100, num_processes=1))
    files = read_catalog(tiled_dir, name=None).gal_file
    assert len(opened) <= 2 * sum(len(set(files[rows])) for rows in parts)


def test_the_sources_are_the_first_acceptable_ones_of_the_keyed_order(whole_bank, tiled_dir, tmp_path):
    order = keyed_rng(1337, Purpose.BANK, 0, 0).permutation(100 * N_REPEATS)
    index = contents(whole_bank)[0]["index"]
    positions = np.argsort(order)[index]
    assert (np.diff(positions) > 0).all()
    summary = build_cosmos_bank(source(tmp_path / "b.h5", tiled_dir, n_sources=240, num_processes=1))
    assert summary.n_tried == positions[-1] + 1 == 240 + sum(summary.rejected.values())
    all_of_them = source(tmp_path / "all.h5", tiled_dir, num_processes=1)
    build_cosmos_bank(all_of_them)
    np.testing.assert_array_equal(contents(all_of_them.bank)[0]["index"][:240], index)


def test_any_number_of_processes_makes_the_same_bank(whole_bank, tiled_dir, tmp_path):
    states = []
    summary = build_cosmos_bank(
        source(tmp_path / "b.h5", tiled_dir, n_sources=240, num_processes=2), progress=states.append
    )
    assert_same_bank(tmp_path / "b.h5", whole_bank)
    assert list(tmp_path.iterdir()) == [tmp_path / "b.h5"]
    last = states[-1]
    assert last.n_accepted >= 240 and last.n_tried == last.n_accepted + last.rejected.total() >= summary.n_tried


def program(bank, catalog_dir):
    arguments = ["task=bank", "source=cosmos", f"source.catalog_dir={catalog_dir}", f"source.bank={bank}"]
    arguments += ["source.build.n_sources=240", "source.build.num_processes=2"]
    return subprocess.Popen(
        [sys.executable, "inject.py", *arguments], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def journal_parts(folder):
    return sorted(folder.glob(".b.h5.journal-*/part-*.bin"))


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def command_of(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()


def wait_for(condition, *, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as file:
        return file.read().split()[2] == "Z"


def test_a_killed_build_continues_and_makes_the_bank_of_an_uninterrupted_one(whole_bank, tiled_dir, tmp_path):
    with program(tmp_path / "b.h5", tiled_dir) as first:
        wait_for(lambda: journal_parts(tmp_path) or first.poll() is not None)
        workers = children_of(first.pid)
        first.send_signal(signal.SIGKILL)
        first.wait()
    kept = journal_parts(tmp_path)
    assert len(kept) >= 1 and not (tmp_path / "b.h5").exists()
    assert workers
    wait_for(lambda: all(gone(pid) for pid in workers))
    inodes = {path.name: path.stat().st_ino for path in kept}
    seen = {}

    def watch():
        for path in journal_parts(tmp_path):
            try:
                seen[path.name] = path.stat().st_ino
            except FileNotFoundError:
                pass  # the bank is written and the journal goes
        return second.poll() is not None

    with program(tmp_path / "b.h5", tiled_dir) as second:
        wait_for(watch)
        output, _ = second.communicate()
    assert second.returncode == 0, output
    assert {name: seen[name] for name in inodes} == inodes, "a finished part was done again"
    assert_same_bank(tmp_path / "b.h5", whole_bank)
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]


def interrupted(config, *, after=1, states=None):
    """Start a build and leave it after some parts, as a kill would."""

    class Kill(Exception):
        pass

    done = [] if states is None else states

    def progress(state):
        done.append(state)
        if len(done) == after:
            raise Kill

    with pytest.raises(Kill):
        build_cosmos_bank(config, progress=progress)


def test_a_damaged_part_is_named_and_done_again(whole_bank, tiled_dir, tmp_path, caplog):
    config = source(tmp_path / "b.h5", tiled_dir, n_sources=240, num_processes=1)
    interrupted(config, after=2)
    part = journal_parts(tmp_path)[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    states = []
    with caplog.at_level(logging.WARNING):
        build_cosmos_bank(config, progress=states.append)
    assert [record.message for record in caplog.records] == [f"{part} is damaged: doing its 128 galaxies again"]
    assert max(state.n_resumed for state in states) == 128
    assert_same_bank(tmp_path / "b.h5", whole_bank)


def test_parts_of_another_configuration_or_catalogue_are_not_used(tiled_dir, catalog_dir, tmp_path):
    config = source(tmp_path / "b.h5", tiled_dir, n_sources=240, num_processes=1)
    interrupted(config)
    (folder,) = {path.parent for path in journal_parts(tmp_path)}
    stricter = config.build.model_copy(update={"min_snr": 16.0})
    for other in (
        config.model_copy(update={"build": stricter}),
        config.model_copy(update={"catalog_dir": catalog_dir}),
    ):
        states = []
        interrupted(other, states=states)
        assert all(state.n_resumed == 0 for state in states)
        assert len(list(folder.glob("part-*.bin"))) == 1
    states = []
    half = config.build.model_copy(update={"dtype": "float16"})
    interrupted(config.model_copy(update={"build": half}), states=states)
    assert states[0].n_resumed == 128, "the type of the stored images decides no template"


def test_two_builds_of_one_bank_do_not_mix(tiled_dir, tmp_path):
    journal = Journal(tmp_path / "b.h5", decides={"a": 1})
    journal.open()
    with pytest.raises(ValueError, match="another process builds this bank"):
        Journal(tmp_path / "b.h5", decides={"a": 1}).open()
    Journal(tmp_path / "b.h5", decides={"a": 2}).open()
    journal.close()
    Journal(tmp_path / "b.h5", decides={"a": 1}).open()


def test_a_dead_worker_is_one_line_and_its_parts_are_kept(tiled_dir, tmp_path):
    with program(tmp_path / "b.h5", tiled_dir) as run:
        wait_for(lambda: journal_parts(tmp_path) or run.poll() is not None)
        busy = [pid for pid in children_of(run.pid) if "spawn_main" in command_of(pid)]
        os.kill(busy[0], signal.SIGKILL)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 2 and "a worker process died" in output.splitlines()[-1], output
    assert journal_parts(tmp_path) and not (tmp_path / "b.h5").exists()


def test_stratified_banks_hold_rare_kinds_as_often_as_common_ones(tiled_dir, tmp_path):
    strata = {"zphot": [0.4, 0.8], "half_light_radius_arcsec": [0.25, 0.4], "clumpiness": []}
    hist = {}
    for choice in ("uniform", "stratified"):
        config = source(
            tmp_path / f"{choice}.h5", tiled_dir, n_sources=100, num_processes=1, choice=choice, strata=strata
        )
        summary = build_cosmos_bank(config)
        meta = open_bank(config).meta
        cell = 3 * np.digitize(meta["zphot"], [0.4, 0.8]) + np.digitize(meta["hlr_arcsec"], [0.25, 0.4])
        hist[choice] = np.bincount(cell, minlength=9)
        assert (summary.n_sources, summary.n_not_chosen) == (100, 100 if choice == "stratified" else 0)
    rare = hist["uniform"].argsort()[:4]
    assert hist["stratified"][rare].sum() > 1.3 * hist["uniform"][rare].sum()
    assert hist["stratified"].max() < hist["uniform"].max()


def test_half_precision_halves_the_file_and_keeps_the_galaxies(whole_bank, tiled_dir, tmp_path):
    config = source(tmp_path / "b.h5", tiled_dir, n_sources=240, num_processes=1, dtype="float16")
    build_cosmos_bank(config)
    whole, half = contents(whole_bank)[0]["images"], contents(config.bank)[0]["images"]
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, whole.astype(np.float16))
    assert config.bank.stat().st_size < 0.6 * whole_bank.stat().st_size
    images = open_bank(config).templates(np.arange(240)).each().numpy()
    assert np.abs(images.sum(axis=(1, 2, 3), dtype=float) - 1).max() < 1e-5


def test_whitening_adds_noise_and_its_seed_is_the_row(catalog_dir, example_bank, tmp_path):
    config = source(tmp_path / "b.h5", catalog_dir, n_sources=10, max_tries=30, whiten=True)
    build_cosmos_bank(config)
    white, plain = contents(config.bank)[0], contents(example_bank[0].bank)[0]
    both, ours, theirs = np.intersect1d(white["index"], plain["index"], return_indices=True)
    assert len(both) >= 8
    assert (white["snr"][ours] < plain["snr"][theirs]).mean() > 0.9
    ratio = white["hlr_arcsec"][ours] / plain["hlr_arcsec"][theirs]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    candidates = Candidates(read_catalog(catalog_dir, name=None), config=config)
    again = candidates.part(white["index"][[3, 1]])
    np.testing.assert_array_equal(again.images, white["images"][[3, 1]])
    candidates.close()
