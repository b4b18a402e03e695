"""evaluate.py task=mine: the worst of each class of what training may see, and nothing else."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dhs.config.cli import compose_job
from dhs.config.load import ConfigError
from dhs.config.mine import MineTask
from dhs.config.root import EvaluateRoot, TrainConfig
from dhs.constants import CLASSES, SPLITS
from dhs.evaluate.mine import Mined, Searched, _searched, candidates, mine_checkpoint, worst
from dhs.evaluate.mine_page import mine_page
from dhs.evaluate.scored_set import score_items
from dhs.inject.build import build_injector
from dhs.rng import Purpose
from dhs.sky.anchors import slacs_bells
from dhs.sky.cutout_job import make_store
from dhs.sky.cutouts import CutoutSet
from dhs.sky.splits import split_of_position
from dhs.train.checkpoint import FORMAT, HEADER, checkpoint_config, finder_from, read_checkpoint
from dhs.train.finder import open_finder
from dhs.train.module import LensFinder
from tests.sky.store_files import make_task, nothing, target_table, write_bricks


def save_untrained(config: TrainConfig, path: Path) -> Path:
    """A checkpoint of a network as it begins."""
    finder = LensFinder(config)
    content = {
        "state_dict": finder.state_dict(),
        "hyper_parameters": {"config": config.model_dump(mode="json")},
        HEADER: {"format": FORMAT},
    }
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(small_config, tmp_path_factory) -> Path:
    return save_untrained(small_config(), tmp_path_factory.mktemp("run") / "best.ckpt")


@pytest.fixture(scope="module")
def sky(small_config) -> CutoutSet:
    return build_injector(small_config()).cutouts


@pytest.fixture
def task(tmp_path, checkpoint, small_config) -> Callable[..., EvaluateRoot]:
    def make(*overrides: str) -> EvaluateRoot:
        own = [f"checkpoint={checkpoint}", f"task.output={tmp_path}/hard.parquet", "num_workers=0"]
        return compose_job("evaluate", ["task=mine", *own, *overrides], schema=EvaluateRoot)

    return make


def mine(config: EvaluateRoot) -> Mined:
    assert isinstance(config.task, MineTask) and config.checkpoint is not None
    return mine_checkpoint(
        config.checkpoint, task=config.task, settings=config.evaluate, num_workers=config.num_workers
    )


def test_the_list_holds_the_worst_of_each_class_of_the_train_negatives(task, sky, checkpoint, small_config):
    config = task("task.per_class=7")
    mined = mine(config)
    injector = build_injector(small_config())
    negatives = injector.pool(Purpose.TRAIN).negatives
    scores = pq.read_table(config.task.output.with_suffix(".scores.parquet")).to_pandas().set_index("target_id")
    assert set(scores.index) == set(sky.target_id[negatives])
    finder = open_finder(checkpoint)
    alone = finder.logits(finder.maker(sky)(injector.painter.stamps(_plain(injector, negatives[:5]))))
    np.testing.assert_allclose(scores.loc[sky.target_id[negatives[:5]], "logit"], alone, atol=1e-5)
    table = pq.read_table(config.task.output).to_pandas()
    for code, name in enumerate(CLASSES):
        mine_ids = sky.target_id[negatives[sky.kind[negatives] == code]]
        wanted = scores.loc[mine_ids, "logit"].sort_values(ascending=False)
        found = table[table["class"] == name]
        np.testing.assert_array_equal(found["score"], wanted.to_numpy()[:7])
        assert found["rank"].tolist() == list(range(1, min(7, len(wanted)) + 1))
    assert set(table["split"]) == {"train"}
    assert set(table["checkpoint"]) == {mined.provenance["checkpoint_sha256"][:16]}
    row = sky.rows_of(table["target_id"].to_numpy())
    np.testing.assert_array_equal(table["ra_deg"], sky.ra_deg[row])


def _plain(injector, rows):
    from dhs.inject.recipe import controls

    return controls(injector.cutouts, rows, keys=np.zeros((len(rows), 4), np.int64))


def test_the_next_run_trains_on_the_list_and_the_page_shows_it(task, small_config):
    config = task("task.per_class=5")
    mined = mine(config)
    injector = build_injector(small_config(f"inject.negatives.hard.path={config.task.output}"))
    assert set(injector.extras.hard) == set(mined.rows)
    assert injector.extras.card["hard_negatives"]["n"] == len(mined.rows)
    page = mine_page(mined, n_shown=2)
    assert page.count("<figure>") == 2 * len(mined.provenance["scored"])
    assert "Look for arcs" in page
    assert page.isascii()
    provenance = json.loads(pq.read_schema(config.task.output).metadata[b"provenance"])
    assert provenance["left_out"]["of the test sky"] > 0
    assert provenance["task"]["per_class"] == 5
    assert len(mined.lines()) == len(provenance["scored"])


def test_test_sky_is_never_mined(task, sky):
    with pytest.raises(ConfigError, match=r"task.splits = .*: test is never mined"):
        task("task.splits=[train,test]")
    mined = mine(task("task.splits=[train,val]", "task.per_class=1000"))
    splits = {SPLITS[code] for code in sky.split[mined.rows]}
    assert splits == {"train", "val"}


def test_known_lenses_hosts_and_other_splits_are_left_out(task, sky):
    anchors = slacs_bells()
    negatives = sky.rows(split="train", classes=("ring", "spiral"))
    ra, dec = sky.ra_deg.copy(), sky.dec_deg.copy()
    ra[negatives[0]], dec[negatives[0]] = anchors.ra_deg[3], anchors.dec_deg[3] + 5 / 3600
    moved = dataclasses.replace(sky, ra_deg=ra, dec_deg=dec)
    labelled = np.zeros(len(sky), bool)
    labelled[negatives[1]] = True
    config = task("task.exclusion.lenscat=false")
    plain, _ = candidates(Searched(sky, sky.split, ~labelled & False, "sky"), task=config.task, controls="unpaired")
    rows, left_out = candidates(Searched(moved, sky.split, labelled, "sky"), task=config.task, controls="unpaired")
    assert set(plain) - set(rows) == {negatives[0], negatives[1]}
    assert left_out["at a known lens"] == 2
    paired, without = candidates(Searched(sky, sky.split, labelled, "sky"), task=config.task, controls="paired")
    assert len(paired) == len(plain) - 1 + left_out["hosts of arcs"]
    assert "hosts of arcs" not in without
    nothing = np.full(len(sky), SPLITS.index("test"), np.int8)
    with pytest.raises(ValueError, match=r"nothing may be mined of sky \(256 of the test sky\)"):
        candidates(Searched(sky, nothing, labelled, "sky"), task=config.task, controls="paired")


def test_a_killed_job_goes_on_and_another_number_costs_no_scoring(task, monkeypatch):
    config = task("evaluate.batch_size=16")
    scored: list[int] = []
    finder_type = type(open_finder(config.checkpoint))
    original = finder_type.logits

    def counting(self, batch):
        if len(scored) == 5:
            raise KeyboardInterrupt
        scored.append(len(batch["label"]))
        return original(self, batch)

    monkeypatch.setattr(score_items, "__kwdefaults__", {"part_rows": 32})
    monkeypatch.setattr(finder_type, "logits", counting)
    with pytest.raises(KeyboardInterrupt):
        mine(config)
    assert not config.task.output.exists()
    assert sum(scored) == 80, "two parts of 32, and half of the third"
    scored[:] = [0] * 6  # past the planned interruption
    mined = mine(config)
    whole = pq.read_table(config.task.output.with_suffix(".scores.parquet"))
    assert sum(scored) == len(whole) - 64
    monkeypatch.setattr(finder_type, "logits", None)
    fewer = mine(task("evaluate.batch_size=16", "task.per_class=2"))
    assert len(fewer.rows) < len(mined.rows) <= len(whole)


def test_a_store_is_mined_by_the_stricter_of_its_own_split_and_the_rule_of_the_sky(small_config, tmp_path):
    write_bricks(tmp_path)
    labels = np.array([1, 0, 0] * 20)
    store = make_task(tmp_path / "made", tmp_path, table=target_table(label=labels))
    make_store(store, cache_dir=tmp_path, progress=nothing)
    mine_task = compose_job(
        "evaluate", ["task=mine", f"task.store={store.output}", "checkpoint=."], schema=EvaluateRoot
    )
    assert isinstance(mine_task.task, MineTask)
    found = _searched(small_config(), mine_task.task)
    rule = split_of_position(found.cutouts.ra_deg, found.cutouts.dec_deg, config=small_config().sky.split)
    assert np.array_equal(found.split, np.maximum(found.cutouts.split, rule))
    index = pq.read_table(store.output / "index.parquet").to_pandas().set_index("target_id")
    assert np.array_equal(found.lens, index.loc[found.cutouts.target_id, "label"] == 1)
    everything = dataclasses.replace(found, split=np.zeros(len(found.cutouts), np.int8))
    rows, left_out = candidates(everything, task=mine_task.task, controls="paired")
    assert not found.lens[rows].any()
    assert left_out["at a known lens"] == found.lens.sum()
    with pytest.raises(ValueError, match=r"stamps of 64 px, the checkpoint was trained on 96; make it again"):
        _searched(small_config("sky.stamp_size_px=96"), mine_task.task)


def test_ranks_are_within_a_class_and_ties_go_by_id():
    logit = np.array([1.0, 3.0, 3.0, 2.0, 9.0], np.float32)
    kinds, ids = np.array([0, 0, 0, 0, 2]), np.array([10, 12, 11, 13, 14])
    places, rank = worst(logit, kinds=kinds, ids=ids, per_class=3)
    assert places.tolist() == [2, 1, 3, 4]
    assert rank.tolist() == [1, 2, 3, 1]


def test_a_checkpoint_is_scored_without_the_files_of_its_training_mix(small_config, tmp_path):
    listed = tmp_path / "hard.parquet"
    listed.touch()
    config = small_config(f"inject.negatives.hard.path={listed}", "inject.negatives.hard.class_weights={lrg:1}")
    path = save_untrained(config, tmp_path / "best.ckpt")
    listed.unlink()
    finder = finder_from(read_checkpoint(path), where=path)
    assert finder.config.inject.negatives.hard.path is None
    with pytest.raises(ConfigError, match="no such file or store"):
        checkpoint_config(read_checkpoint(path), path=path)


def test_what_cannot_be_mined_is_one_line(task, tmp_path):
    with pytest.raises(ConfigError, match=r"checkpoint = null: must be given"):
        task("checkpoint=null")
    with pytest.raises(ConfigError, match=r"task.store = .*store.json: no such file"):
        task(f"task.store={tmp_path}")
    with pytest.raises(ConfigError, match=r"task.per_class = 0: must be greater"):
        task("task.per_class=0")
    with pytest.raises(ConfigError, match=r"task.output = .*: must end in .parquet"):
        task("task.output=list.csv")
