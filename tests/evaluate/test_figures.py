"""What the figures draw is what the summary says."""

import numpy as np
import pytest

from dhs.evaluate.figures import recall_figure, roc_figure, score_figure
from dhs.evaluate.summary import summarise
from dhs.evaluate.table import column


@pytest.fixture(scope="module")
def summary(test_scores, val_scores):
    return summarise(test_scores, val_scores, fprs=(1e-2, 1e-3, 1e-4), bootstrap_resamples=50, seed=1)


def curves(figure):
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].lines if "AUROC" in str(line.get_label())}


def test_roc_passes_through_the_stated_tpr_and_stops_where_one_negative_stops(test_scores, summary):
    figure = roc_figure(test_scores, summary)
    drawn = curves(figure)
    assert len(drawn) == 2
    for name, start in (("visible", "visible lenses"), ("all", "all injected")):
        label, points = next(item for item in drawn.items() if item[0].startswith(start))
        entry = summary[name]["tpr_at_fpr"][0]
        at_stated = points[:, 0] <= 0.01 + 1e-12
        assert points[at_stated, 1].max() == pytest.approx(entry["value"])
        assert points[:, 0].min() == pytest.approx(1 / 1200)
        assert points[-1].tolist() == [1.0, 1.0]
        assert f"N = {summary[name]['n_positives']:,}" in label
    legend = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert "not resolvable: FPR < 1/N, N = 1,200" in legend


def test_recall_points_and_counts_are_the_cells_and_an_empty_bin_says_none(summary):
    cells = [dict(cell) for cell in summary["by_arc_snr_sum"]]
    cells[0] |= {"value": None, "low": None, "high": None, "k": 0, "n": 0}
    axes = recall_figure({**summary, "by_arc_snr_sum": cells}, key="by_arc_snr_sum", xlabel="S/N").axes[0]
    heights = [float(np.ravel(container.lines[0].get_ydata())[0]) for container in axes.containers]
    assert heights == [cell["value"] for cell in cells[1:]]
    assert [text.get_text() for text in axes.texts] == ["none"]
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels[0].endswith("\n0 / 0")
    assert labels[2].endswith(f"\n{cells[2]['k']} / {cells[2]['n']}")


def test_score_figure_has_a_row_per_population_and_shares_above_the_threshold(test_scores, summary):
    figure = score_figure(test_scores, summary)
    assert len(figure.axes) == 8
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    lrg = (column(test_scores, "label") == 0) & (np.array(test_scores.column("kind").to_pylist()) == "lrg")
    passed = (column(test_scores, "logit")[lrg] > summary["operating_point"]["threshold_logit"]).mean()
    assert texts[texts.index(f"LRG\nN = {lrg.sum()}") + 1] == f"{passed:.1%}"
