"""Another finder's file of scores: matched by id, every fault one line or counted, and then the same analysis."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from scipy.special import expit, logit

from dhs.config.evaluation import EvaluateConfig, ExternalTask
from dhs.evaluate.external import as_logit, import_scores, read_scores, set_columns
from dhs.evaluate.run import evaluate_external, report_again
from dhs.inject.stampset.read import open_stamp_set
from tests.inject.stampset.sets import write_set


@pytest.fixture(scope="module")
def stamps(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set") / "set", sizes={"val": [240], "test": [200, 200]}, size_px=16)


@pytest.fixture(scope="module")
def truth(stamps):
    """task_id -> label, of all stamps that there are."""
    opened = open_stamp_set(str(stamps), key="x")
    tables = [set_columns(opened, split=split) for split in ("val", "test")]
    return {i: label for t in tables for i, label in zip(t["task_id"].to_pylist(), t["label"].to_pylist(), strict=True)}


@pytest.fixture
def write(tmp_path, truth):
    """Writes a CSV of scores that know the label, with the faults that a test plants."""

    def make(change=lambda rows: rows, *, header="id,score"):
        rng = np.random.default_rng(5)
        rows = [(i, expit(rng.normal(2.5 * label, 1.5))) for i, label in truth.items()]
        path = tmp_path / "theirs.csv"
        path.write_text("\n".join([header, *(",".join(map(str, row)) for row in change(rows))]) + "\n")
        return path

    return make


def task(stamps, scores, **options):
    return ExternalTask(name="external", stamps=str(stamps), scores=scores, **options)


def test_scores_come_to_their_stamps_whatever_the_order_of_the_file(stamps, write, truth, tmp_path):
    path = write(lambda rows: rows[::-1])
    assert import_scores(task(stamps, path), output_dir=tmp_path) == []
    given = dict(zip(*(read_scores(path).id, read_scores(path).score), strict=True))
    ours = set_columns(open_stamp_set(str(stamps), key="x"), split="test")
    table = pq.read_table(tmp_path / "scores" / "test.parquet")
    np.testing.assert_allclose(table["logit"], logit([given[i] for i in ours["task_id"].to_pylist()]), rtol=1e-6)
    assert table["label"].to_pylist() == [truth[i] for i in ours["task_id"].to_pylist()]


def test_the_whole_analysis_runs_and_again_from_its_scores_alone(stamps, write, tmp_path):
    settings = EvaluateConfig(fprs=(1e-1,), bootstrap_resamples=100)
    made = evaluate_external(
        task(stamps, write()), output_dir=tmp_path, settings=settings, stages=("heldout", "calibration", "negatives"),
        console=Console(quiet=True),
    )  # fmt: skip
    first = json.loads((tmp_path / "metrics.json").read_text())
    assert first["heldout"]["all"]["auroc"]["value"] > 0.8
    assert "another&#x27;s; only its scores are known" in made.report.read_text()
    (tmp_path / "metrics.json").unlink()
    report_again(
        tmp_path, settings=settings, stages=("heldout", "calibration", "negatives"), console=Console(quiet=True)
    )
    assert json.loads((tmp_path / "metrics.json").read_text()) == first
    again = report_again(tmp_path, settings=settings, stages=("selection",), console=Console(quiet=True))
    assert "not_done" in again.sections[0].data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[3]], "1 ids are there more than once"),
        (lambda rows: [(rows[0][0], "nan"), *rows[1:]], "1 scores are NaN"),
        (lambda rows: [(rows[0][0], ""), *rows[1:]], "1 scores are NaN, infinite or empty"),
        (lambda rows: [(rows[0][0], "high"), *rows[1:]], "score"),
        (lambda rows: rows[:-5], "stamps have no score"),
        (lambda rows: [(f"x{i}", s) for i, s in rows], "no id is a task_id of the set"),
        (lambda rows: [(i, 3.5 * s) for i, s in rows], r"lie outside \[0, 1\]"),
        (lambda rows: [(i, 0.5) for i, _ in rows], "scores are equal"),
    ],
)
def test_a_fault_is_one_line(stamps, write, tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        import_scores(task(stamps, write(change)), output_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_labels_that_contradict_the_set_are_refused(stamps, write, truth, tmp_path):
    good = write(lambda rows: [(i, s, truth[i]) for i, s in rows], header="id,score,label")
    import_scores(task(stamps, good), output_dir=tmp_path)
    bad = write(lambda rows: [(i, s, 1 - truth[i]) for i, s in rows], header="id,score,label")
    with pytest.raises(ValueError, match="the label of .* stamps is another than the set's"):
        import_scores(task(stamps, bad), output_dir=tmp_path)


def test_left_out_and_stray_and_certain_scores_are_counted_and_said(stamps, write, tmp_path):
    path = write(lambda rows: [("stray", 0.5), (rows[0][0], 1.0), *rows[1:-5]])
    warnings = import_scores(task(stamps, path, missing="leave_out"), output_dir=tmp_path)
    assert any("exactly 0 or 1" in warning for warning in warnings)
    assert any("5 of" in warning and "they are left out" in warning for warning in warnings)
    assert any("1 of" in warning and "are not used" in warning for warning in warnings)


def test_scales_keep_the_order_and_say_what_they_do_not_mean():
    score = np.array([0.2, 0.9, 0.4])
    ours, said = as_logit(score, scale="probability", where="x")
    np.testing.assert_allclose(ours, logit(score))
    assert said == []
    assert "no probability" in as_logit(100 * score, scale="rank", where="x")[1][0]
    assert "task.scale=probability" in as_logit(score, scale="logit", where="x")[1][0]


def test_a_set_without_calibration_sky_is_refused(tmp_path):
    only = write_set(tmp_path / "set", sizes={"test": [40]}, size_px=16)
    (tmp_path / "s.csv").write_text("id,score\na,0.1\nb,0.2\n")
    with pytest.raises(ValueError, match="no val stamps; thresholds need sky that no claim is made on"):
        import_scores(task(only, tmp_path / "s.csv"), output_dir=tmp_path)


def test_a_parquet_file_of_scores_is_read_too(tmp_path):
    pq.write_table(pa.table({"id": ["a", "b"], "score": [0.25, 0.75]}), tmp_path / "s.parquet")
    assert read_scores(tmp_path / "s.parquet").score.tolist() == [0.25, 0.75]
