"""Ensembles and test-time averaging: what they average, what is saved, what is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.special import expit, logit
from statsmodels.discrete.discrete_model import Logit
from statsmodels.tools import add_constant

from dhs.config.load import ConfigError
from dhs.evaluate.ensemble import _require_same_sky, make_ensemble, platt
from dhs.inject.build import build_injector
from dhs.rng import Purpose, keyed_rng
from dhs.train.checkpoint import FORMAT, HEADER, AtomicCheckpointIO
from dhs.train.finder import (
    Ensemble,
    Member,
    SingleFinder,
    mean_probability_logit,
    open_finder,
    orientations,
    save_ensemble,
)
from dhs.train.module import LensFinder


@pytest.fixture(scope="module")
def members(small_config) -> list[Member]:
    """Two networks that see different channels."""
    out = []
    for i, channels in enumerate(("[g,r,z]", "[g,residual_g]")):
        finder = LensFinder(small_config(f"preprocess.channels={channels}", f"seed={i + 1}"))
        torch.nn.init.normal_(finder.network.head.weight, generator=torch.Generator().manual_seed(i))
        out.append(Member(f"net{i}", SingleFinder(finder, tta=False), scale=1.5 + i, offset=-0.5 * i))
    return out


@pytest.fixture(scope="module")
def stamps_and_cutouts(small_config):
    injector = build_injector(small_config())
    return injector.stamps(np.arange(6), purpose=Purpose.TRAIN), injector.cutouts


def test_the_mean_is_of_probabilities_and_exact_where_they_round():
    logits = np.array([[-3.0, 0.2, 40.0, -800.0], [1.0, 2.0, 41.0, -801.0]])
    ours = mean_probability_logit(logits)
    assert ours[:2] == pytest.approx(logit(expit(logits).mean(axis=0))[:2], rel=1e-12)
    assert ours[2] == pytest.approx(40 - np.log((1 + np.exp(-1)) / 2), rel=1e-12)  # 1 - p is 1e-18
    assert ours[3] == pytest.approx(-800 + np.log((1 + np.exp(-1)) / 2), rel=1e-12)


def test_an_ensemble_is_the_mean_of_its_members_each_on_its_own_channels(members, stamps_and_cutouts):
    stamps, cutouts = stamps_and_cutouts
    ensemble = Ensemble(members)
    together = ensemble.logits(ensemble.maker(cutouts)(stamps))
    alone = [m.scale * m.finder.logits(m.finder.maker(cutouts)(stamps)) + m.offset for m in members]
    assert expit(together) == pytest.approx(expit(np.array(alone)).mean(axis=0), rel=1e-6)


def test_an_ensemble_is_saved_and_loaded_as_one_finder(members, stamps_and_cutouts, tmp_path):
    stamps, cutouts = stamps_and_cutouts
    save_ensemble(tmp_path / "both.ckpt", members)
    loaded = open_finder(tmp_path / "both.ckpt")
    assert isinstance(loaded, Ensemble)
    assert [m.name for m in loaded.members] == ["net0", "net1"]
    before = Ensemble(members)
    np.testing.assert_array_equal(
        loaded.logits(loaded.maker(cutouts)(stamps)), before.logits(before.maker(cutouts)(stamps))
    )


def test_test_time_averaging_does_not_care_how_a_stamp_is_turned(members, stamps_and_cutouts):
    stamps, cutouts = stamps_and_cutouts
    plain, averaged = members[0].finder, SingleFinder(members[0].finder.module, tta=True)
    batch = averaged.maker(cutouts)(stamps)
    turned = batch | {"image": torch.rot90(batch["image"].flip(-1), 3, dims=(-2, -1))}
    assert averaged.logits(turned) == pytest.approx(averaged.logits(batch), abs=1e-5)
    assert np.abs(plain.logits(turned) - plain.logits(batch)).max() > 1e-3
    views = [plain.logits(batch | {"image": view}) for view in orientations(batch["image"])]
    assert averaged.logits(batch) == pytest.approx(np.mean(views, axis=0), rel=1e-9)


def test_the_eight_orientations_are_the_dihedral_group():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    views = orientations(image)
    assert torch.equal(views[0], image)
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8


def test_platts_calibration_is_a_logistic_regression():
    rng = keyed_rng(1, Purpose.BENCHMARK, 0, 0)
    label = (rng.random(4000) < 0.4).astype(int)
    scores = 0.4 * rng.normal(label * 3 - 1, 1.5)
    scale, offset = platt(scores, label, name="net")
    reference = Logit(label, add_constant(scores)).fit(disp=False).params
    assert (offset, scale) == pytest.approx(reference, rel=1e-5)
    calibrated = expit(scale * scores + offset)
    assert calibrated.mean() == pytest.approx(label.mean(), abs=1e-4)


def test_a_member_no_better_than_chance_is_refused():
    label = np.array([0, 1] * 50)
    with pytest.raises(ValueError, match="net ranks the validation sky no better than chance"):
        platt(-label.astype(float) + 0.1 * np.arange(100) / 100, label, name="net")


def test_members_of_different_skies_are_refused(small_config):
    first, second = small_config(), small_config("sky.split.salt=other")
    with pytest.raises(ValueError, match="a and b differ in sky: their splits"):
        _require_same_sky(first, second, names=("a", "b"))
    _require_same_sky(first, small_config("sky.num_processes=1", "source=sersic", "seed=9"), names=("a", "b"))


@pytest.fixture
def checkpoints(members, tmp_path) -> list[Path]:
    """The members as train.py saves them."""
    paths = [tmp_path / f"{member.name}.ckpt" for member in members]
    for member, path in zip(members, paths, strict=True):
        module = member.finder.module
        header = {HEADER: {"format": FORMAT}}
        content = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)} | header
        AtomicCheckpointIO().save_checkpoint(content, path)
    return paths


def test_members_are_calibrated_on_the_validation_sky(checkpoints, small_config, monkeypatch):
    """Untrained networks rank by chance, so the scores are given: one finder twice as sure as the other."""
    asked = []

    def scores(finder, *, purpose, **_):
        asked.append((finder.config.preprocess.channels, purpose))
        rng = keyed_rng(2, Purpose.BENCHMARK, 0, 0)
        label = np.arange(500) % 2
        return pa.table({"logit": len(asked) * rng.normal(2.0 * label - 1, 1.0), "label": label})

    monkeypatch.setattr("dhs.evaluate.ensemble.score_split", scores)
    first, second = make_ensemble(checkpoints, settings=small_config().evaluate, num_workers=0).members
    assert asked == [(("g", "r", "z"), Purpose.VAL), (("g", "residual_g"), Purpose.VAL)]
    assert first.scale == pytest.approx(2 * second.scale, rel=1e-4)
    assert first.offset == pytest.approx(second.offset, abs=1e-4)


def test_an_ensemble_is_no_member(checkpoints, members, small_config, tmp_path):
    save_ensemble(tmp_path / "both.ckpt", members)
    with pytest.raises(ValueError, match="both is an ensemble itself"):
        make_ensemble([checkpoints[0], tmp_path / "both.ckpt"], settings=small_config().evaluate, num_workers=0)


def test_an_ensemble_of_another_version_is_one_line(members, tmp_path):
    torch.save({"dhs_ensemble": 99, "members": []}, tmp_path / "new.ckpt")
    with pytest.raises(ConfigError, match="an ensemble of version 99; allowed: 1"):
        open_finder(tmp_path / "new.ckpt")
