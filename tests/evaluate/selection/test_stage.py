"""The stage `selection`: scored once, resumed exactly, analysed again without network or sky."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dhs.config.cli import compose_job
from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.config.selection import SelectionSettings
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.scored_set import score_items
from dhs.evaluate.selection.function import SelectionFunction
from dhs.evaluate.selection.items import SelectionItems
from dhs.evaluate.selection.stage import run
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from tests.evaluate.selection.planted import SnrFinder

CELLS = (
    "evaluate.selection.per_cell=8",
    "evaluate.selection.theta_e_arcsec=[0.6,1.2,2.0]",
    "evaluate.fprs=[0.2,0.0001]",
    "evaluate.bin_fpr=0.2",
)


@pytest.fixture(scope="module")
def config(small_config: Callable[..., TrainConfig]) -> TrainConfig:
    return small_config(*CELLS)


@pytest.fixture(scope="module")
def injector(config: TrainConfig) -> Injector:
    return build_injector(config)


def context_of(config: TrainConfig, injector: Injector | None, output: Path) -> EvaluationContext:
    return EvaluationContext(
        config=config,
        settings=config.evaluate,
        output_dir=output,
        num_workers=0,
        console=Console(file=io.StringIO()),
        finder_identity="planted",
        open_finder=None if injector is None else SnrFinder,
        open_supply=None if injector is None else lambda: injector,
    )


@pytest.fixture(scope="module")
def output(config: TrainConfig, injector: Injector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    run(context_of(config, injector, folder))
    return folder


def test_the_section_says_what_was_injected_and_what_cannot_be_said(config, injector, output):
    section = run(context_of(config, injector, output))
    assert section.key == "selection" and not section.verdicts
    assert "of the test sky" in section.html and "acceptance cuts are not applied" in section.html
    assert any("No completeness at FPR 0.0001: not resolvable" in text for text in section.warnings)
    assert any("cells have no galaxy" in text for text in section.warnings)
    assert set(section.figures) == {"map_fpr_0_2", "map_p_0_5", "curves"} == set(section.captions)
    assert list(section.data["thresholds"]) == ["fpr_0.2", "p_0.5"]
    cells = [row for row in section.rows if row.subset.startswith("theta_e 0.6, fwhm_r")]
    empty = [row for row in cells if row.n == 0]
    assert len(cells) == 2 * 9 and empty
    assert all(row.value is row.low is row.high is None and "no galaxy" in row.note for row in empty)


def test_its_table_is_the_selection_function_with_its_provenance(config, output):
    function = SelectionFunction.read(output / "selection_function.parquet")
    assert function.threshold == "fpr_0.2" and list(function.thresholds) == ["fpr_0.2", "p_0.5"]
    assert function.grid.theta_e_arcsec.tolist() == [0.6, 1.2, 2.0]
    provenance = function.metadata["provenance"]
    assert provenance["configuration"]["colour"] == config.colour.model_dump(mode="json")
    assert provenance["limits"] and sum(provenance["natural_theta_weights"]) == pytest.approx(1)
    some = np.isfinite(function.cells["completeness"])
    assert some.any() and not some.all()


def test_it_is_made_again_without_network_and_sky(config, injector, output, tmp_path):
    first = run(context_of(config, injector, output))
    table = (output / "selection_function.parquet").read_bytes()
    again = run(context_of(config, None, output))
    assert again.data == first.data and again.rows == first.rows and again.html == first.html
    assert (output / "selection_function.parquet").read_bytes() == table


def test_scores_of_other_cells_are_refused(small_config, output):
    other = small_config(*CELLS, "evaluate.selection.theta_e_arcsec=[0.6,1.3,2.0]")
    with pytest.raises(ValueError, match="their cells are not those of evaluate.selection"):
        run(context_of(other, None, output))


def test_a_sky_of_finished_stamps_is_said(config, output):
    finished = config.model_copy(update={"sky": config.sky.model_copy(update={"name": "stamps"})})
    context = context_of(finished, None, output)
    assert run(context).data == {
        "not_done": "Not done: sky=stamps is a set of finished stamps, into which nothing is injected."
    }


def test_resumed_scoring_gives_the_same_bytes(config, injector, tmp_path):
    items = SelectionItems(
        injector.painter,
        settings=SelectionSettings(per_cell=6, theta_e_arcsec=(0.6, 2.0)),
        lens=config.lens,
        colour=config.colour,
        seed=config.seed,
        calibrating=np.zeros(0, np.int64),
    )

    def score(finder: Any, path: Path) -> bytes:
        score_items(
            finder, items, path=path, batch_size=7, num_workers=0, identity="a", label="selection", part_rows=20
        )
        return path.read_bytes()

    class Killed(SnrFinder):
        batches = 0

        def logits(self, batch: np.ndarray) -> np.ndarray:
            self.batches += 1
            if self.batches > 5:
                raise KeyboardInterrupt
            return super().logits(batch)

    whole = score(SnrFinder(), tmp_path / "whole.parquet")
    with pytest.raises(KeyboardInterrupt):
        score(Killed(), tmp_path / "resumed.parquet")
    assert (tmp_path / "resumed.parts").is_dir()
    assert score(SnrFinder(), tmp_path / "resumed.parquet") == whole


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("evaluate.selection.per_cell=0", "evaluate.selection.per_cell = 0"),
        ("evaluate.selection.theta_e_arcsec=[2,1]", "theta_e_arcsec = [2.0, 1.0]: must rise"),
        ("evaluate.selection.psfsize_r_edges_arcsec=[1.2,1.1]", "psfsize_r_edges_arcsec = [1.2, 1.1]: must rise"),
        ("evaluate.selection.arc_snr_sum_edges=[0,0]", "arc_snr_sum_edges = [0.0, 0.0]: must rise"),
    ],
)
def test_a_wrong_setting_is_one_line(override, says):
    with pytest.raises(ConfigError) as error:
        compose_job("train", [override], schema=TrainConfig)
    assert says in str(error.value) and len(str(error.value).splitlines()) == 1


def test_the_full_function_is_385_cells_of_500():
    settings = compose_job("train", ["evaluate=full"], schema=TrainConfig).evaluate.selection
    lengths = [len(settings.theta_e_arcsec), len(settings.psfsize_r_edges_arcsec) - 1]
    assert [*lengths, len(settings.psfdepth_r_edges_mag) - 1, settings.per_cell] == [11, 7, 5, 500]
