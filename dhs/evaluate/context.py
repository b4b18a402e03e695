"""`EvaluationContext`: what the stages of `evaluate.py task=all` work with.

A stage asks for scores and other tables by name; they are made once, kept in `<output_dir>/scores/NAME.parquet` and
read ever after. The network is loaded when the first of them is missing; `task=report`, which has neither network nor
sky, does all that was scored before.

    def run(context: EvaluationContext) -> Section:
        table = context.score("grid", lambda: GridItems(context.supply, context.settings.selection))
        ...pure functions of table...
"""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from dhs.config.anchors import AnchorsConfig
from dhs.config.evaluation import EvaluateConfig
from dhs.config.root import TrainConfig
from dhs.evaluate.calibration import Calibration, calibrate
from dhs.evaluate.held_out import HeldOutItems, require_disjoint, split_test
from dhs.evaluate.scored_set import MakeItems, read_finished, score_items, write_table
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose
from dhs.train.finder import Finder


class NotScored(ValueError):
    """A table is not there and cannot be made here."""


class EvaluationContext:
    """One finder, its sky, and the scores that exist of it."""

    def __init__(
        self,
        *,
        config: TrainConfig | None,
        settings: EvaluateConfig,
        output_dir: Path,
        num_workers: int,
        console: Console,
        finder_identity: str,
        open_finder: Callable[[], Finder] | None,
        open_supply: Callable[[], StampSupply] | None,
        anchors: AnchorsConfig | None = None,
    ) -> None:
        """``config`` is that of the training run (None: another's finder); ``finder_identity`` names its weights."""
        self._config, self.settings, self.output_dir = config, settings, output_dir
        self.num_workers, self.console, self.anchors = num_workers, console, anchors
        self._finder_identity, self._open_finder, self._open_supply = finder_identity, open_finder, open_supply

    @property
    def config(self) -> TrainConfig:
        """Of the training run; NotScored where there was none (task=external)."""
        if self._config is None:
            raise NotScored("needs a finder trained here: these scores are another's")
        return self._config

    @property
    def seed(self) -> int:
        """Of every draw that the analysis makes."""
        return 0 if self._config is None else self._config.seed

    @cached_property
    def finder(self) -> Finder:
        """The network or ensemble; NotScored where there is none (task=report)."""
        if self._open_finder is None:
            raise NotScored("needs the network: run task=all with its checkpoint")
        return self._open_finder()

    @cached_property
    def supply(self) -> StampSupply:
        """The sky and the injections of the training run; NotScored where there is none."""
        if self._open_supply is None:
            raise NotScored("needs the sky: run task=all with the checkpoint")
        return self._open_supply()

    @property
    def has_network(self) -> bool:
        """False for task=report: what is not in a table is not there."""
        return self._open_finder is not None

    @property
    def only_stored(self) -> bool:
        """Nothing can be scored here: what is stored is all there is (task=report, task=external)."""
        return self._open_finder is None

    def score(self, name: str, make_items: MakeItems) -> pa.Table:
        """Scores of the items (`dhs.evaluate.scored_set`), from `scores/NAME.parquet` where they are there already.

        NotScored where they are not and this context has no network or no sky.
        """
        if self._open_finder is None:
            return self._as_it_is(name)
        items = make_items()
        identity = self.identity(items.identity, str(len(items)))
        found = read_finished(self.path(name), identity=identity)
        if found is not None:
            return found
        return score_items(
            self.finder,
            items,
            path=self.path(name),
            batch_size=self.settings.batch_size,
            num_workers=self.num_workers,
            identity=identity,
            label=f"scoring {name}",
        )

    def table(self, name: str, make: Callable[[], pa.Table], *, identity: str) -> pa.Table:
        """Any other table that takes network or sky (pictures, features), made once as `score` makes scores.

        ``identity``: the settings that decide it.
        """
        if self._open_finder is None:
            return self._as_it_is(name)
        wanted = self.identity(identity)
        found = read_finished(self.path(name), identity=wanted)
        if found is None:
            found = make()
            write_table(found, path=self.path(name), identity=wanted)
        return found

    def path(self, name: str) -> Path:
        """File of the table ``name``."""
        return self.output_dir / "scores" / f"{name}.parquet"

    def identity(self, *parts: str) -> str:
        """Hash of finder, sky, injections and ``parts``: what a file of scores is of."""
        stamps = self.config.model_dump(mode="json", include=set(DECIDES_STAMPS))
        stamps["sky"].pop("num_processes", None)
        text = json.dumps([self._finder_identity, stamps, *parts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _splits(self) -> tuple[pa.Table, pa.Table]:
        """Scores that calibrate, and scores that claims are made on: disjoint in galaxies."""
        test = self._held_out(Purpose.TEST)
        if self.settings.calibration.source == "test_part":
            return split_test(test, fraction=self.settings.calibration.test_fraction)
        return require_disjoint(self._held_out(Purpose.VAL), test)

    def _held_out(self, purpose: Purpose) -> pa.Table:
        return self.score(purpose.name.lower(), lambda: HeldOutItems(self.supply, purpose))

    @property
    def calibration_scores(self) -> pa.Table:
        """Scores of sky that no claim is made on (dhs.evaluate.table)."""
        return self._splits[0]

    @property
    def test_scores(self) -> pa.Table:
        """Scores of the held-out sky that claims are made on (dhs.evaluate.table, and ``index`` in the test set)."""
        return self._splits[1]

    @cached_property
    def calibration(self) -> Calibration:
        """Thresholds at the stated FPRs and logit -> probability, of `calibration_scores`."""
        return calibrate(self.calibration_scores, fprs=self.settings.fprs, settings=self.settings.calibration)

    def _as_it_is(self, name: str) -> pa.Table:
        found = read_finished(self.path(name), identity=None)
        if found is None:
            raise NotScored(f"{self.path(name)} is not there: task=all makes it")
        return found


DECIDES_STAMPS = ("seed", "max_galaxies", "sky", "source", "lens", "psf", "colour", "inject", "renderer")
"""Groups of a training run's configuration that decide the stamps of its sky."""
