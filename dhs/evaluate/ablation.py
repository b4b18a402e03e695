"""`evaluate.py task=ablation`: every run of a sweep scores common test sets; differences between arms follow.

A run's own test set is drawn from its own priors and seed, so runs of a sweep cannot be compared on theirs: a finder
trained on smooth sources may look best on smooth sources. Here each distinct test set of the sweep (one per kind of
injection, all with `task.test_seed`) is scored by every run. Thresholds come from the validation sky of that test set.
Scores are kept in `<output>/scores`, so a killed run goes on, and the analysis can be repeated without a network.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from dhs.config.comparison import AblationTask
from dhs.config.evaluation import EvaluateConfig
from dhs.config.root import TrainConfig
from dhs.config.run_dir import config_hash
from dhs.evaluate.score import score_split
from dhs.evaluate.sweep_runs import Sweep, SweepRun
from dhs.evaluate.table import read_scores, write_scores
from dhs.inject.build import build_supply
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose
from dhs.train.finder import open_finder

log = logging.getLogger("dhs")

OF_A_TEST_SET = ("max_galaxies", "sky", "source", "lens", "psf", "colour", "renderer")
OF_ITS_INJECTION = ("n_test_positives", "n_val_positives", "arc_noise", "arc_noise_lag1", "sky_mag_arcsec2", "controls")
"""What decides the stamps of a test set; how training stamps are drawn does not."""


@dataclass(frozen=True)
class TestSet:
    """One kind of injection into the held-out sky, the same stamps for every run."""

    __test__ = False  # no pytest class

    label: str
    """The arms that have it as their own."""
    config: TrainConfig


@dataclass(frozen=True)
class Scored:
    """Tables of every run for one test set, in the order of the sweep's runs."""

    test_set: TestSet
    validation: list[pa.Table]
    test: list[pa.Table]


def distinct_test_sets(sweep: Sweep, *, task: AblationTask) -> list[TestSet]:
    """The test sets of the sweep's arms, equal ones once; ValueError where ``task.test_on`` names no arm."""
    unknown = [label for label in task.test_on if label not in sweep.arms]
    if unknown:
        raise ValueError(
            f"task.test_on = {unknown[0]!r}: no such arm; the sweep has {', '.join(map(repr, sweep.arms))}"
        )
    sets: dict[str, tuple[list[str], TrainConfig]] = {}
    for arm in task.test_on or sweep.arms:
        config = _common(sweep.runs[sweep.members(arm)[0]].config, task=task)
        sets.setdefault(_identity(config), ([], config))[0].append(arm)
    if len(sets) == 1:
        return [TestSet("common test set", config) for _, config in sets.values()]
    return [TestSet(", ".join(arms), config) for arms, config in sets.values()]


def score_sweep(
    sweep: Sweep, *, test_sets: list[TestSet], output: Path, settings: EvaluateConfig, num_workers: int
) -> list[Scored]:
    """Score every run on every test set, what is in ``output`` already excepted."""
    started, n_all, done = time.monotonic(), len(test_sets) * len(sweep.runs), 0
    scored = []
    for test_set in test_sets:
        injector = lru_cache(partial(build_supply, test_set.config))  # drawn only if a score is missing
        tables = []
        for run in sweep.runs:
            tables.append(
                _tables(run, test_set, injector=injector, output=output, settings=settings, num_workers=num_workers)
            )
            done += 1
            left = (time.monotonic() - started) / done * (n_all - done)
            log.info("scored %d/%d: %s on %s, %.0f s to go", done, n_all, run.path.name, test_set.label, left)
        scored.append(Scored(test_set, [val for val, _ in tables], [test for _, test in tables]))
    return scored


def _tables(
    run: SweepRun,
    test_set: TestSet,
    *,
    injector: Callable[[], StampSupply],
    output: Path,
    settings: EvaluateConfig,
    num_workers: int,
) -> tuple[pa.Table, pa.Table]:
    """Validation and test scores of one run."""
    stamp = run.checkpoint.stat()
    key = f"{run.path.name}-{_identity(test_set.config)}-{stamp.st_size}-{stamp.st_mtime_ns}{'-tta' * settings.tta}"
    tables = []
    for purpose in (Purpose.VAL, Purpose.TEST):
        path = output / "scores" / f"{key}-{purpose.name.lower()}.parquet"
        if not path.is_file():
            table = score_split(
                open_finder(run.checkpoint, tta=settings.tta),
                injector=injector(),
                purpose=purpose,
                batch_size=settings.batch_size,
                num_workers=num_workers,
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            write_scores(table, path=path)
        tables.append(read_scores(path))
    return tables[0], tables[1]


def _common(config: TrainConfig, *, task: AblationTask) -> TrainConfig:
    inject = config.inject
    if task.n_test_positives is not None:
        inject = inject.model_copy(update={"n_test_positives": task.n_test_positives})
    return config.model_copy(update={"seed": task.test_seed, "inject": inject})


def _identity(config: TrainConfig) -> str:
    """Hash of what decides the stamps."""
    keep = {name: True for name in ("seed", *OF_A_TEST_SET)} | {"inject": {name: True for name in OF_ITS_INJECTION}}
    dropped = [name for name in type(config).model_fields if name not in keep]
    dropped += [f"inject.{name}" for name in type(config.inject).model_fields if name not in OF_ITS_INJECTION]
    return config_hash(config, ignore=[*dropped, "sky.num_processes", "source.build.num_processes"])


def same_stamps(tables: list[pa.Table], names: list[str]) -> None:
    """ValueError when two score tables are not of the same stamps, row by row."""
    first = tables[0]
    for table, name in zip(tables[1:], names[1:], strict=True):
        if len(table) != len(first) or not all(
            np.array_equal(table[column].to_numpy(), first[column].to_numpy(), equal_nan=column != "target_id")
            for column in ("target_id", "label", "theta_e_arcsec", "source_mag_r")
        ):
            raise ValueError(
                f"{names[0]} and {name} scored different stamps: a paired comparison needs one test set; "
                "evaluate.py task=ablation scores a common one"
            )
