"""The report is complete, needs nothing from outside, and shows the stamps it says it shows."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from dhs.evaluate.console import print_summary
from dhs.evaluate.gallery import galleries, stamps
from dhs.evaluate.heldout import section
from dhs.evaluate.pictures import Pictures
from dhs.evaluate.report import write_report
from dhs.evaluate.summary import summarise
from dhs.evaluate.table import column, visible_mask
from dhs.evaluate.targets import CONTAMINATION_CLAIM, RECALL_CLAIM, TPR_CLAIM

RUN_INFO = {"name": "quickstart <&>", "sky": "mock", "git": "0123456789ab"}
FIGURES = ("roc", "scores", "recall_theta_e", "recall_arc_snr")


class References(HTMLParser):
    """Every src and href of a page, and the tags left open."""

    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if key in ("src", "href", "srcset")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def summary(test_scores, val_scores):
    return summarise(test_scores, val_scores, fprs=(1e-2, 1e-3, 1e-4), bootstrap_resamples=100, seed=1)


@pytest.fixture(scope="module")
def written(summary, test_scores, tmp_path_factory):
    asked = []

    def stamp_images(rows):
        asked.append(rows)
        return np.full((len(rows), 3, 16, 16), 0.05, dtype=np.float32)

    out_dir = tmp_path_factory.mktemp("report")
    path = write_report([heldout(summary, test_scores, stamp_images)], run_info=RUN_INFO, out_dir=out_dir)
    return path, asked


def heldout(summary, table, stamp_images):
    shown = [(g, stamps(g, table=table, stamp_images=stamp_images)) for g in galleries(table, summary)]
    pictures = [Pictures(g.title, g.explanation, [(s.png, s.caption) for s in some]) for g, some in shown]
    return section(summary, table=table, pictures=pictures)


def test_report_writes_its_files_and_no_temporary_ones(written):
    path, _ = written
    assert {file.name for file in path.parent.iterdir()} == {"metrics.json", "metrics.csv", "report.html", "figures"}
    figures = {f"heldout_{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")}
    assert {file.name for file in (path.parent / "figures").iterdir()} == figures


def test_report_is_one_well_formed_page_without_scripts_or_network(written):
    text = written[0].read_text(encoding="ascii")
    references = References()
    references.feed(text)
    assert references.open == []
    assert references.found
    assert all(value.startswith("data:image/png;base64,") for value in references.found)
    without_data = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?://|//\w|<script|@import|url\(", without_data)


def test_report_escapes_names_and_says_which_sky_it_is(written):
    text = written[0].read_text()
    assert "quickstart &lt;&amp;&gt;" in text
    assert "quickstart <&>" not in text
    assert "Mock sky: the galaxies are simulated" in text


def test_first_claim_is_the_auroc_of_visible_lenses_with_interval_and_counts(written, summary):
    text, visible = written[0].read_text(), summary["visible"]
    auroc = visible["auroc"]
    claim = re.search(r"<h2>Held-out simulations</h2>.*?<strong>(.*?)</strong>", text, re.S).group(1)
    assert f"{auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}]" in claim
    assert f"{visible['n_positives']} injected lenses against 1,200 negatives" in claim
    assert "says nothing of FPR 0.0001" in text


def test_metrics_json_and_csv_hold_the_summary(written, summary):
    folder = written[0].parent
    stored = json.loads((folder / "metrics.json").read_text())
    assert stored.pop("run") == RUN_INFO
    assert [verdict["claim"] for verdict in stored.pop("verdicts")] == [TPR_CLAIM, RECALL_CLAIM, CONTAMINATION_CLAIM]
    assert stored == {"heldout": summary}
    rows = list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))
    first = next(row for row in rows if (row["quantity"], row["subset"]) == ("auroc", "visible"))
    assert float(first["value"]) == summary["visible"]["auroc"]["value"]


def test_galleries_hold_found_missed_and_worst_negatives(written, summary, test_scores):
    _, asked = written
    found, missed, worst = (gallery.rows for gallery in galleries(test_scores, summary))
    for shown, rows in zip(asked, (found, missed, worst), strict=True):
        np.testing.assert_array_equal(shown, rows)
    logit, visible = column(test_scores, "logit"), visible_mask(test_scores)
    threshold = summary["operating_point"]["threshold_logit"]
    assert (visible[found] & (logit[found] > threshold)).all()
    assert (visible[missed] & (logit[missed] <= threshold)).all()
    negative = column(test_scores, "label") == 0
    np.testing.assert_allclose(logit[worst], np.sort(logit[negative])[::-1][:24])


def test_report_of_a_sample_without_visible_lenses_is_still_written(test_scores, val_scores, tmp_path):
    dark = test_scores.filter(pa.array(~visible_mask(test_scores)))
    summary = summarise(dark, val_scores, fprs=(1e-2,), bootstrap_resamples=20, seed=1)
    images = lambda rows: np.zeros((len(rows), 3, 8, 8), dtype=np.float32)  # noqa: E731
    path = write_report([heldout(summary, dark, images)], run_info=RUN_INFO, out_dir=tmp_path)
    assert "the headline was not measured" in path.read_text()


def test_run_info_must_say_which_sky(tmp_path):
    for run_info, message in (
        ({"name": "x"}, "run_info lacks sky"),
        ({"name": "x", "sky": "moon"}, "allowed are mock"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report([], run_info=run_info, out_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_terminal_table_states_intervals_and_what_is_not_resolvable(summary):
    console = Console(width=110, record=True, file=io.StringIO())
    print_summary(summary, console)
    text = console.export_text()
    auroc = summary["visible"]["auroc"]
    assert f"{auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}]" in text
    assert "not resolvable" in text
    assert "lrg_companion" in text
