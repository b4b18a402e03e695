"""A loss that is not finite: the stamp is found and named, the batch is kept, and no rerun slips past it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dhs.commands.train import train
from dhs.config.cli import Job
from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.rng import Purpose
from dhs.train.checkpoint import read_checkpoint
from dhs.train.module import LensFinder
from dhs.train.nonfinite import Diverged
from tests.train.runs import TINY, restored_threads, run  # noqa: F401

BATCH, BAD_STEP = 8, 5
OVERFLOWS = 1e35
"""nMgy in one pixel: 1e37 sigma, whose stretch is infinite. (A NaN pixel is masked: dhs.train.masked.)"""


@pytest.fixture(scope="module")
def injector(small_config) -> Injector:
    return build_injector(small_config(*TINY))


def victim(injector: Injector) -> tuple[int, int]:
    """Row and sample of a galaxy that training meets in batch BAD_STEP, second epoch, and not before."""
    seen: set[int] = set()
    for step in range(BAD_STEP + 1):
        epoch, batch = divmod(step, 4)
        indices = np.arange(batch * BATCH, (batch + 1) * BATCH)
        rows = injector.stamps(indices, purpose=Purpose.TRAIN, epoch=epoch).recipes.row
        if step == BAD_STEP:
            once = [i for i, row in enumerate(rows) if row not in seen and (rows == row).sum() == 1]
            return int(rows[once[0]]), int(indices[once[0]])
        seen |= set(rows.tolist())
    raise AssertionError


@pytest.fixture
def planted(injector, monkeypatch) -> tuple[int, int]:
    """One pixel of the sky is wrong, in the galaxy's centre; its target_id and the sample that meets it."""
    row, sample = victim(injector)
    images = np.array(injector.cutouts.images)
    images[row, 1, 30, 33] = OVERFLOWS
    sky = dataclasses.replace(injector.cutouts, images=images)
    monkeypatch.setattr("dhs.inject.build.load_sky", lambda *_, **__: sky)
    return int(sky.target_id[row]), sample


@pytest.fixture
def config(small_config, tmp_path):
    def make(*overrides: str) -> TrainConfig:
        return small_config(*TINY, "evaluate.enabled=false", f"run_dir={tmp_path}/run", *overrides)

    return make


def test_the_stamp_is_named_and_the_batch_saved(planted, config, injector, tmp_path):
    """A batch norm spreads the NaN over all eight stamps; one of them is to blame."""
    target_id, sample = planted
    with pytest.raises(ConfigError) as caught:
        train(Job(config(), []))
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert f"train/loss = nan at step {BAD_STEP} (epoch 2)" in line
    assert f": sample {sample} (target_id {target_id}, " in line
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert status["state"] == "diverged"
    assert status["nonfinite"]["target_ids"] == [target_id]
    assert status["nonfinite"]["indices"] == [sample]
    with np.load(status["nonfinite"]["batch"]) as batch:  # allow_pickle=False
        assert batch["guilty"].tolist() == [index == sample for index in batch["index"]]
        assert np.isfinite(batch["loss"][~batch["guilty"]]).all()
        assert not np.isfinite(batch["image"][batch["guilty"]]).all()
        stamps = injector.stamps(batch["index"], purpose=Purpose.TRAIN, epoch=1)
        assert np.array_equal(batch["recipe_theta_e_arcsec"], stamps.recipes.theta_e_arcsec, equal_nan=True)
        assert batch["label"].tolist() == stamps.recipes.injected.tolist()


def test_no_rerun_slips_past_it_and_a_mended_sky_goes_on_when_asked(planted, config, tmp_path, monkeypatch, injector):
    with pytest.raises(ConfigError):
        train(Job(config(), []))
    saved = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert all(bool(torch.isfinite(w).all()) for w in saved["state_dict"].values())
    with pytest.raises(ConfigError, match=r"stopped before: train/loss = nan at step 5 .*; it would again") as caught:
        train(Job(config(), []))
    assert len(str(caught.value).splitlines()) == 1
    assert json.loads((tmp_path / "run/status.json").read_text())["attempt"] == 1
    monkeypatch.setattr("dhs.inject.build.load_sky", lambda *_, **__: injector.cutouts)
    assert train(Job(config(f"resume={tmp_path}/run"), [])) == 0
    undisturbed = tmp_path / "undisturbed"
    run(config(), injector=injector, run_dir=undisturbed)
    ours, theirs = (
        read_checkpoint(path / "checkpoints/last.ckpt")["state_dict"] for path in (tmp_path / "run", undisturbed)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_stamp_of_the_validation_set_is_named_as_well(small_config, injector, tmp_path, monkeypatch):
    """torchmetrics would drop its NaN, and score every later stamp against its neighbour's label."""
    row = int(injector.stamps(np.array([3]), purpose=Purpose.VAL).recipes.row[0])
    images = np.array(injector.cutouts.images)
    images[row, 1, 30, 33] = OVERFLOWS
    sky = dataclasses.replace(injector.cutouts, images=images)
    monkeypatch.setattr("dhs.inject.build.load_sky", lambda *_, **__: sky)
    with pytest.raises(Diverged, match=r"validation after step 4: .* sample 3 \(target_id") as caught:
        run(small_config(*TINY), injector=build_injector(small_config(*TINY)), run_dir=tmp_path)
    assert set(caught.value.where["target_ids"]) == {int(sky.target_id[row])}


def test_weights_that_went_bad_are_not_blamed_on_a_stamp(small_config, injector, tmp_path, monkeypatch):
    original = LensFinder.training_step

    def spoiling(self, batch, batch_idx):
        if self.global_step == 3:
            with torch.no_grad():
                self.network.head.bias.fill_(torch.nan)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(LensFinder, "training_step", spoiling)
    with pytest.raises(Diverged, match=r"at step 3 .*the weights are not finite.*no stamp is to blame") as caught:
        run(small_config(*TINY), injector=injector, run_dir=tmp_path)
    assert caught.value.where["indices"] == []


def test_a_checkpoint_never_holds_weights_that_are_not_finite(small_config, injector, tmp_path, monkeypatch):
    """A finite loss with a gradient that is not: seen when the state is saved, and the one before stays."""
    original = LensFinder.training_step

    def spoiling(self, batch, batch_idx):
        loss = original(self, batch, batch_idx)
        bias = self.network.head.bias.sum()
        return loss + ((bias - bias) ** 2).sqrt() if self.global_step == 5 else loss  # d sqrt(0) is 0/0

    monkeypatch.setattr(LensFinder, "training_step", spoiling)
    with pytest.raises(Diverged, match="weights are not finite after step 6: the gradient was not"):
        run(small_config(*TINY), injector=injector, run_dir=tmp_path)
    saved = read_checkpoint(Path(tmp_path) / "checkpoints/last.ckpt")
    assert saved["global_step"] == 4
