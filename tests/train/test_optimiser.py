"""Schedule, parameter groups, layer-wise learning rates, a backbone that sleeps at first, and the moving average."""

import copy
from pathlib import Path

import pytest
import torch

from dhs.config.root import TrainConfig
from dhs.config.run_dir import RunRecord, config_hash
from dhs.config.training import ModelConfig, OptimConfig
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.train.checkpoint import load_finder, read_checkpoint
from dhs.train.ema import WarmingAverage
from dhs.train.fit import fit
from dhs.train.module import LensFinder, total_steps
from dhs.train.network import FinderNetwork
from dhs.train.optimiser import WarmupCosine, build_optimizer, layer_groups, parameter_groups

EMA = "optim.ema_decay=0.7"


def test_the_schedule_warms_up_and_ends_low():
    factor = WarmupCosine(total_steps=1000, warmup_fraction=0.1, final_fraction=0.01)
    assert factor(0) == pytest.approx(0.01)
    assert factor(99) == pytest.approx(1.0)
    assert factor(550) == pytest.approx(0.505, abs=0.01)
    assert factor(1000) == factor(5000) == pytest.approx(0.01)


def test_the_number_of_steps_comes_from_the_configuration(small_config):
    assert total_steps(small_config()) == 2 * (96 // 16)


def test_biases_and_norms_do_not_decay():
    net = FinderNetwork(ModelConfig(backbone="test_resnet"), in_channels=3)
    decay, rest = parameter_groups(net, 0.05)
    assert decay["weight_decay"] == 0.05
    assert rest["weight_decay"] == 0.0
    assert all(p.ndim > 1 for p in decay["params"])
    assert len(decay["params"]) + len(rest["params"]) == len(list(net.parameters()))


def test_layers_learn_slower_the_deeper_they_lie():
    config = OptimConfig(name="adamw", lr=1e-3, layer_decay=0.5, weight_decay=0.05)
    net = FinderNetwork(ModelConfig(backbone="convnext_atto", metadata=("psfsize_r",)), in_channels=5)
    rate = {id(p): group["lr"] for group in layer_groups(net, config) for p in group["params"]}
    assert len(rate) == len(list(net.parameters()))
    assert rate[id(net.head.weight)] == rate[id(net.metadata_mlp[0].weight)] == 1e-3
    names = dict(net.backbone.named_parameters())
    of = {name: rate[id(p)] for name, p in names.items()}
    order = ["stem.0.weight", "stages.0.blocks.0.conv_dw.weight", "stages.1.blocks.0.conv_dw.weight"]
    order += ["stages.2.blocks.0.conv_dw.weight", "stages.3.blocks.1.conv_dw.weight"]
    rates = [of[name] for name in order]
    assert all(below < above for below, above in zip(rates, rates[1:], strict=False))
    steps = {round(float(torch.log2(torch.tensor(r / 1e-3))), 6) for r in of.values()}
    assert all(step == round(step) for step in steps), "each layer is a power of the decay"
    assert of["stem.0.weight"] < 1e-3 * 0.5**4


@pytest.mark.parametrize("backbone", ["test_resnet", "convnext_atto", "test_vit", "test_efficientnet"])
def test_layer_groups_cover_every_weight_once_for_any_network(backbone):
    net = FinderNetwork(
        ModelConfig(
            backbone=backbone, stem="original", backbone_kwargs=({"img_size": 64} if backbone == "test_vit" else {})
        ),
        in_channels=4,
    )
    optimizer = build_optimizer(net, OptimConfig(name="adamw", layer_decay=0.8))
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in net.parameters())
    assert len({group["lr"] for group in optimizer.param_groups}) > 3


def test_the_schedule_scales_every_layer_alike(small_config):
    finder = LensFinder(small_config("optim.layer_decay=0.5", "optim.warmup_fraction=0.3"))
    parts = finder.configure_optimizers()
    schedule, optimizer = parts["lr_scheduler"]["scheduler"], parts["optimizer"]
    ratios = []
    for _ in range(8):
        rates = [group["lr"] for group in optimizer.param_groups]
        ratios.append([r / rates[-1] for r in rates])
        optimizer.step()
        schedule.step()
    assert ratios[0] == pytest.approx(ratios[-1])
    assert rates[-1] != optimizer.param_groups[-1]["lr"]


@pytest.fixture(scope="module")
def injector(small_config) -> Injector:
    return build_injector(small_config())


def run(config: TrainConfig, *, injector: Injector, run_dir: Path) -> dict:
    record = RunRecord(run_dir)
    record.start(config, overrides=[], config_hash=config_hash(config))
    threads = torch.get_num_threads()
    try:
        fit(config, injector=injector, record=record)
    finally:
        torch.set_num_threads(threads)
    return read_checkpoint(run_dir / "checkpoints" / "last.ckpt")


def test_a_sleeping_backbone_wakes_at_its_epoch(small_config, injector, tmp_path, monkeypatch):
    config = small_config("optim.frozen_epochs=1", "trainer.checkpoint_every_steps=1")
    seen = {}
    original = LensFinder.on_train_batch_end

    def watching(self, outputs, batch, batch_idx):
        seen[self.global_step] = copy.deepcopy(self.network.state_dict())
        return original(self, outputs, batch, batch_idx)

    monkeypatch.setattr(LensFinder, "on_train_batch_end", watching)
    first = LensFinder(config).network.state_dict()
    run(config, injector=injector, run_dir=tmp_path)
    backbone = [name for name in first if name.startswith("backbone.")]
    assert any("running_mean" in name for name in backbone)
    asleep, awake = seen[6], seen[7]  # six steps an epoch
    assert all(torch.equal(first[name], asleep[name]) for name in backbone)
    assert not torch.equal(first["head.weight"], asleep["head.weight"])
    changed = [name for name in backbone if not torch.equal(asleep[name], awake[name])]
    assert len(changed) > 0.85 * len(backbone)  # a few kernels behind zero-initialised scales wait a step
    assert any("running_mean" in name for name in changed)


def test_a_run_that_crashed_with_its_backbone_asleep_ends_as_one_that_did_not(
    small_config, injector, tmp_path, monkeypatch
):
    """Lightning starts no epoch when it resumes in the middle of one: the freeze must not hang on that."""
    config = small_config("optim.frozen_epochs=1", EMA, "optim.layer_decay=0.8", "trainer.checkpoint_every_steps=1")
    whole = run(config, injector=injector, run_dir=tmp_path / "whole")
    original = LensFinder.training_step

    def crashing(self, batch, batch_idx):
        if self.global_step == 3:
            raise ZeroDivisionError
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(LensFinder, "training_step", crashing)
        with pytest.raises(ZeroDivisionError):
            run(config, injector=injector, run_dir=tmp_path / "crashed")
    resumed = run(config, injector=injector, run_dir=tmp_path / "crashed")
    for part in ("state_dict", "current_model_state"):
        assert whole[part].keys() == resumed[part].keys()
        assert all(torch.equal(whole[part][name], resumed[part][name]) for name in whole[part]), part


def test_the_moving_average_is_that_of_the_steps_and_is_what_is_validated_and_evaluated(
    small_config, injector, tmp_path, monkeypatch
):
    raw, validated = [], []
    step, validation = LensFinder.on_train_batch_end, LensFinder.validation_step

    def watching(self, outputs, batch, batch_idx):
        raw.append(self.network.head.weight.detach().clone())
        return step(self, outputs, batch, batch_idx)

    def watching_validation(self, batch, batch_idx):
        validated.append({name: p.detach().clone() for name, p in self.network.state_dict().items()})
        return validation(self, batch, batch_idx)

    monkeypatch.setattr(LensFinder, "on_train_batch_end", watching)
    monkeypatch.setattr(LensFinder, "validation_step", watching_validation)
    checkpoint = run(small_config(EMA), injector=injector, run_dir=tmp_path)
    average = raw[0].clone()
    for n, weight in enumerate(raw[1:], start=1):
        decay = min(0.7, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(checkpoint["state_dict"]["network.head.weight"], average, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(checkpoint["current_model_state"]["network.head.weight"], raw[-1])
    assert not torch.equal(average, raw[-1])
    evaluated = load_finder(tmp_path / "checkpoints" / "last.ckpt").network.state_dict()
    for name, value in validated[-1].items():
        assert torch.equal(value, evaluated[name]), name


def test_a_checkpoint_written_while_the_module_holds_the_average_is_the_right_way_round(
    small_config, injector, tmp_path, monkeypatch
):
    """In the middle of a validation (a queue's signal), and after the last step."""
    original = LensFinder.validation_step

    def saving(self, batch, batch_idx):
        self.trainer.save_checkpoint(tmp_path / "validating.ckpt")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(LensFinder, "validation_step", saving)
    monkeypatch.setattr(LensFinder, "on_fit_end", lambda self: self.trainer.save_checkpoint(tmp_path / "ended.ckpt"))
    last = run(small_config(EMA, "trainer.max_epochs=1"), injector=injector, run_dir=tmp_path / "run")
    name = "network.head.weight"
    assert not torch.equal(last["state_dict"][name], last["current_model_state"][name])
    for moment in ("validating", "ended"):
        other = read_checkpoint(tmp_path / f"{moment}.ckpt")
        for part in ("state_dict", "current_model_state"):
            assert all(torch.equal(other[part][n], last[part][n]) for n in last[part]), (moment, part)


def test_the_average_s_decay_warms_up_to_its_value():
    average = WarmingAverage(0.99)
    zero, one = torch.zeros(1), torch.ones(1)
    weights = [average(zero, one, n).item() for n in (1, 10, 100, 5000)]
    assert weights == pytest.approx([1 - 2 / 11, 1 - 11 / 20, 1 - 101 / 110, 0.01], rel=1e-4)
    assert average(torch.tensor(3), torch.tensor(8), 5).item() == 8  # counters are copied
