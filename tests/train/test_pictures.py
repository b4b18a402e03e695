"""Pictures of a run: the right stamps, no influence on the training, no more files than asked for; rates that exist."""

import csv

import numpy as np
import pytest
from matplotlib.image import imread

from dhs.evaluate.score import score_split
from dhs.evaluate.table import column, visible_mask
from dhs.inject.build import build_injector
from dhs.operating_point import tpr_at_fpr
from dhs.rng import Purpose
from dhs.train.attempts import joined_rows
from dhs.train.finder import open_finder
from dhs.train.module import ValidationScores
from dhs.train.pictures import drawn_pictures, find_worst, worst_sheet, worst_table
from tests.train.runs import EPOCHS, STEPS_PER_EPOCH, TINY, final_state, first_difference, restored_threads, run  # noqa: F401

SEEN = (*TINY, "logger.n_worst=4", "logger.images_every_epochs=2")


@pytest.fixture(scope="module")
def injector(small_config):
    return build_injector(small_config(*TINY))


@pytest.fixture(scope="module")
def drawn(small_config, injector, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("drawn")
    run(small_config(*SEEN), injector=injector, run_dir=run_dir)
    return run_dir


def test_drawing_changes_nothing_of_the_training(drawn, small_config, injector, tmp_path):
    run(small_config(*TINY), injector=injector, run_dir=tmp_path)
    assert not (tmp_path / "validation").exists()
    assert first_difference(final_state(drawn), final_state(tmp_path)) is None


def test_every_validation_and_each_nth_epoch_has_its_picture(drawn, small_config):
    def epochs(folder: str) -> list[str]:
        return sorted(path.name for path in (drawn / folder).glob("*.png"))

    assert epochs("validation") == [f"epoch_{n:03d}.png" for n in range(1, EPOCHS + 1)]
    assert epochs("trained_on") == ["epoch_001.png", "epoch_003.png"]
    steps = {
        (made.path.parent.name, made.epoch): made.step for made in drawn_pictures(drawn, config=small_config(*SEEN))
    }
    assert steps["trained_on", 2] == 2 * STEPS_PER_EPOCH
    validated = [int(row["step"]) for row in joined_rows(drawn) if row["val/loss"]]
    assert [steps["validation", epoch] for epoch in range(EPOCHS)] == validated
    assert np.ptp(imread(drawn / "validation" / "epoch_001.png")) > 0.5


def test_only_the_newest_are_kept(small_config, injector, tmp_path):
    run(small_config(*SEEN, "logger.keep_images=2"), injector=injector, run_dir=tmp_path)
    kept = sorted(path.name for path in (tmp_path / "validation").iterdir())
    assert kept == ["epoch_002.csv", "epoch_002.png", "epoch_003.csv", "epoch_003.png"]


def test_the_stamps_of_the_last_validation_are_the_worst_of_the_scores_of_the_checkpoint(drawn, injector):
    """Oracle: the score table of evaluation, of the same weights."""
    table = score_split(
        open_finder(drawn / "checkpoints" / "last.ckpt", tta=False),
        injector=injector,
        purpose=Purpose.VAL,
        batch_size=32,
        num_workers=0,
    )
    logit, label = column(table, "logit"), column(table, "label")
    negatives, visible = np.flatnonzero(label == 0), np.flatnonzero(visible_mask(table))
    with open(drawn / "validation" / f"epoch_{EPOCHS:03d}.csv") as file:
        rows = list(csv.DictReader(file))
    shown = {
        kind: [int(row["index"]) for row in rows if row["shown_as"] == kind]
        for kind in {row["shown_as"] for row in rows}
    }
    assert shown["highest-scoring negative"] == list(negatives[np.argsort(-logit[negatives])][:4])
    assert shown["lowest-scoring visible lens"] == list(visible[np.argsort(logit[visible])][:4])
    for row in rows:
        index = int(row["index"])
        assert float(row["logit"]) == pytest.approx(logit[index], rel=1e-4)
        assert row["class"] == table.column("kind")[index].as_py()
        assert int(row["target_id"]) == table.column("target_id")[index].as_py()
        if label[index]:
            assert float(row["theta_e_arcsec"]) == pytest.approx(column(table, "theta_e_arcsec")[index], rel=1e-3)

    last = [row for row in joined_rows(drawn) if row["val/loss"]][-1]
    rate = tpr_at_fpr(logit, label, fpr=0.01)
    assert ("val/tpr_at_fpr_0.01" in last) == (rate.tpr is not None)
    assert "val/tpr_at_fpr_0.001" not in last


def test_where_no_lens_is_visible_the_sheet_says_so_by_having_none(injector, tmp_path, monkeypatch):
    monkeypatch.setattr("dhs.train.pictures.VISIBLE_MIN_ARC_SNR_SUM_G", 1e9)
    n = injector.n_stamps(Purpose.VAL)
    _, injected = injector.assignments(np.arange(n), purpose=Purpose.VAL)
    scores = ValidationScores(np.arange(n), np.linspace(-3, 3, n), injected.astype(np.float32))
    worst = find_worst(injector, scores, n=3)
    assert worst.missed is None
    assert worst.n_looked_at == injected.sum()
    assert worst.negatives.recipes.key[:, 3].tolist() == [n - 1, n - 2, n - 3]
    path = worst_sheet(worst, kinds=injector.cutouts.kind, path=tmp_path / "a.png", epoch=0)
    assert np.ptp(imread(path)[..., :3]) > 0.5
    assert worst_table(worst, kinds=injector.cutouts.kind).count("\n") == 4
