"""What is not the checkpoint that it should be is refused in one line, before anything of it is used."""

import copy
import os
import re
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from dhs.inject.build import build_injector
from dhs.train.checkpoint import FORMAT, HEADER, AtomicCheckpointIO, load_finder, read_checkpoint
from dhs.train.keep import duplicate, keep_previous
from dhs.train.resume import continue_from, continue_run
from tests.train.runs import TINY, PlannedCrash, restored_threads, run  # noqa: F401


@pytest.fixture(scope="module")
def best(small_config, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("run")
    run(small_config(*TINY), injector=build_injector(small_config(*TINY)), run_dir=run_dir)
    return run_dir / "checkpoints" / "best.ckpt"


@pytest.fixture
def changed(best, tmp_path):
    """The checkpoint with something changed in it, written whole."""

    def make(change) -> Path:
        checkpoint = copy.deepcopy(read_checkpoint(best))
        change(checkpoint)
        path = tmp_path / "changed.ckpt"
        torch.save(checkpoint, path)
        return path

    return make


def one_line(error: pytest.ExceptionInfo[ValueError], pattern: str) -> None:
    text = str(error.value)
    assert len(text.splitlines()) == 1
    assert re.search(pattern, text), text


def test_a_checkpoint_loads_with_its_own_configuration(best, small_config):
    finder = load_finder(best)
    assert finder.config == small_config(*TINY)
    assert not finder.training
    assert read_checkpoint(best)[HEADER]["format"] == FORMAT


def test_pickled_code_is_refused_and_does_not_run(changed, small_config, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = changed(lambda checkpoint: checkpoint.update(x=Evil()))
    with pytest.raises(ValueError, match="checkpoint") as caught:
        load_finder(path)
    one_line(caught, r"changed\.ckpt: cannot be read safely")
    with pytest.raises(ValueError, match="cannot be read safely"):
        continue_from(path, run_dir=tmp_path / "run", config=small_config(*TINY))
    assert not (tmp_path / "ran").exists()


def test_tampering_is_no_damage_the_one_before_is_not_taken_instead(changed, best, small_config, tmp_path):
    path = changed(lambda checkpoint: checkpoint.update(x=os.getcwd))
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(best, folder / "last-1.ckpt")
    shutil.copy(path, folder / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt: cannot be read safely"):
        continue_run(tmp_path / "run", config=small_config(*TINY))


@pytest.mark.parametrize("part", [0, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(best, tmp_path, part):
    path = tmp_path / "half.ckpt"
    path.write_bytes(best.read_bytes()[: int(part * best.stat().st_size)])
    with pytest.raises(ValueError, match="half") as caught:
        load_finder(path)
    one_line(caught, r"half\.ckpt: cannot be read safely \(truncated or damaged")


def test_one_changed_bit_of_a_weight_is_seen(best, tmp_path):
    """torch.load reads such a file without complaint."""
    content = bytearray(best.read_bytes())
    with zipfile.ZipFile(best) as file:
        weights = [record for record in file.infolist() if "/data/" in record.filename]  # data.pkl may be larger
        largest = max(weights, key=lambda record: record.file_size)
    name_length, extra_length = struct.unpack_from("<HH", content, largest.header_offset + 26)
    content[largest.header_offset + 30 + name_length + extra_length + largest.file_size // 2] ^= 4
    path = tmp_path / "bit.ckpt"
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(ValueError, match="bit") as caught:
        load_finder(path)
    one_line(caught, r"bit\.ckpt: cannot be read safely \(damaged: .* fails its checksum\)")


def test_another_format_is_refused(changed):
    for change, found in (
        (lambda checkpoint: checkpoint[HEADER].update(format=FORMAT + 1), str(FORMAT + 1)),
        (lambda checkpoint: checkpoint.pop(HEADER), "None"),
    ):
        with pytest.raises(ValueError, match="format") as caught:
            load_finder(changed(change))
        one_line(caught, rf"format {found}, this code reads {FORMAT}")


def test_a_configuration_that_is_not_valid_here_is_refused(changed):
    path = changed(lambda checkpoint: checkpoint["hyper_parameters"]["config"]["model"].update(backbones="x"))
    with pytest.raises(ValueError, match="valid") as caught:
        load_finder(path)
    one_line(caught, r"its configuration is not valid here: model\.backbones = 'x': unknown key")


def test_weights_of_another_network_are_refused(changed):
    path = changed(lambda checkpoint: checkpoint["hyper_parameters"]["config"]["model"].update(backbone="test_vit"))
    with pytest.raises(ValueError, match=r"changed\.ckpt: its network cannot be built here: .*'channels'"):
        load_finder(path)
    path = changed(lambda c: c["state_dict"].update({"network.head.weight": torch.zeros(1, 3)}))
    with pytest.raises(ValueError, match="fit") as caught:
        load_finder(path)
    one_line(caught, r"weights do not fit the network: size mismatch for network\.head\.weight")


def test_a_run_does_not_go_on_from_another_configuration(best, small_config, tmp_path):
    """The keys are named; what changes no result may differ."""
    other = small_config(*TINY, "model.backbone=test_convnext", "model.backbone_kwargs={}", "optim.lr=0.004")
    with pytest.raises(ValueError, match="another") as caught:
        continue_from(best, run_dir=tmp_path, config=other)
    one_line(
        caught, r"model\.backbone = 'test_resnet' there, 'test_convnext' here.*optim\.lr = 0\.002 there, 0\.004 here"
    )
    same = small_config(*TINY, "trainer.num_workers=3", "trainer.checkpoint_every_steps=7", "logger=wandb")
    assert continue_from(best, run_dir=tmp_path, config=same) == best


def test_the_best_of_the_run_must_come_along(best, small_config, tmp_path):
    """A later checkpoint alone: what it has to beat is known, but where that is is not."""
    last = best.with_name("last.ckpt")
    assert read_checkpoint(last)[HEADER]["score"] < read_checkpoint(last)[HEADER]["best_score"]
    alone = tmp_path / "alone.ckpt"
    shutil.copy(last, alone)
    longer = small_config(*TINY, "trainer.max_epochs=9")
    with pytest.raises(ValueError, match=r"the best checkpoint of that run \(val/pauroc .*\) is not beside it"):
        continue_from(alone, run_dir=tmp_path / "run", config=longer)
    shutil.copy(best, tmp_path / "best.ckpt")
    continue_from(alone, run_dir=tmp_path / "run", config=longer)
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").read_bytes() == best.read_bytes()


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, target)
    before = target.read_bytes()

    def half_write(_checkpoint, file):
        file.write(b"half")
        raise PlannedCrash

    monkeypatch.setattr(torch, "save", half_write)
    with pytest.raises(PlannedCrash):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, target)
    assert target.read_bytes() == before


def test_rotation_never_leaves_a_moment_without_a_last(tmp_path):
    last = tmp_path / "last.ckpt"
    for step in range(5):
        keep_previous(last, keep=3)
        assert step == 0 or last.is_file()
        last.with_name("new").write_text(str(step))
        last.with_name("new").replace(last)
    assert [(tmp_path / f"last{suffix}.ckpt").read_text() for suffix in ("", "-1", "-2")] == ["4", "3", "2"]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_disk_without_links_gets_a_copy(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("content")

    def refuse(source, target):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    duplicate(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "content"
    assert len(list(tmp_path.iterdir())) == 2
