"""The registry of stages, the report of what they return, and the exit code."""

import json
from typing import get_args

import pytest

from dhs.config.evaluation import EvaluateConfig, StageName
from dhs.evaluate.context import NotScored
from dhs.evaluate.report import exit_code, write_report
from dhs.evaluate.section import Section, Verdict, said
from dhs.evaluate.stages import STAGES, run_stages

RUN_INFO = {"name": "x", "sky": "mock"}


class Context:
    """What `run_stages` itself needs."""

    def __init__(self, settings):
        self.settings = settings


def test_every_stage_is_in_the_configuration_and_every_name_has_a_stage():
    names = [stage.name for stage in STAGES]
    assert names == list(get_args(StageName))
    settings = EvaluateConfig()
    assert all(hasattr(settings, name) for name in names)
    assert set(settings.after_training) <= set(names)


def test_a_stage_that_is_disabled_or_has_no_scores_says_so_and_the_others_run(monkeypatch):
    def run(context):
        if context.settings.heldout.enabled:
            raise NotScored("scores/test.parquet is not there")
        return Section("negatives", "Hard negatives", "<p>done</p>")

    monkeypatch.setattr("dhs.evaluate.heldout.run", run)
    monkeypatch.setattr("dhs.evaluate.negatives.run", lambda context: Section("negatives", "x", "<p>done</p>"))
    settings = EvaluateConfig()
    first, second = run_stages(Context(settings), ["negatives", "heldout"])
    assert first.data == {"not_done": "Not done: scores/test.parquet is not there"}
    assert second.html == "<p>done</p>"
    off = settings.model_copy(update={"heldout": settings.heldout.model_copy(update={"enabled": False})})
    (first,) = run_stages(Context(off), ["heldout"])
    assert "evaluate.heldout.enabled = false" in first.html


def test_the_exit_code_is_that_of_the_gate_that_failed():
    assert exit_code([]) == 0
    assert exit_code([Section("a", "a", ""), Section("gates", "b", "", exit_code=1)]) == 1


def test_the_verdict_counts_proved_missed_and_undecided_and_names_targets_nobody_tested(tmp_path):
    verdicts = [Verdict("TPR", "> 80%", "90% <b>", True, "yes"), Verdict("gates", "pass", "1 failed", False, "yes")]
    path = write_report([Section("a", "A", "<p>a</p>", verdicts=verdicts)], run_info=RUN_INFO, out_dir=tmp_path)
    text = path.read_text()
    assert "1 of 5 targets proved, 1 missed, 3 undecided." in text
    assert "90% &lt;b&gt;" in text
    assert "no real lenses were scored; 43 of 68 would prove it" in text
    stored = json.loads((tmp_path / "metrics.json").read_text())["verdicts"]
    assert [v["passed"] for v in stored] == [True, False, None, None, None]


def test_two_sections_of_one_key_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two sections are called 'a'"):
        write_report([said("a", "A", why="x"), said("a", "B", why="y")], run_info=RUN_INFO, out_dir=tmp_path)
