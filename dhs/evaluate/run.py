"""`evaluate.py` and the end of `train.py`: checkpoint -> scores of the held-out sky -> report."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from dhs.config.root import EvaluateConfig, TrainConfig
from dhs.config.run_dir import versions
from dhs.config.sky import StampsSky
from dhs.evaluate.console import print_summary
from dhs.evaluate.report import write_report
from dhs.evaluate.score import score_split
from dhs.evaluate.summary import summarise
from dhs.evaluate.table import write_scores
from dhs.inject.build import build_supply
from dhs.inject.stampset.card import set_card
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose
from dhs.train.finder import Ensemble, Finder, open_finder

log = logging.getLogger("dhs")


def evaluate_checkpoint(
    checkpoint: Path,
    *,
    output_dir: Path,
    settings: EvaluateConfig,
    n_test_positives: int | None,
    num_workers: int,
    console: Console,
    injector: StampSupply | None = None,
) -> Path:
    """Score val (for thresholds) and test, write scores, figures and report; returns the report's path.

    ``injector`` saves loading the sky again; without it everything comes from the checkpoint's configuration.
    """
    finder = open_finder(checkpoint, tta=settings.tta)
    config = finder.config
    if n_test_positives is not None and isinstance(config.sky, StampsSky):
        raise ValueError(
            f"n_test_positives = {n_test_positives}: the run was trained with sky=stamps, whose test set is fixed; "
            "leave it out"
        )
    if n_test_positives is not None:
        config = config.model_copy(
            update={"inject": config.inject.model_copy(update={"n_test_positives": n_test_positives})}
        )
        injector = None
    injector = injector or build_supply(config)
    output_dir.mkdir(parents=True, exist_ok=True)
    tables = {}
    for purpose in (Purpose.VAL, Purpose.TEST):
        started = time.monotonic()
        table = score_split(
            finder, injector=injector, purpose=purpose, batch_size=settings.batch_size, num_workers=num_workers
        )
        write_scores(table, path=output_dir / f"scores_{purpose.name.lower()}.parquet")
        rate = len(table) / (time.monotonic() - started)
        log.info("scored %d %s stamps, %.0f/s", len(table), purpose.name.lower(), rate)
        tables[purpose] = table
    summary = summarise(
        tables[Purpose.TEST],
        tables[Purpose.VAL],
        fprs=settings.fprs,
        bootstrap_resamples=settings.bootstrap_resamples,
        seed=config.seed,
    )
    report = write_report(
        summary,
        table=tables[Purpose.TEST],
        stamp_images=lambda rows: injector.stamps(np.asarray(rows), purpose=Purpose.TEST).images.numpy(),
        run_info=_run_info(config, checkpoint, network=_network(finder, tta=settings.tta)),
        out_dir=output_dir,
    )
    print_summary(summary, console)
    log.info("report: %s", report)
    return report


def _network(finder: Finder, *, tta: bool) -> str:
    name = finder.config.model.backbone
    if isinstance(finder, Ensemble):
        name = f"ensemble of {len(finder.members)}: {', '.join(member.name for member in finder.members)}"
    return f"{name}, mean of 8 orientations" if tta else name


def _run_info(config: TrainConfig, checkpoint: Path, *, network: str) -> dict[str, str]:
    made_with = versions()
    git = made_with["git"]
    return {
        "name": config.name,
        **_stamps_info(config),
        "network": network,
        "checkpoint": f"{checkpoint.parent.parent.name}/{checkpoint.parent.name}/{checkpoint.name}",
        "seed": str(config.seed),
        "packages": json.dumps(made_with["packages"]),
        "git": "not a checkout" if git is None else f"{git['commit'][:12]}{' (modified)' if git['dirty'] else ''}",
    }


def _stamps_info(config: TrainConfig) -> dict[str, str]:
    """Of which galaxies and arcs the stamps are: of the configuration, or with sky=stamps of the set's own."""
    made: dict[str, Any] = config.model_dump(mode="json")
    info = {}
    if isinstance(config.sky, StampsSky):
        made = set_card(config.sky.path, key="sky.path")["metadata"].get("configuration", {})
        info["stamp set"] = config.sky.path
    sky, source, psf, inject = (made.get(group) or {} for group in ("sky", "source", "psf", "inject"))
    unknown = "not said by the stamp set"
    return info | {
        "sky": sky.get("name", "stamps"),
        "source": source.get("name", unknown),
        "psf": f"{psf['name']} ({psf['convention']})" if "name" in psf else unknown,
        "controls": inject.get("controls", unknown),
    }
