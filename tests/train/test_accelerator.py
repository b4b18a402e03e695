"""`renderer.device=accelerator`: the batches of the workers, painted ahead where training is; exact restarts."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import dhs.train.batch as batch_module
from dhs.config.root import TrainConfig
from dhs.evaluate.score import score_split
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.inject.sheet import first_batch_sheet
from dhs.preemption import Preempted
from dhs.rng import Purpose
from dhs.train.ahead import PaintedAhead
from dhs.train.batch import Batch
from dhs.train.data import InjectionData
from dhs.train.finder import open_finder
from dhs.train.module import LensFinder
from tests.train.runs import (
    TINY,
    Death,
    PlannedCrash,
    final_state,
    first_difference,
    restored_threads,  # noqa: F401
    run,
)

FEW = ("source.n_sources=64",)
ON_DEVICE = (*FEW, "renderer=accelerator", "renderer.chunk_size=8")
CHEAP = (*ON_DEVICE, "renderer.supersampling=1", "inject.acceptance.max_tries=3")
IN_WORKERS = (*FEW, "renderer=fast")
RECIPES = [
    (),
    ("augment=strong", "model.metadata=[psfsize_r,psfdepth_r]"),
    ("preprocess=difference_fit", "augment=strong", "renderer.resident_sky=false"),
    ("preprocess=residual_median", "preprocess.clip=soft", "inject.arc_noise=poisson_correlated"),
]


@pytest.fixture(autouse=True)
def one_thread(restored_threads):  # noqa: F811
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def injector(small_config) -> Injector:
    return build_injector(small_config(*TINY, *ON_DEVICE))


@pytest.fixture(scope="module")
def cheap(small_config) -> Injector:
    return build_injector(small_config(*TINY, *CHEAP))


def batches(config: TrainConfig, injector: Injector, *, purpose=Purpose.TRAIN, **settings) -> list[Batch]:
    return list(InjectionData(injector, config=config).loader(purpose, **settings))


def assert_same(ours: list[Batch], theirs: list[Batch], *, tolerance=1e-5) -> None:
    assert len(ours) == len(theirs) > 1
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert all(one[name].dtype == other[name].dtype for name in one)
        for name in ("metadata", "label", "origin", "kind", "index"):
            assert torch.equal(one[name], other[name]), name
        worst = (one["image"] - other["image"]).abs().max() / other["image"].abs().max()
        assert worst < tolerance


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: " ".join(recipe) or "default")
def test_the_batches_are_those_of_the_workers(small_config, recipe):
    configs = [small_config(*TINY, *device, *recipe) for device in (ON_DEVICE, IN_WORKERS)]
    injectors = [build_injector(config) for config in configs]
    # Poisson noise goes with the root of the flux: 1e-7 of the peak becomes more where an arc is faint.
    tolerance = 1e-4 if configs[0].inject.arc_noise != "none" else 1e-5
    for purpose, epoch, first in ((Purpose.TRAIN, 1, 2), (Purpose.VAL, 0, 0)):
        ours, theirs = (
            batches(config, own, purpose=purpose, epoch=epoch, first_batch=first)
            for config, own in zip(configs, injectors, strict=True)
        )
        assert_same(ours, theirs, tolerance=tolerance)


def test_the_comparison_sees_a_forgotten_augmentation(small_config, injector, monkeypatch):
    theirs = batches(small_config(*TINY, *IN_WORKERS), injector)
    monkeypatch.setattr(batch_module, "move", lambda images, draws: images)
    with pytest.raises(AssertionError):
        assert_same(batches(small_config(*TINY, *ON_DEVICE), injector), theirs)


def test_any_number_of_workers_gives_the_same_bits(small_config, injector):
    one, other = (
        batches(small_config(*TINY, *ON_DEVICE, f"trainer.num_workers={n}"), injector, first_batch=n) for n in (0, 2)
    )
    assert len(one) == len(other) + 2
    for left, right in zip(one[2:], other, strict=True):
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_the_batches_of_two_ranks_are_those_of_one(small_config, injector):
    config = small_config(*TINY, *ON_DEVICE)
    ranks = []
    for rank in range(2):
        data = InjectionData(injector, config=config)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, strategy=strategy)
        ranks.append(list(data.loader(Purpose.TRAIN)))
    for whole, first, second in zip(batches(config, injector), *ranks, strict=True):
        assert all(torch.equal(whole[name], torch.cat([first[name], second[name]])) for name in whole)


@pytest.mark.parametrize(
    ("death", "workers"),
    [
        (Death("crash", "training_step", 3), (0, 1)),
        (Death("SIGTERM", "training_step", 6), (1, 0)),
        (Death("SIGTERM", "validation_step", 8), (0, 0)),
    ],
    ids=str,
)
def test_a_run_that_died_ends_as_one_that_did_not(small_config, cheap, tmp_path, reference, death, workers):
    before, after = (small_config(*TINY, *CHEAP, f"trainer.num_workers={n}") for n in workers)
    with pytest.raises((PlannedCrash, Preempted)):
        run(before, injector=cheap, run_dir=tmp_path, death=death)
    steps = run(after, injector=cheap, run_dir=tmp_path)
    assert steps == reference[1][len(reference[1]) - len(steps) :]
    for name in ("last", "best"):
        assert first_difference(final_state(tmp_path, name), final_state(reference[0], name)) is None


@pytest.fixture(scope="module")
def reference(small_config, cheap, tmp_path_factory) -> tuple[Path, list[tuple[int, list[int]]]]:
    """A run that nothing has disturbed, and the samples of its steps."""
    run_dir = tmp_path_factory.mktemp("reference")
    return run_dir, run(small_config(*TINY, *CHEAP), injector=cheap, run_dir=run_dir)


def test_the_checkpoint_is_evaluated_and_the_sheet_drawn_on_the_cpu(small_config, cheap, tmp_path, reference):
    """By the renderer of the workers, in the workers: what it scores is what validation scored."""
    finder = open_finder(reference[0] / "checkpoints" / "best.ckpt")
    assert finder.config.renderer.device == "accelerator"
    table = score_split(finder, injector=cheap, purpose=Purpose.VAL, batch_size=8, num_workers=1)
    ready = batches(finder.config, cheap, purpose=Purpose.VAL)
    expected = np.concatenate([finder.logits(batch) for batch in ready])
    np.testing.assert_allclose(table["logit"].to_numpy(), expected, atol=1e-4)
    assert first_batch_sheet(cheap, path=tmp_path / "first.png", batch_size=8).is_file()


def test_bf16_trains_on_float32_batches_with_float32_scores(small_config, cheap, tmp_path, monkeypatch):
    """Autocast is of the thread that trains: what paints keeps its digits."""
    seen: list[tuple[torch.dtype, torch.dtype, torch.dtype]] = []
    original = LensFinder.forward

    def watching(self, image, metadata):
        logits = original(self, image, metadata)
        inner = self.network.backbone(image.contiguous(memory_format=torch.channels_last))
        seen.append((image.dtype, inner.dtype, logits.dtype))
        return logits

    monkeypatch.setattr(LensFinder, "forward", watching)
    config = small_config(*TINY, *CHEAP, "trainer.precision=bf16-mixed", "trainer.max_epochs=1")
    assert config.trainer.channels_last
    run(config, injector=cheap, run_dir=tmp_path)
    assert set(seen) == {(torch.float32, torch.bfloat16, torch.float32)}
    assert first_difference(final_state(tmp_path)["state_dict"], {}) is not None


def test_painting_runs_ahead_of_the_loop_and_ends_with_it(small_config, injector):
    config = small_config(*TINY, *ON_DEVICE)
    loader = InjectionData(injector, config=config).loader(Purpose.TRAIN)
    assert isinstance(loader, PaintedAhead)
    assert len(loader) == 4
    painted, third = [], threading.Event()

    def paint(planned):
        painted.append(threading.current_thread())
        if len(painted) == 3:
            third.set()
        return {"index": planned.beside["index"]}

    loader._paint = paint
    iterator = iter(loader)
    next(iterator)
    assert third.wait(timeout=10), "two batches are painted while the first one trains"
    assert {thread.name.split("_")[0] for thread in painted} == {"dhs-paint"}
    iterator.close()
    assert not painted[0].is_alive()


def test_a_fault_in_painting_is_the_fault_of_the_loop(small_config, injector):
    loader = InjectionData(injector, config=small_config(*TINY, *ON_DEVICE)).loader(Purpose.TRAIN)

    def paint(planned):
        raise ValueError("psf_fwhm_arcsec: must be above 0")

    loader._paint = paint
    with pytest.raises(ValueError, match="must be above 0"):
        next(iter(loader))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: batches are painted on the CPU alone here")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: " ".join(recipe) or "default")
def test_a_gpu_paints_the_batches_of_the_workers(small_config, recipe):
    config = small_config(*TINY, *ON_DEVICE, *recipe, "trainer=gpu", "trainer.num_workers=1", "trainer.batch_size=8")
    workers = small_config(*TINY, *IN_WORKERS, *recipe)
    ours = batches(config, build_injector(config))
    assert all(batch["image"].is_cuda for batch in ours)
    ours = [{name: value.cpu() for name, value in batch.items()} for batch in ours]
    tolerance = 1e-4 if config.inject.arc_noise != "none" else 1e-5
    assert_same(ours, batches(workers, build_injector(workers)), tolerance=tolerance)
