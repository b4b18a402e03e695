"""Known lenses and labelled negatives of a store: what they are in the stream, and what never gets into it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import binomtest

from dhs.config.root import TrainConfig
from dhs.config.sky import SplitConfig
from dhs.constants import SPLITS
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.inject.mix import HARD_NEGATIVE, INJECTED, ORIGINS, POSITIVE_ORIGINS, REAL_LENS
from dhs.inject.sheet import first_batch_sheet
from dhs.inject.training_sky import keep_extras, mix_lines
from dhs.rng import Purpose
from dhs.sky.cutout_job import make_store
from dhs.sky.cutouts import CutoutSet
from dhs.sky.joined import NO_SPLIT, joined
from dhs.sky.labelled import load_labelled, near_unseen, train_rows
from dhs.sky.splits import split_of_position
from dhs.train.batch import BatchMaker
from tests.sky.store_files import make_task, nothing, target_table, write_bricks

MANY = np.arange(2000)
LABELS = [1, 0, 0] * 20


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """60 targets, one in three a lens; half of them are in train by the list's own column."""
    root = tmp_path_factory.mktemp("bricks")
    write_bricks(root)
    table = target_table(label=np.array(LABELS), target_id=np.arange(900_000, 900_060))
    task = make_task(tmp_path_factory.mktemp("labelled"), root, table=table)
    make_store(task, cache_dir=root, progress=nothing)
    return task.output


@pytest.fixture(scope="module")
def salt(store) -> Callable[[bool], str]:
    """``salt(True)``: of a split that puts the store's whole patch of sky into train; False: none of it."""
    cutouts = load_labelled(store, key="key").cutouts

    def find(wanted: bool) -> str:
        for number in range(500):
            rule = SplitConfig.model_validate({"salt": f"s{number}"})
            train = split_of_position(cutouts.ra_deg, cutouts.dec_deg, config=rule) == SPLITS.index("train")
            if train.all() if wanted else not train.any():
                return rule.salt
        raise AssertionError("no such salt")

    return find


@pytest.fixture(scope="module")
def build(small_config, salt) -> Callable[..., Injector]:
    sky = build_injector(small_config(f"sky.split.salt={salt(True)}")).cutouts

    def make(*overrides: str) -> Injector:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dhs.inject.build.load_sky", lambda *_, **__: sky)
            return build_injector(small_config(f"sky.split.salt={salt(True)}", *overrides))

    return make


@pytest.fixture(scope="module")
def with_real(build, store) -> Injector:
    return build(f"inject.real_positives.path={store}", "inject.real_positives.fraction=0.4")


def without_column(store: Path, folder: Path, name: str) -> Path:
    """A copy of the store whose index lacks a column."""
    copy = shutil.copytree(store, folder / f"without-{name}")
    pq.write_table(pq.read_table(copy / "index.parquet").drop_columns([name]), copy / "index.parquet")
    return copy


def test_known_lenses_are_positives_without_an_arc(with_real, store):
    index = pq.read_table(store / "index.parquet").to_pandas().set_index("target_id")
    stamps = with_real.stamps(np.arange(120), purpose=Purpose.TRAIN)
    real = stamps.origin == REAL_LENS
    assert real.sum() > 10
    assert stamps.label[real].all()
    assert not stamps.recipes.injected[real].any()
    assert np.isnan(stamps.recipes.theta_e_arcsec[real]).all()
    ids = stamps.recipes.target_id[real]
    assert (index.loc[ids, "label"] == 1).all()
    assert (index.loc[ids, "split"] == "train").all()
    cutouts = load_labelled(store, key="key").cutouts
    pixels = torch.from_numpy(cutouts.images[cutouts.rows_of(ids)])
    assert torch.equal(stamps.images[torch.from_numpy(real)], pixels)


def test_their_share_is_that_of_the_positives_and_the_arcs_beside_them_stay_what_they_were(with_real, build):
    rows, origins = with_real.origins(MANY, purpose=Purpose.TRAIN)
    before, plain = build().origins(MANY, purpose=Purpose.TRAIN)
    positive = np.isin(origins, POSITIVE_ORIGINS)
    assert binomtest(int((origins == REAL_LENS).sum()), int(positive.sum()), 0.4).pvalue > 1e-4
    assert np.array_equal(positive, plain == INJECTED)
    same = origins == INJECTED
    assert np.array_equal(rows[same], before[same])
    some = np.flatnonzero(same)[:6]
    left, right = (each.stamps(some, purpose=Purpose.TRAIN) for each in (with_real, build()))
    assert torch.equal(left.images, right.images)


def test_the_label_of_the_batch_and_of_the_assignments_is_the_lens_not_the_arc(with_real, small_config):
    config: TrainConfig = small_config("model.metadata=[]")
    maker = BatchMaker(
        with_real.cutouts, preprocess_config=config.preprocess, augment_config=None, metadata=config.model.metadata
    )
    batch = maker(with_real.stamps(np.arange(60), purpose=Purpose.TRAIN))
    _, labels = with_real.assignments(np.arange(60), purpose=Purpose.TRAIN)
    assert np.array_equal(batch["label"].numpy() == 1, labels)
    real = batch["origin"].numpy() == REAL_LENS
    assert real.any() and labels[real].all()


def test_known_lenses_are_in_no_pool_and_no_fixed_set(with_real, build):
    plain = build()
    for purpose in (Purpose.TRAIN, Purpose.VAL, Purpose.TEST):
        for mine, theirs in zip(with_real.pool(purpose), plain.pool(purpose), strict=True):
            assert np.array_equal(mine, theirs)
        assert with_real.n_stamps(purpose) == plain.n_stamps(purpose)
    assert (with_real.cutouts.split[with_real.extras.real] == NO_SPLIT).all()


def test_lenses_of_the_test_sky_are_refused(small_config, salt, store):
    with pytest.raises(ValueError, match=r"no cutout of label 1 may be trained on \(.*not in the train sky"):
        build_injector(small_config(f"sky.split.salt={salt(False)}", f"inject.real_positives.path={store}"))


def test_a_lens_on_whose_stamp_a_test_galaxy_lies_is_left_out(with_real, store):
    labelled = load_labelled(store, key="key")
    sky = with_real.cutouts.take(np.flatnonzero(with_real.cutouts.split != NO_SPLIT))
    test = int(np.flatnonzero(sky.split == SPLITS.index("test"))[0])
    ra, dec = sky.ra_deg.copy(), sky.dec_deg.copy()
    ra[test], dec[test] = labelled.cutouts.ra_deg[7], labelled.cutouts.dec_deg[7] + 10 / 3600
    moved = replace(sky, ra_deg=ra, dec_deg=dec)
    assert near_unseen(labelled.cutouts, sky=moved)[7]
    assert not near_unseen(labelled.cutouts, sky=sky).any()


def test_held_out_lenses_are_never_trained_on(with_real, store, salt, tmp_path):
    labelled = load_labelled(store, key="key")
    rule = SplitConfig.model_validate({"salt": salt(True)})
    settings = {"label": 1, "sky": with_real.cutouts, "split": rule, "key": "inject.real_positives.path"}
    every = train_rows(labelled, hold_out=("slacs_bells",), **settings)
    one = int(every[2])
    benchmark = tmp_path / "benchmark.csv"
    benchmark.write_text(
        f"name,ra_deg,dec_deg\nmine,{labelled.cutouts.ra_deg[one]:.6f},{labelled.cutouts.dec_deg[one]:.6f}\n"
    )
    assert set(every) - set(train_rows(labelled, hold_out=(str(benchmark),), **settings)) == {one}
    with pytest.raises(ValueError, match=r"inject.real_positives.hold_out = nowhere.csv: must be slacs_bells"):
        train_rows(labelled, hold_out=("nowhere.csv",), **settings)


def test_a_galaxy_of_the_sky_that_is_a_known_lens_is_neither_host_nor_negative(build, small_config, salt, store):
    sky = build().cutouts
    lens = load_labelled(store, key="key").cutouts
    host = int(build().pool(Purpose.TRAIN).hosts[0])
    ra, dec = sky.ra_deg.copy(), sky.dec_deg.copy()
    ra[host], dec[host] = lens.ra_deg[0], lens.dec_deg[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dhs.inject.build.load_sky", lambda *_, **__: replace(sky, ra_deg=ra, dec_deg=dec))
        injector = build_injector(small_config(f"sky.split.salt={salt(True)}", f"inject.real_positives.path={store}"))
    pool = injector.pool(Purpose.TRAIN)
    assert host not in pool.hosts
    assert host not in pool.negatives


def test_labelled_negatives_of_a_store_are_hard_negatives_by_class(build, store):
    injector = build(
        f"inject.negatives.hard.path={store}",
        "inject.negatives.hard.fraction=0.5",
        "inject.negatives.hard.class_weights={spiral:1}",
    )
    stamps = injector.stamps(np.arange(200), purpose=Purpose.TRAIN)
    hard = stamps.origin == HARD_NEGATIVE
    assert binomtest(int(hard.sum()), int((~stamps.label).sum()), 0.5).pvalue > 1e-4
    index = pq.read_table(store / "index.parquet").to_pandas().set_index("target_id")
    chosen = index.loc[stamps.recipes.target_id[hard]]
    assert set(chosen["label"]) == {0}
    assert set(chosen["kind"]) == {"spiral"}
    assert set(chosen["split"]) == {"train"}
    with pytest.raises(ValueError, match=r"inject.negatives.hard.class_weights.ring = 1: there is no ring \("):
        build(f"inject.negatives.hard.path={store}", "inject.negatives.hard.class_weights={ring:1}")


@pytest.mark.parametrize("name", ["label", "split", "ra_deg", "kind"])
def test_a_store_without_a_needed_column_is_one_line(build, store, tmp_path, name):
    broken = without_column(store, tmp_path, name)
    if name == "split":  # the sky's rule decides then; without one nothing does
        labelled = load_labelled(broken, key="k")
        assert not labelled.has_split
        with pytest.raises(ValueError, match=r"has no column split, and neither has the sky a rule"):
            train_rows(labelled, label=1, sky=build().cutouts, split=None, hold_out=(), key="k")
        return
    with pytest.raises(ValueError, match=rf"has no column {name}") as error:
        build(f"inject.real_positives.path={broken}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("values", "line"), [([2.5] * 60, "label has type double"), ([3] * 60, "label = 3; allowed")])
def test_labels_are_0_and_1(store, tmp_path, values, line):
    copy = shutil.copytree(store, tmp_path / "odd")
    table = pq.read_table(copy / "index.parquet")
    place = table.column_names.index("label")
    pq.write_table(table.set_column(place, "label", [values]), copy / "index.parquet")
    with pytest.raises(ValueError, match=line):
        load_labelled(copy, key="k")


def test_a_folder_that_is_no_store_is_one_line(build, tmp_path):
    with pytest.raises(ValueError, match=r"inject.real_positives.path = .*: no finished store of cutouts"):
        build(f"inject.real_positives.path={tmp_path}")


def test_joined_sets_keep_every_column_and_refuse_other_sizes(with_real, store):
    labelled, sky = load_labelled(store, key="k"), with_real.cutouts
    both: CutoutSet = joined(sky, extra=labelled.cutouts, rows=np.array([5, 3]), where="store")
    assert len(both) == len(sky) + 2
    assert np.array_equal(both.images[len(sky)], labelled.cutouts.images[5])
    assert np.array_equal(both.images[[len(sky) + 1, 0]][0], labelled.cutouts.images[3])
    assert np.array_equal(both.images[-2:, 1], labelled.cutouts.images[[5, 3]][:, 1])
    assert both.mag[-1, 2] == labelled.cutouts.mag[3, 2]
    kernels = replace(sky, psf_images=np.ones((len(sky), 3, 5, 5), np.float32))
    longer = joined(kernels, extra=labelled.cutouts, rows=np.array([0, 1]), where="store").psf_images
    assert longer.shape == (len(sky) + 2, 3, 5, 5)
    assert (longer[: len(sky)] == 1).all() and np.isnan(longer[len(sky) :]).all()
    small = replace(labelled.cutouts, images=np.asarray(labelled.cutouts.images)[..., :32, :32])
    with pytest.raises(ValueError, match=r"store: stamps of 32 px, the sky's have 64"):
        joined(sky, extra=small, rows=np.array([0]), where="store")


def test_a_run_that_goes_on_notices_another_store_of_the_same_name(with_real, tmp_path):
    keep_extras(tmp_path, with_real.extras.card)
    keep_extras(tmp_path, with_real.extras.card)
    other = {name: dict(value, sha256="0") for name, value in with_real.extras.card.items()}
    with pytest.raises(ValueError, match="not the file that .* was begun with"):
        keep_extras(tmp_path, other)


def test_the_log_and_the_contact_sheet_say_what_is_real(with_real, tmp_path):
    lines = mix_lines(with_real.mix, kinds=with_real.cutouts.kind, samples_per_epoch=1000)
    assert lines[0] == "a training epoch: 1000 stamps, about 500 negative, 300 injected, 200 real lens"
    assert first_batch_sheet(with_real, path=tmp_path / "first.png", batch_size=16).stat().st_size > 10_000
    assert sum(with_real.mix.expected.values()) == pytest.approx(1)
    assert tuple(with_real.mix.expected) == ORIGINS
