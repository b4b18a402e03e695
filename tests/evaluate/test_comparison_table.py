"""From score tables to a table of arms: planted differences are found, absent ones are not."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pytest

from dhs.evaluate.ablation import same_stamps
from dhs.evaluate.comparison_page import headlines, markdown, mcnemar_words, sentence, write_comparison
from dhs.evaluate.comparison_table import Comparison, compare_arms
from dhs.evaluate.table import SCORE_SCHEMA
from dhs.rng import Purpose, keyed_rng


def better_by(table: pa.Table, shift: float, *, seed: int, noise: float = 0.5) -> pa.Table:
    """The table of another finder: its positives ``shift`` higher, its own opinion of each stamp."""
    logit = table["logit"].to_numpy() + noise * keyed_rng(seed, Purpose.BENCHMARK, 5, 0).normal(size=len(table))
    logit = logit + shift * (table["label"].to_numpy() == 1)
    index = SCORE_SCHEMA.get_field_index("logit")
    return table.set_column(index, SCORE_SCHEMA.field(index), pa.array(logit.astype(np.float32)))


@pytest.fixture(scope="module")
def compared(make_scores) -> list[Comparison]:
    """Arms `good` (really better), `plain` and `same` (as `plain`), three seeds each."""
    test = make_scores(n_positives=1500, n_negatives=1500, seed=1)
    validation = make_scores(n_positives=100, n_negatives=1500, seed=2, first_id=10_000)
    shifts = [1.5] * 3 + [0.0] * 6
    return compare_arms(
        {"good": [0, 1, 2], "plain": [3, 4, 5], "same": [6, 7, 8]},
        test=[better_by(test, shift, seed=10 + i) for i, shift in enumerate(shifts)],
        validation=[better_by(validation, shift, seed=30 + i) for i, shift in enumerate(shifts)],
        test_set="common test set",
        baseline=None,
        fprs=(0.01, 1e-4),
        resamples=300,
        seed=1,
    )


def test_a_better_recipe_is_named_and_an_equal_one_is_not(compared):
    for comparison in headlines(compared):
        found = {(d.first, d.second): d.verdict for d in comparison.differences}
        assert found == {
            ("good", "plain"): "good",
            ("good", "same"): "good",
            ("plain", "same"): "no difference shown",
        }


def test_a_rate_beyond_the_negatives_is_not_in_the_table(compared):
    assert not any("0.0001" in comparison.statistic for comparison in compared)
    assert {comparison.subset for comparison in compared} == {"visible", "all"}


def test_mcnemar_stands_beside_calibrated_recall_for_each_pair_of_trainings(compared):
    (recall,) = [c for c in headlines(compared) if c.statistic.startswith("recall")]
    (difference,) = [d for d in recall.differences if (d.first, d.second) == ("good", "plain")]
    assert len(difference.mcnemar) == 3
    assert all(test.only_first > test.only_second and test.p_value < 0.01 for test in difference.mcnemar)
    first = difference.mcnemar[0]
    assert mcnemar_words(difference).startswith(f"{first.only_first} : {first.only_second}, p < 0.0001; ")
    assert mcnemar_words(difference) in markdown(compared, title="", notes=[])
    (area,) = [c for c in headlines(compared) if c.statistic == "auroc"]
    assert mcnemar_words(area.differences[0]) == "-"


def test_a_sentence_says_both_values_the_difference_and_the_verdict(compared):
    (recall,) = [c for c in headlines(compared) if c.statistic.startswith("recall")]
    text = sentence(recall, recall.differences[0])
    value = recall.arms["good"]
    assert text.startswith(f"good {100 * value.value:.1f}% [{100 * value.low:.1f}, {100 * value.high:.1f}], plain ")
    assert text.endswith("(Holm): good is better")


def test_the_files_say_the_same(compared, tmp_path):
    write_comparison(compared, output=tmp_path, name="ablation", title="Ablation", notes=["a note"])
    recorded = json.loads((tmp_path / "ablation.json").read_text())["comparisons"]
    lines = list(csv.DictReader(io.StringIO((tmp_path / "ablation.csv").read_text())))
    assert len(lines) == sum(len(c["arms"]) + len(c["differences"]) for c in recorded)
    difference = next(line for line in lines if line["against"])
    assert float(difference["value"]) == recorded[0]["differences"][0]["result"]["difference"]
    page = (tmp_path / "ablation.html").read_text()
    assert "good is better" in page and 'src="data:image/png' in page and "http" not in page.split("</style>")[1]
    assert (tmp_path / "ablation.md").read_text() == markdown(compared, title="Ablation", notes=["a note"])


def test_an_unknown_baseline_is_refused(make_scores):
    table = make_scores(n_positives=30, n_negatives=60, seed=1)
    with pytest.raises(ValueError, match=r"task.baseline = 'best': no such arm; there are 'a', 'b'"):
        compare_arms(
            {"a": [0], "b": [1]},
            test=[table, table],
            validation=[table, table],
            test_set="",
            baseline="best",
            fprs=(0.1,),
            resamples=50,
            seed=1,
        )


def test_scores_of_different_stamps_are_not_compared(make_scores):
    one, other = (make_scores(n_positives=30, n_negatives=60, seed=seed) for seed in (1, 2))
    with pytest.raises(ValueError, match="a and b scored different stamps"):
        same_stamps([one, other], ["a", "b"])
    same_stamps([one, better_by(one, 1.0, seed=3)], ["a", "b"])
