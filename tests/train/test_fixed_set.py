"""Training on a finished set: a crash changes nothing, and the run says what it was trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dhs.commands.train import train
from dhs.config.cli import Job
from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.inject.build import build_injector, build_supply
from dhs.rng import Purpose
from dhs.train.checkpoint import read_checkpoint
from tests.inject.stampset.sets import stamps_table, write_tables
from tests.train.runs import Death, PlannedCrash, die_at, restored_threads  # noqa: F401


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhs.inject.stampset.compact_job.n_cores", lambda: 1)


@pytest.fixture(scope="module")
def painted(small_config, tmp_path_factory) -> Path:
    """A small mock sky's stamps as a set of Parquet parts."""
    injector = build_injector(small_config())
    tables = []
    for split, purpose in (("train", Purpose.TRAIN), ("val", Purpose.VAL), ("test", Purpose.TEST)):
        n = 120 if split == "train" else injector.n_stamps(purpose)
        stamps = injector.stamps(np.arange(n), purpose=purpose, measure=True)
        tables.append((split, stamps_table(stamps, split=split, cutouts=injector.cutouts)))
    return write_tables(tmp_path_factory.mktemp("painted") / "set", tables)


@pytest.fixture
def config(small_config, painted, tmp_path):
    def make(*overrides: str) -> TrainConfig:
        stamps = ("sky=stamps", f"sky.path={painted}", "max_galaxies=null", "model.dropout=0.3")
        return small_config(*stamps, f"paths.runs_dir={tmp_path}", *overrides)

    return make


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["state_dict"]


def test_assignments_are_those_of_the_stamps(config, small_config):
    """What the check of metadata reads is what training gets, from a set and from injection on the fly."""
    for supply in (build_supply(config()), build_injector(small_config())):
        stamps = supply.stamps(np.arange(30), purpose=Purpose.TRAIN, epoch=2)
        rows, labels = supply.assignments(np.arange(30), purpose=Purpose.TRAIN, epoch=2)
        np.testing.assert_array_equal(rows, stamps.recipes.row)
        np.testing.assert_array_equal(labels, stamps.recipes.injected)
        assert 0 < labels.sum() < 30


def test_a_run_trains_reports_and_resumes_to_the_same_weights(config, painted, tmp_path, monkeypatch):
    """Epochs of 96 of 109 stamps: the second goes on where the first left off, in the middle of a pass."""
    whole = config(f"run_dir={tmp_path}/whole")
    assert train(Job(whole, [])) == 0
    report = (tmp_path / "whole" / "evaluate" / "report.html").read_text()
    assert "Mock sky: the galaxies are simulated" in report
    assert str(painted) in report
    metrics = json.loads((tmp_path / "whole" / "evaluate" / "metrics.json").read_text())
    assert metrics["heldout"]["all"]["n_positives"] > 20
    card = json.loads((tmp_path / "whole" / "stamp_set.json").read_text())
    assert card["metadata"]["configuration"] == {"sky": {"name": "mock"}, "seed": 1}
    assert yaml.safe_load((tmp_path / "whole" / "config.yaml").read_text())["sky"]["name"] == "stamps"

    crashed = ("evaluate.enabled=false", f"run_dir={tmp_path}/crashed", "trainer.checkpoint_every_steps=1")
    with monkeypatch.context() as patch:
        die_at(patch, Death("crash", "training_step", 8))
        with pytest.raises(PlannedCrash):
            train(Job(config(*crashed), []))
    assert train(Job(config(*crashed, "trainer.num_workers=2"), [])) == 0
    ours, theirs = weights(tmp_path / "crashed"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_set_that_changed_is_not_trained_on_in_the_same_run(config, painted, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        die_at(patch, Death("crash", "training_step", 2))
        with pytest.raises(PlannedCrash):
            train(Job(config(f"run_dir={run_dir}", "evaluate.enabled=false"), []))
    card = json.loads((run_dir / "stamp_set.json").read_text())
    (run_dir / "stamp_set.json").write_text(json.dumps(card | {"checksum": "0" * 64}))
    with pytest.raises(ConfigError, match=r"not the stamp set that .* was begun with"):
        train(Job(config(f"run_dir={run_dir}", "evaluate.enabled=false"), []))


def test_the_source_of_an_unused_group_need_not_be_there(config):
    """An experiment's bank is of no use to finished stamps."""
    assert config("source=cosmos", "source.bank=nowhere.h5").sky.name == "stamps"


def test_a_path_without_a_set_is_one_line(small_config, tmp_path):
    with pytest.raises(ConfigError, match=r"sky\.path = .*_SUCCESS\.json: no such file; give a finished stamp set"):
        small_config("sky=stamps", f"sky.path={tmp_path}")
