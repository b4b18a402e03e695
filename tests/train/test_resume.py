"""Restarts are exact: a run that died anywhere ends as one that did not, bit for bit on a CPU.

The matrix: where it dies (first step, in an epoch, at its end, in its validation, between two files), how (SIGKILL,
SIGTERM, SIGUSR1), and with how many workers before and after. Ranks: tests/train/test_ranks.py.
"""

import os
from pathlib import Path

import pytest
import torch

from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.preemption import Preempted
from dhs.train.checkpoint import HEADER, read_checkpoint
from dhs.train.module import LensFinder
from dhs.train.resume import continue_from, continue_run
from tests.train.runs import (
    EPOCHS,
    STEPS_PER_EPOCH,
    TINY,
    Death,
    PlannedCrash,
    final_state,
    first_difference,
    restored_threads,  # noqa: F401
    run,
)

LAST_STEP = EPOCHS * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def injector(small_config) -> Injector:
    return build_injector(small_config(*TINY))


@pytest.fixture(scope="module")
def reference(small_config, injector, tmp_path_factory) -> tuple[Path, list[tuple[int, list[int]]]]:
    """A run that nothing has disturbed, and the samples of its steps."""
    run_dir = tmp_path_factory.mktemp("reference")
    return run_dir, run(small_config(*TINY), injector=injector, run_dir=run_dir)


def assert_as_undisturbed(run_dir: Path, reference: Path) -> None:
    for name in ("last", "best"):
        assert first_difference(final_state(run_dir, name), final_state(reference, name)) is None, name


TRAINING, VALIDATION = "training_step", "validation_step"
MATRIX = [
    (Death("crash", TRAINING, 0), (0, 0)),
    (Death("crash", TRAINING, 1), (2, 0)),
    (Death("crash", TRAINING, 3), (0, 2)),
    (Death("crash", VALIDATION, 4), (0, 1)),
    (Death("crash", TRAINING, 4), (1, 3)),
    (Death("crash", TRAINING, 11), (3, 0)),
    (Death("crash", VALIDATION, 12), (0, 0)),
    (Death("SIGTERM", TRAINING, 0), (1, 0)),
    (Death("SIGTERM", TRAINING, 2), (2, 1)),
    (Death("SIGTERM", TRAINING, 3), (0, 0)),
    (Death("SIGTERM", VALIDATION, 4), (0, 2)),
    (Death("SIGUSR1", TRAINING, 5), (3, 1)),
    (Death("SIGTERM", VALIDATION, 8), (1, 0)),
    (Death("SIGUSR1", TRAINING, 11), (0, 0)),
    (Death("SIGTERM", VALIDATION, 12), (0, 0)),
]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize(("death", "workers"), MATRIX, ids=[f"{d}, {a} then {b} workers" for d, (a, b) in MATRIX])
def test_a_run_that_died_ends_as_one_that_did_not(small_config, injector, tmp_path, reference, death, workers):
    before, after = (small_config(*TINY, f"trainer.num_workers={n}") for n in workers)
    expected = PlannedCrash if death.how == "crash" else Preempted
    with pytest.raises(expected):
        run(before, injector=injector, run_dir=tmp_path, death=death)
    steps = run(after, injector=injector, run_dir=tmp_path)
    reference_dir, reference_steps = reference
    assert_as_undisturbed(tmp_path, reference_dir)
    assert steps == reference_steps[LAST_STEP - len(steps) :]
    if death.how != "crash" and death.hook == TRAINING:  # the step in hand was finished and saved: none is repeated
        assert len(steps) == LAST_STEP - death.step - 1


def test_the_comparison_sees_a_lost_step(small_config, injector, tmp_path, reference):
    """The matrix can fail: one step skipped, and everything differs."""
    with pytest.raises(PlannedCrash):
        run(small_config(*TINY), injector=injector, run_dir=tmp_path, death=Death("crash", TRAINING, 3))
    last = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(last)
    checkpoint["InjectionData"]["batches"] += 1
    torch.save(checkpoint, last)
    run(small_config(*TINY), injector=injector, run_dir=tmp_path)
    assert first_difference(final_state(tmp_path), final_state(reference[0])) is not None


def test_a_kill_between_last_and_best_loses_no_best(small_config, injector, tmp_path, reference, monkeypatch):
    """The end of the best epoch is in last.ckpt; the next start gives it its second name."""
    import dhs.train.keep as keep

    original = keep.duplicate

    def killed(source: Path, target: Path) -> None:
        if target.name == "best.ckpt":
            raise PlannedCrash
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(keep, "duplicate", killed)
        with pytest.raises(PlannedCrash):
            run(small_config(*TINY), injector=injector, run_dir=tmp_path)
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()
    run(small_config(*TINY), injector=injector, run_dir=tmp_path)
    assert_as_undisturbed(tmp_path, reference[0])


@pytest.fixture
def falling_score(monkeypatch):
    """val/pauroc is best after the first epoch."""

    def validated(self: LensFinder) -> None:
        self.val_logits.reset()
        self.val_labels.reset()
        self.log("val/pauroc", 1.0 / (1 + self.current_epoch))

    monkeypatch.setattr(LensFinder, "on_validation_epoch_end", validated)


@pytest.mark.usefixtures("falling_score")
def test_a_run_that_was_stopped_early_is_not_trained_on(small_config, injector, tmp_path):
    config = small_config(*TINY, "trainer.patience=1")
    steps = run(config, injector=injector, run_dir=tmp_path)
    assert len(steps) == 2 * STEPS_PER_EPOCH
    before = final_state(tmp_path)
    assert run(config, injector=injector, run_dir=tmp_path) == []
    assert first_difference(final_state(tmp_path), before) is None


@pytest.mark.usefixtures("falling_score")
def test_the_count_of_patience_goes_on_where_it_was(small_config, injector, tmp_path):
    config = small_config(*TINY, "trainer.patience=2", "trainer.max_epochs=6")
    with pytest.raises(Preempted):
        run(config, injector=injector, run_dir=tmp_path, death=Death("SIGTERM", TRAINING, 9))
    steps = run(config, injector=injector, run_dir=tmp_path)
    assert steps[-1][0] + 1 == 3 * STEPS_PER_EPOCH, "one good epoch and two without a better one"


@pytest.mark.parametrize("kind", ["mid-epoch", "validation", "end of epoch", "best"])
def test_a_named_checkpoint_of_any_kind_goes_on_in_a_new_directory(small_config, injector, tmp_path, reference, kind):
    first, second = tmp_path / "first", tmp_path / "second"
    deaths = {
        "mid-epoch": Death("SIGTERM", TRAINING, 5),
        "validation": Death("SIGTERM", VALIDATION, 8),
        "end of epoch": Death("crash", TRAINING, 8),
    }
    if kind in deaths:
        with pytest.raises((Preempted, PlannedCrash)):
            run(small_config(*TINY), injector=injector, run_dir=first, death=deaths[kind])
        path = first / "checkpoints" / "last.ckpt"
    else:
        path = reference[0] / "checkpoints" / "best.ckpt"
        if read_checkpoint(path)[HEADER]["epoch"] == EPOCHS - 1:
            pytest.fail("the best epoch is the last: nothing is left to train; give the reference another seed")
    config = small_config(*TINY)
    start = continue_from(path, run_dir=second, config=config)
    run(config, injector=injector, run_dir=second, resume_from=start)
    assert_as_undisturbed(second, reference[0])


def test_a_finished_run_is_made_longer_on_the_longer_schedule(small_config, injector, tmp_path, reference, monkeypatch):
    """From its first new step on: the rate rises again to where the longer cosine is."""
    longer = small_config(*TINY, f"trainer.max_epochs={EPOCHS + 2}")
    rates = []
    original = LensFinder.on_train_batch_start

    def watching(self, batch, batch_idx):
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        original(self, batch, batch_idx)

    monkeypatch.setattr(LensFinder, "on_train_batch_start", watching)
    start = continue_from(reference[0], run_dir=tmp_path, config=longer)
    steps = run(longer, injector=injector, run_dir=tmp_path, resume_from=start)
    assert [step for step, _ in steps] == list(range(LAST_STEP, LAST_STEP + 2 * STEPS_PER_EPOCH))
    assert final_state(tmp_path)[HEADER]["epoch"] == EPOCHS + 1
    schedule = LensFinder(longer).configure_optimizers()["lr_scheduler"]["scheduler"]
    base, factor = schedule.base_lrs[0], schedule.lr_lambdas[0]
    assert rates == [base * factor(step) for step, _ in steps]
    assert rates[0] > 10 * final_state(reference[0])["lr_schedulers"][0]["_last_lr"][0]
    with pytest.raises(ValueError, match=rf"trainer\.max_epochs = {EPOCHS}: .*has {EPOCHS} epochs behind it"):
        continue_from(reference[0], run_dir=tmp_path / "same", config=small_config(*TINY))


def test_a_damaged_last_goes_back_to_the_one_before_and_says_so(small_config, injector, tmp_path, reference, caplog):
    with pytest.raises(PlannedCrash):
        run(small_config(*TINY), injector=injector, run_dir=tmp_path, death=Death("crash", TRAINING, 7))
    checkpoints = tmp_path / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.ckpt", "last-1.ckpt", "last.ckpt"]
    content = bytearray((checkpoints / "last.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (checkpoints / "last.ckpt").unlink()
    (checkpoints / "last.ckpt").write_bytes(content)
    caplog.set_level("WARNING", logger="dhs")
    chosen = continue_run(tmp_path, config=small_config(*TINY))
    assert chosen is not None
    assert chosen.name == "last-1.ckpt"
    assert "WARNING" in caplog.text
    assert "fails its checksum" in caplog.text
    assert "going back to last-1.ckpt" in caplog.text
    assert (checkpoints / "last.ckpt.damaged").is_file()
    run(small_config(*TINY), injector=injector, run_dir=tmp_path)
    assert_as_undisturbed(tmp_path, reference[0])


def test_a_run_without_a_readable_checkpoint_is_not_begun_anew_in_silence(small_config, injector, tmp_path):
    with pytest.raises(PlannedCrash):
        run(small_config(*TINY), injector=injector, run_dir=tmp_path, death=Death("crash", TRAINING, 7))
    for path in (tmp_path / "checkpoints").glob("last*.ckpt"):
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"truncated or damaged.*resume=never starts anew"):
        continue_run(tmp_path, config=small_config(*TINY))


def test_as_many_last_checkpoints_are_kept_as_asked_for(small_config, injector, tmp_path):
    run(small_config(*TINY, "trainer.keep_last_n=4"), injector=injector, run_dir=tmp_path)
    kept = [tmp_path / "checkpoints" / f"last{suffix}.ckpt" for suffix in ("", "-1", "-2", "-3")]
    assert [read_checkpoint(path)[HEADER]["step"] for path in kept] == [12, 10, 8, 6]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 5
