"""`evaluate.py task=all`, `task=score`, `task=report` and the end of `train.py`: a checkpoint -> scores -> report."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from dhs.config.anchors import AnchorsConfig
from dhs.config.evaluation import EvaluateConfig, ExternalTask
from dhs.config.load import validate
from dhs.config.root import TrainConfig
from dhs.config.run_dir import versions
from dhs.config.sky import StampsSky
from dhs.display import write_atomically
from dhs.evaluate.console import print_summary
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.external import import_scores, write_external_card
from dhs.evaluate.report import exit_code, write_report
from dhs.evaluate.section import Section
from dhs.evaluate.stages import run_stages
from dhs.evaluate.to_wandb import log_sections, run_of_checkpoint
from dhs.inject.build import build_supply
from dhs.inject.stampset.card import set_card
from dhs.inject.supply import StampSupply
from dhs.train.finder import Ensemble, Finder, open_finder

log = logging.getLogger("dhs")

CARD = "evaluation.json"
"""What the scores in a folder are of: read by task=report."""


@dataclass(frozen=True)
class Evaluated:
    """What came of it."""

    report: Path
    sections: Sequence[Section]

    @property
    def exit_code(self) -> int:
        """0, or that of the gate that failed."""
        return exit_code(self.sections)


def evaluate_checkpoint(
    checkpoint: Path,
    *,
    output_dir: Path,
    settings: EvaluateConfig,
    stages: Sequence[str] | None,
    n_test_positives: int | None,
    num_workers: int,
    console: Console,
    injector: StampSupply | None = None,
    anchors: AnchorsConfig | None = None,
) -> Evaluated:
    """Run ``stages`` (None: all) and write scores, figures and report.

    ``injector`` saves loading the sky again; without it everything comes from the checkpoint's configuration.
    """
    device = choose_device(settings.device)
    finder = open_finder(checkpoint, tta=settings.tta, device=device, precision=settings.precision)
    config = finder.config
    if n_test_positives is not None:
        config, injector = _with_test_positives(config, n_test_positives), None
    info = run_info(config, checkpoint, network=_network(finder, settings=settings))
    card = {
        "config": config.model_dump(mode="json"),
        "finder": f"{_sha256(checkpoint)} tta={settings.tta} {settings.precision}",
        "run_info": info,
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(output_dir / CARD, f"{json.dumps(card, indent=2)}\n".encode())
    context = EvaluationContext(
        config=config,
        settings=settings,
        output_dir=output_dir,
        num_workers=num_workers,
        console=console,
        finder_identity=str(card["finder"]),
        open_finder=lambda: finder,
        open_supply=lambda: injector or build_supply(config),
        anchors=anchors,
    )
    with run_of_checkpoint(checkpoint, config, settings=settings) as run:
        made = _report(context, stages, info)
        if run is not None:
            log_sections(run, made.sections, report=made.report)
    return made


def report_again(
    folder: Path,
    *,
    settings: EvaluateConfig,
    stages: Sequence[str] | None,
    console: Console,
    anchors: AnchorsConfig | None = None,
) -> Evaluated:
    """The report once more from the scores in ``folder``, without network and sky; ValueError where it has no card."""
    card = read_card(folder)
    context = EvaluationContext(
        config=None if card["config"] is None else validate(card["config"], schema=TrainConfig),
        settings=settings,
        output_dir=folder,
        num_workers=0,
        console=console,
        finder_identity=card["finder"],
        open_finder=None,
        open_supply=None,
        anchors=anchors,
    )
    return _report(context, stages, card["run_info"], warnings=card.get("warnings", ()))


def evaluate_external(
    task: ExternalTask, *, output_dir: Path, settings: EvaluateConfig, stages: Sequence[str], console: Console
) -> Evaluated:
    """Another finder's scores through ``stages``: what is asked of it is what its scores can answer."""
    assert task.stamps is not None and task.scores is not None
    warnings = import_scores(task, output_dir=output_dir)
    info = {"name": task.scores.stem, **_set_info(task.stamps), "network": "another's; only its scores are known"}
    write_external_card(output_dir, run_info=info, warnings=warnings)
    return report_again(output_dir, settings=settings, stages=stages, console=console)


def read_card(folder: Path) -> dict[str, Any]:
    """What the scores in ``folder`` are of; ValueError (one line) where that is not said."""
    path = folder / CARD
    try:
        card: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; give a folder that evaluate.py task=all or task=score wrote") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: damaged ({error}); run task=all again, scores that are there stay") from None
    return card


def _report(
    context: EvaluationContext, stages: Sequence[str] | None, info: dict[str, Any], *, warnings: Sequence[str] = ()
) -> Evaluated:
    sections = run_stages(context, stages)
    if warnings:
        sections[0].warnings[:0] = warnings
    started = time.monotonic()
    report = write_report(sections, run_info=info, out_dir=context.output_dir)
    log.info("figures and page: %.1f s", time.monotonic() - started)
    heldout = next((section for section in sections if section.key == "heldout" and "all" in section.data), None)
    if heldout is not None:
        print_summary(heldout.data, context.console)
    log.info("report: %s", report)
    return Evaluated(report, sections)


def choose_device(asked: str) -> str:
    """``asked``, or what ``auto`` finds, said; ValueError where cuda is asked for and absent."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("evaluate.device = cuda: this machine has no CUDA device; use evaluate.device=cpu or auto")
    if asked != "auto":
        return asked
    device = "cuda" if torch.cuda.is_available() else "cpu"
    log.info("evaluate.device = auto: the network runs on %s", device)
    return device


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_test_positives(config: TrainConfig, n_test_positives: int) -> TrainConfig:
    if isinstance(config.sky, StampsSky):
        raise ValueError(
            f"n_test_positives = {n_test_positives}: the run was trained with sky=stamps, whose test set is fixed; "
            "leave it out"
        )
    inject = config.inject.model_copy(update={"n_test_positives": n_test_positives})
    return config.model_copy(update={"inject": inject})


def _network(finder: Finder, *, settings: EvaluateConfig) -> str:
    name = finder.config.model.backbone
    if isinstance(finder, Ensemble):
        name = f"ensemble of {len(finder.members)}: {', '.join(member.name for member in finder.members)}"
    name = f"{name}, mean of 8 orientations" if settings.tta else name
    return name if settings.precision == "float32" else f"{name}, forward pass in {settings.precision}"


def run_info(config: TrainConfig, checkpoint: Path, *, network: str) -> dict[str, str]:
    """What was run, for the report."""
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
    if isinstance(config.sky, StampsSky):
        return _set_info(config.sky.path)
    return _made_with(config.model_dump(mode="json"))


def _set_info(path: str) -> dict[str, str]:
    made = set_card(path, key="the stamp set")["metadata"].get("configuration", {})
    return {"stamp set": path} | _made_with(made)


def _made_with(made: dict[str, Any]) -> dict[str, str]:
    sky, source, psf, inject = (made.get(group) or {} for group in ("sky", "source", "psf", "inject"))
    unknown = "not said by the stamp set"
    return {
        "sky": sky.get("name", "stamps"),
        "source": source.get("name", unknown),
        "psf": f"{psf['name']} ({psf['convention']})" if "name" in psf else unknown,
        "controls": inject.get("controls", unknown),
    }
