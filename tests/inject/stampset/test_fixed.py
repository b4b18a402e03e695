"""sky=stamps: the pixels of on-the-fly injection, in an order that is exact for any number of workers."""

import json
import logging
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from dhs.config.compact import CompactTask
from dhs.config.root import TrainConfig
from dhs.config.sky import StampsSky
from dhs.inject.build import build_injector, build_supply
from dhs.inject.injector import Injector
from dhs.inject.recipe import RecipeBatch
from dhs.inject.stampset.compact_job import compact
from dhs.inject.stampset.fixed import FixedStamps, load_fixed_stamps
from dhs.inject.stampset.fixed_rows import _recipe_columns
from dhs.inject.stream import InjectionStream
from dhs.rng import Purpose
from dhs.train.batch import BatchMaker
from tests.inject.stampset.sets import N_PX, part_table, stamps_table, write_set, write_tables

N_TRAIN = 200


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets are mapped in this process: starting others takes longer than the work."""
    monkeypatch.setattr("dhs.inject.stampset.compact_job.n_cores", lambda: 1)


@pytest.fixture(scope="module")
def injector(small_config) -> Injector:
    return build_injector(small_config())


@pytest.fixture(scope="module")
def painted(injector, tmp_path_factory) -> Path:
    """A set of what the injector paints: 200 training stamps and the whole val and test sets."""
    tables = []
    for split, purpose in (("train", Purpose.TRAIN), ("val", Purpose.VAL), ("test", Purpose.TEST)):
        n = N_TRAIN if split == "train" else injector.n_stamps(purpose)
        stamps = injector.stamps(np.arange(n), purpose=purpose, measure=True)
        tables.append((split, stamps_table(stamps, split=split, cutouts=injector.cutouts)))
    return write_tables(tmp_path_factory.mktemp("painted") / "set", tables)


def config_of(small_config, path: Path, *overrides: str) -> TrainConfig:
    return small_config("sky=stamps", f"sky.path={path}", "max_galaxies=null", *overrides)


@pytest.fixture(scope="module")
def fixed(small_config, painted) -> FixedStamps:
    supply = build_supply(config_of(small_config, painted))
    assert isinstance(supply, FixedStamps)
    return supply


@pytest.fixture(scope="module")
def noise_set(tmp_path_factory) -> Path:
    """Shards of 16-px noise: 400 train stamps."""
    folder = tmp_path_factory.mktemp("noise")
    sizes = {"train": [130, 270], "val": [60], "test": [60]}
    source = write_set(folder / "parts", sizes=sizes, failed=0)
    settings = {"input": str(source), "output": str(folder / "shards"), "format": "webdataset", "num_processes": 1}
    task = CompactTask.model_validate({"name": "compact", "rows_per_file": 150, **settings})
    compact(task, seed=1, cache_dir=folder, progress=lambda what, done, total: None)
    return folder / "shards"


def load(path: Path, *, cache_dir: Path, samples_per_epoch: int = 96, seed: int = 1, **settings: Any) -> FixedStamps:
    sky = StampsSky.model_validate({"name": "stamps", "path": str(path), "stamp_size_px": N_PX} | settings)
    return load_fixed_stamps(sky, seed=seed, samples_per_epoch=samples_per_epoch, cache_dir=cache_dir)


def test_the_network_sees_what_injection_on_the_fly_would_show_it(injector, fixed, small_config):
    """Val and test, stamp by stamp: pixels, masks, recipes, measures, preprocessed batch, metadata and label."""
    config = small_config("model.metadata=[psfsize_r,psfdepth_g]")
    settings: dict[str, Any] = {
        "preprocess_config": config.preprocess,
        "augment_config": None,
        "metadata": config.model.metadata,
    }
    for purpose in (Purpose.VAL, Purpose.TEST):
        kept = np.flatnonzero(np.arange(injector.n_stamps(purpose)) % 11 != 5)
        theirs = injector.stamps(kept, purpose=purpose, measure=True)
        ours = fixed.stamps(np.arange(fixed.n_stamps(purpose)), purpose=purpose, measure=True)
        assert torch.equal(theirs.images, ours.images) and torch.equal(theirs.good, ours.good)
        want, got = theirs.columns(), ours.columns()
        for name in want.keys() - {"row", "key_index"}:
            assert np.array_equal(want[name], got[name], equal_nan=want[name].dtype.kind == "f"), name
        batches = [
            BatchMaker(supply.cutouts, **settings)(stamps) for supply, stamps in ((injector, theirs), (fixed, ours))
        ]
        for name in ("image", "metadata", "label"):
            assert torch.equal(batches[0][name], batches[1][name]), name
        assert np.array_equal(
            np.asarray(injector.cutouts.kind)[theirs.recipes.row], fixed.cutouts.kind[ours.recipes.row]
        )


def test_every_train_stamp_is_the_one_that_was_painted(injector, fixed):
    """Rows that failed never come, and a row's pixels and recipe are its own."""
    painted = injector.stamps(np.flatnonzero(np.arange(N_TRAIN) % 11 != 5), purpose=Purpose.TRAIN)
    found = fixed.stamps(np.arange(96), purpose=Purpose.TRAIN)
    rows = found.recipes.row
    assert len(set(rows.tolist())) == 96
    assert torch.equal(painted.images[rows], found.images)
    assert np.array_equal(painted.recipes.target_id[rows], found.recipes.target_id)


def keys_and_ids(supply: FixedStamps, epoch: int) -> list[int]:
    stamps = supply.stamps(np.arange(supply.n_stamps(Purpose.TRAIN)), purpose=Purpose.TRAIN, epoch=epoch)
    assert stamps.recipes.key[:, 2].tolist() == [epoch] * len(stamps)
    return stamps.recipes.row.tolist()


@pytest.mark.parametrize("n", [100, 400, 700], ids=["shorter", "as long", "longer than the set"])
def test_no_stamp_comes_twice_before_all_came_once(noise_set, tmp_path, n):
    supply = load(noise_set, cache_dir=tmp_path, samples_per_epoch=n)
    walk = [row for epoch in range(8) for row in keys_and_ids(supply, epoch)]
    for first in range(0, len(walk) - 399, 400):
        assert sorted(walk[first : first + 400]) == list(range(400))
    assert len(Counter(tuple(walk[i : i + 400]) for i in range(0, len(walk) - 399, 400))) == len(walk) // 400


def test_the_order_is_drawn_from_the_seed_and_is_no_order_of_the_file(noise_set, tmp_path):
    orders = [
        keys_and_ids(load(noise_set, cache_dir=tmp_path, samples_per_epoch=400, seed=seed), 0) for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert abs(np.corrcoef(orders[0], np.arange(400))[0, 1]) < 0.2


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_ranks_and_a_late_start_change_nothing(noise_set, tmp_path):
    supply = load(noise_set, cache_dir=tmp_path)

    def batches(workers: int = 0, **settings: Any) -> list[torch.Tensor]:
        stream = InjectionStream(
            supply, purpose=Purpose.TRAIN, epoch=3, batch_size=16, transform=lambda s: {"x": s.images}, **settings
        )
        context = "fork" if workers else None
        return [
            b["x"] for b in DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context=context)
        ]

    whole = batches()
    assert len(whole) == 6
    for other in (batches(1), batches(3), batches(2, first_batch=0)):
        assert all(torch.equal(a, b) for a, b in zip(whole, other, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[4:], batches(first_batch=4), strict=True))
    halves = [batches(rank=rank, world_size=2) for rank in (0, 1)]
    assert all(torch.equal(w, torch.cat(both)) for w, both in zip(whole, zip(*halves, strict=True), strict=True))


def test_a_spawned_worker_gets_file_names_not_pixels(noise_set, tmp_path):
    supply = load(noise_set, cache_dir=tmp_path)
    sent = pickle.dumps(supply)
    assert len(sent) < 1000 * 520  # the columns of 520 stamps; their pixels are 1.6 MB
    indices = np.arange(32)
    again = pickle.loads(sent).stamps(indices, purpose=Purpose.TRAIN, epoch=2)
    assert torch.equal(again.images, supply.stamps(indices, purpose=Purpose.TRAIN, epoch=2).images)


def test_parquet_and_shards_train_alike(tmp_path):
    """The order of the rows is the set's own in the cache too; the second start makes nothing."""
    source = write_set(tmp_path / "parts", sizes={"train": [90, 70], "val": [40], "test": [40]})
    settings = {"input": str(source), "output": str(tmp_path / "tars"), "format": "webdataset", "num_processes": 1}
    task = CompactTask.model_validate({"name": "compact", "shuffle": False, **settings})
    compact(task, seed=1, cache_dir=tmp_path, progress=lambda what, done, total: None)
    one, other = (load(path, cache_dir=tmp_path / "cache") for path in (source, tmp_path / "tars"))
    for epoch in range(3):
        both = [supply.stamps(np.arange(96), purpose=Purpose.TRAIN, epoch=epoch) for supply in (one, other)]
        assert torch.equal(both[0].images, both[1].images)
        assert np.array_equal(both[0].recipes.target_id, both[1].recipes.target_id)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("part-*")}
    assert made
    load(source, cache_dir=tmp_path / "cache")
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("part-*")}


def test_max_galaxies_takes_whole_galaxies_of_every_split(noise_set, tmp_path):
    sky = StampsSky.model_validate({"name": "stamps", "path": str(noise_set), "stamp_size_px": N_PX})
    whole = load_fixed_stamps(sky, seed=1, samples_per_epoch=96, cache_dir=tmp_path)
    some = load_fixed_stamps(sky, seed=1, samples_per_epoch=96, cache_dir=tmp_path, max_galaxies=100)
    ids = some.cutouts.columns["target_id"]
    assert len(np.unique(ids)) == 100
    everything = whole.cutouts.columns["target_id"]
    assert len(ids) == np.isin(everything, ids).sum()
    assert set(some.cutouts.split.tolist()) == {0, 1, 2}


def test_the_names_of_a_recipe_are_those_of_the_recipe(injector):
    assert _recipe_columns() == list(injector.stamps(np.arange(2), purpose=Purpose.VAL).recipes.columns())
    assert RecipeBatch.__dataclass_fields__.keys() >= {"row", "key"}


def three_splits(**settings: Any) -> list[tuple[str, pa.Table]]:
    return [
        (split, part_table(40, split=split, first=100 * i, **settings))
        for i, split in enumerate(("train", "val", "test"))
    ]


def one_line(path: Path, tmp_path: Path, **settings: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load(path, cache_dir=tmp_path / "cache", **settings)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_what_cannot_be_trained_on_is_refused_in_one_line(tmp_path, noise_set):
    assert "stamps of 16 px, sky.stamp_size_px = 64" in one_line(noise_set, tmp_path, stamp_size_px=64)
    missing = three_splits()[::2]
    line = one_line(write_tables(tmp_path / "missing", missing), tmp_path)
    assert "split 'val' has 0 stamps with an arc and 0 without" in line
    controls = three_splits()
    table = controls[2][1]
    no_arc = pa.array(np.zeros(40, bool))
    controls[2] = ("test", table.set_column(table.schema.get_field_index("injected"), "injected", no_arc))
    line = one_line(write_tables(tmp_path / "controls", controls), tmp_path)
    assert "split 'test' has 0 stamps with an arc" in line
    unfinished = write_tables(tmp_path / "unfinished", three_splits())
    (unfinished / "_SUCCESS.json").unlink()
    assert "no finished stamp set (no _SUCCESS.json)" in one_line(unfinished, tmp_path)
    assert "no stamp set (no _SUCCESS.json)" in one_line(tmp_path / "nowhere", tmp_path)
    mixed = [*three_splits(), ("test", part_table(9, split="test", first=900, size_px=20))]
    line = one_line(write_tables(tmp_path / "mixed", mixed), tmp_path)
    assert "image is fixed_size_list" in line and "must have one stamp size" in line
    short = three_splits()
    short[0] = ("train", short[0][1].drop_columns(["psfdepth_r_mag"]))
    line = one_line(write_tables(tmp_path / "short", short), tmp_path)
    assert "psfdepth_r_mag" in line


def test_nan_in_a_row_that_is_ok_names_the_row(tmp_path):
    tables = three_splits(failed=0)
    table = tables[1][1]
    image = table["image"].combine_chunks().flatten().to_numpy().copy()
    image[7 * 768 + 5] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(image), 768)
    tables[1] = ("val", table.set_column(2, "image", column))
    line = one_line(write_tables(tmp_path / "nan", tables), tmp_path)
    assert "image of noise/000107/c.0/0 has 1 NaN or infinite pixels" in line


def test_a_flipped_byte_stops_the_stream_and_names_the_stamp(noise_set, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(noise_set, copy)
    tar = sorted(copy.glob("split=val/*.tar"))[0]
    supply = load(copy, cache_dir=tmp_path)
    supply.stamps(np.arange(60), purpose=Purpose.VAL)
    content = bytearray(tar.read_bytes())
    content[(len(content) // 60) * 3 + 1500] ^= 1
    tar.write_bytes(content)
    damaged = load(copy, cache_dir=tmp_path)
    with pytest.raises(ValueError, match=r"part-0000\d\.tar: stamp 3 of it \(noise/.*\) has other bytes than were"):
        damaged.stamps(np.arange(60), purpose=Purpose.VAL)
    load(copy, cache_dir=tmp_path, verify=False).stamps(np.arange(60), purpose=Purpose.VAL)
    tar.write_bytes(content[:-512])
    assert "bytes, written were" in one_line(copy, tmp_path)


def test_the_log_says_what_is_used_and_what_is_not(small_config, painted, caplog):
    log = logging.getLogger("dhs")
    log.addHandler(caplog.handler)
    try:
        with caplog.at_level("INFO", logger="dhs"):
            build_supply(config_of(small_config, painted))
    finally:
        log.removeHandler(caplog.handler)
    text = caplog.text
    assert "nothing is injected; source, lens, psf, colour, renderer" in text
    assert "test: " in text and "stamps with an arc" in text


def test_a_metadata_of_another_survey_is_refused(tmp_path):
    tables = three_splits()
    for number, (split, table) in enumerate(tables):
        metadata = json.loads(table.schema.metadata[b"dhs_stamps"]) | {"pixel_scale_arcsec": 0.168}
        tables[number] = (split, table.replace_schema_metadata({b"dhs_stamps": json.dumps(metadata).encode()}))
    assert "pixel_scale_arcsec = 0.168, allowed is 0.262" in one_line(write_tables(tmp_path / "x", tables), tmp_path)
