"""The stage: its section, its exit code, and the same again without network and sky."""

import io

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from dhs.config.evaluation import EvaluateConfig
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.gates import stage
from tests.evaluate.gates.planted import (
    SETTINGS,
    Reader,
    blue_light,
    brighter_cores,
    core_over_rest,
    nothing,
    planted,
)

FEWER = SETTINGS.model_copy(update={"n_pairs": 60, "n_candidates": 400, "n_shown": 2})


def context(finder, supply, *, output_dir, settings=FEWER, without_network=False) -> EvaluationContext:
    return EvaluationContext(
        config=finder.config,
        settings=EvaluateConfig.model_validate({"gates": settings.model_dump(mode="json")}),
        output_dir=output_dir,
        num_workers=0,
        console=Console(file=io.StringIO(), width=160),
        finder_identity="reader",
        open_finder=None if without_network else lambda: finder,
        open_supply=None if without_network else lambda: supply,
    )


def test_a_spoilt_finder_ends_in_exit_code_1_and_the_report_is_made_again_without_it(bright, gate_config, tmp_path):
    finder = Reader(gate_config(), core_over_rest, slope=10.0, at=1.2)
    first_context = context(finder, planted(bright, brighter_cores), output_dir=tmp_path)
    first = stage.run(first_context)
    assert first.exit_code == 1 and first.verdicts[0].passed is False
    assert "core_only" in {gate["key"] for gate in first.data["gates"] if gate["outcome"] == "FAIL"}
    assert set(first.figures) == {"gates_limits", "gates_stamps", "gates_scores"} == set(first.captions)
    assert all(isinstance(figure, Figure) for figure in first.figures.values())
    assert "FAIL" in first_context.console.file.getvalue()
    again = stage.run(context(finder, None, output_dir=tmp_path, without_network=True))
    assert again.data == first.data and again.rows == first.rows and again.html == first.html


def test_another_threshold_scores_nothing_anew(bright, gate_config, tmp_path):
    finder = Reader(gate_config(), blue_light, slope=1.0, at=4.0)
    stage.run(context(finder, planted(bright, nothing), output_dir=tmp_path))
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scores").iterdir()}
    assert {"gates.parquet", "gates_rings.parquet", "gates_conditions.parquet"} <= set(written)
    strict = FEWER.model_copy(update={"arc_colour": FEWER.arc_colour.model_copy(update={"min_retained": 1.4})})
    section = stage.run(context(finder, planted(bright, nothing), output_dir=tmp_path, settings=strict))
    assert "arc_colour" in {gate["key"] for gate in section.data["gates"] if gate["outcome"] == "FAIL"}
    assert written == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scores").iterdir()}


def test_without_visible_lenses_nothing_is_passed(invisible, gate_config, tmp_path):
    finder = Reader(gate_config(), blue_light, slope=1.0, at=4.0)
    section = stage.run(context(finder, planted(invisible, nothing), output_dir=tmp_path))
    assert section.exit_code == 3 and section.verdicts[0].passed is None
    told = {gate["key"]: gate for gate in section.data["gates"]}
    assert told["core_only"]["outcome"] == "cannot tell" and "visible lenses" in told["core_only"]["measured"]
    assert len(told) == 11 and told["conditions"]["outcome"] == "PASS"


@pytest.mark.parametrize("order", [["g", "r", "z"], ["g", "g", "z"]])
def test_an_order_that_permutes_nothing_is_refused(order):
    with pytest.raises(ValueError, match="must be g, r, z in another order"):
        EvaluateConfig.model_validate({"gates": {"band_permutation": {"order": order}}})
