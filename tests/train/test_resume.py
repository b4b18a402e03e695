"""Restarts are exact: a run that died anywhere ends with the weights of one that did not, bit for bit on a CPU."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dhs.config.root import TrainConfig
from dhs.config.run_dir import RunRecord, config_hash
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.train.checkpoint import load_finder, read_checkpoint
from dhs.train.fit import fit
from dhs.train.module import LensFinder

STEPS_PER_EPOCH = 6
DROPOUT = "model.dropout=0.3"


class PlannedCrash(RuntimeError):
    pass


@pytest.fixture(scope="module")
def injector(small_config) -> Injector:
    return build_injector(small_config())


@pytest.fixture(autouse=True)
def two_threads_at_most() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(config: TrainConfig, *, injector: Injector, run_dir: Path) -> dict[str, torch.Tensor]:
    record = RunRecord(run_dir)
    record.start(config, overrides=[], config_hash=config_hash(config))
    fit(config, injector=injector, record=record)
    return read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["state_dict"]


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = LensFinder.training_step

    def crashing(self, batch, batch_idx):
        if self.global_step == step:
            raise PlannedCrash
        return original(self, batch, batch_idx)

    monkeypatch.setattr(LensFinder, "training_step", crashing)


@pytest.fixture(scope="module")
def uninterrupted(small_config, injector, tmp_path_factory) -> dict[str, torch.Tensor]:
    config = small_config(DROPOUT, "trainer.checkpoint_every_steps=1")
    return run(config, injector=injector, run_dir=tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize(
    ("crash_step", "every", "workers"),
    [(1, 1, 0), (4, 1, 2), (5, 3, 0), (6, 1, 1), (7, 2, 0), (11, 3, 2)],
    ids=["first steps", "mid-epoch", "between checkpoints", "epoch boundary", "second epoch", "last step"],
)
def test_a_crashed_run_ends_with_the_same_weights(
    small_config, injector, tmp_path, monkeypatch, uninterrupted, crash_step, every, workers
):
    """Crash at a step, resume with another number of workers; dropout draws from torch's generator on the way."""
    config = small_config(DROPOUT, f"trainer.checkpoint_every_steps={every}")
    with monkeypatch.context() as patch:
        crash_at(patch, crash_step)
        with pytest.raises(PlannedCrash):
            run(config, injector=injector, run_dir=tmp_path)
    resumed = small_config(DROPOUT, f"trainer.checkpoint_every_steps={every}", f"trainer.num_workers={workers}")
    final = run(resumed, injector=injector, run_dir=tmp_path)
    assert final.keys() == uninterrupted.keys()
    assert all(torch.equal(final[name], uninterrupted[name]) for name in final)


def test_a_run_without_resume_differs_when_a_step_is_lost(small_config, injector, tmp_path, uninterrupted):
    """The comparison above can fail: another seed gives other weights."""
    other = run(small_config(DROPOUT, "seed=2"), injector=injector, run_dir=tmp_path)
    assert not all(torch.equal(other[name], uninterrupted[name]) for name in other)


def test_a_checkpoint_loads_with_its_own_configuration(small_config, injector, tmp_path):
    run(small_config(), injector=injector, run_dir=tmp_path)
    finder = load_finder(tmp_path / "checkpoints" / "best.ckpt")
    assert finder.config == small_config()
    assert not finder.training


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": {}, "hyper_parameters": {"config": {}}, "x": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match=r"evil\.ckpt: cannot be read safely") as caught:
        load_finder(tmp_path / "evil.ckpt")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_shape_is_one_line(small_config, injector, tmp_path):
    run(small_config(), injector=injector, run_dir=tmp_path)
    path = tmp_path / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path)
    checkpoint["hyper_parameters"]["config"]["model"]["metadata_hidden"] = 99
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"weights do not fit the network"):
        load_finder(path)
    (tmp_path / "half.ckpt").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"half\.ckpt: cannot be read safely"):
        load_finder(tmp_path / "half.ckpt")


def test_an_interrupted_write_leaves_the_old_checkpoint(small_config, injector, tmp_path, monkeypatch):
    from dhs.train.checkpoint import AtomicCheckpointIO

    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, target)
    shutil.copy(target, tmp_path / "before")

    def half_write(_checkpoint, file):
        file.write(b"half")
        raise PlannedCrash

    monkeypatch.setattr(torch, "save", half_write)
    with pytest.raises(PlannedCrash):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, target)
    assert target.read_bytes() == (tmp_path / "before").read_bytes()
