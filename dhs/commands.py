"""What the three programs do, in order. The only module that sees every room of the house."""

import logging
import sys
import time
import traceback
from pathlib import Path

from rich.console import Console

from dhs.config.cli import Job
from dhs.config.load import ConfigError
from dhs.config.root import EvaluateRoot, InjectionRoot, InjectRoot, SheetTask, TrainConfig
from dhs.config.run_dir import RunRecord, config_hash, run_directory, set_aside, write_text
from dhs.config.source import CosmosSource

log = logging.getLogger("dhs")


def train(job: Job[TrainConfig]) -> int:
    """`train.py`: sky, sources, contact sheet, training, evaluation; 0 when all of it is done."""
    config = job.config
    run_dir = run_directory(config)
    record = RunRecord(run_dir)
    if record.status and config.resume == "never":
        print(f"resume=never: the earlier run is kept as {set_aside(run_dir)}")
    if record.status.get("state") == "done":
        print(f"already finished: {run_dir} (report: {run_dir}/evaluate/report.html); resume=never starts anew")
        return 0
    _require_same_config(record, config)
    record.start(config, overrides=job.overrides, config_hash=config_hash(config))
    _log_to(run_dir / "run.log")
    try:
        _train(config, record)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        record.update(state="interrupted")
        log.info("interrupted; the same command continues %s", run_dir)
        return 130
    except Exception as error:
        record.update(state="failed", error=f"{type(error).__name__}: {error}")
        write_text(run_dir / "error.txt", traceback.format_exc())
        if isinstance(error, ValueError | FileNotFoundError):
            line = str(error).strip().splitlines()[-1]  # a loader's worker sends its whole traceback
            raise ConfigError(f"{line} (traceback: {run_dir}/error.txt)") from None
        raise
    return 0


def inject(job: Job[InjectRoot]) -> int:
    """`inject.py`: one task."""
    _log_to(None)
    config = job.config
    try:
        if isinstance(config.task, SheetTask):
            _sheet(config, config.task)
        else:
            assert isinstance(config.source, CosmosSource)
            _build_bank(config.source)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from None
    return 0


def evaluate(job: Job[EvaluateRoot]) -> int:
    """`evaluate.py`: score the held-out sky with a checkpoint and write the report."""
    from dhs.evaluate.run import evaluate_checkpoint

    _log_to(None)
    config = job.config
    checkpoint = config.checkpoint
    if checkpoint.is_dir():
        checkpoint = checkpoint / "checkpoints" / "best.ckpt"
        if not checkpoint.is_file():
            raise ConfigError(f"checkpoint = {config.checkpoint}: the run has no checkpoints/best.ckpt yet")
    output_dir = config.output_dir or checkpoint.parent.parent / "evaluate"
    evaluate_checkpoint(
        checkpoint,
        output_dir=output_dir,
        settings=config.evaluate,
        n_test_positives=config.n_test_positives,
        num_workers=config.num_workers,
        console=Console(),
    )
    return 0


def _train(config: TrainConfig, record: RunRecord) -> None:
    from dhs.evaluate.run import evaluate_checkpoint
    from dhs.inject.build import build_injector
    from dhs.inject.sheet import first_batch_sheet
    from dhs.train.fit import fit

    started = time.monotonic()
    log.info("run directory: %s", record.run_dir)
    if isinstance(config.source, CosmosSource) and not config.source.bank.is_file():
        _build_bank(config.source)
    injector = build_injector(config, progress=sky_progress())
    first_batch_sheet(injector, path=record.run_dir / "first_batch.png", batch_size=config.trainer.batch_size)
    best = fit(config, injector=injector, record=record)
    if config.evaluate.enabled:
        evaluate_checkpoint(
            best,
            output_dir=record.run_dir / "evaluate",
            settings=config.evaluate,
            n_test_positives=None,
            num_workers=config.trainer.num_workers,
            console=Console(),
            injector=injector,
        )
    record.update(state="done", wall_s=round(time.monotonic() - started, 1))
    log.info("done in %.0f s: %s", time.monotonic() - started, record.run_dir)


def _build_bank(source: CosmosSource) -> None:
    from dhs.source.cosmos import build_cosmos_bank

    log.info("building %s from %s", source.bank, source.build.catalog_dir)
    summary = build_cosmos_bank(source)
    for line in str(summary).splitlines():
        log.info("%s", line)


def _sheet(config: InjectRoot, task: SheetTask) -> None:
    from dhs.inject.build import build_injector
    from dhs.inject.sheet import injection_sheet

    injector = build_injector(config, progress=sky_progress())
    injection_sheet(injector, n_stamps=task.n_stamps, path=task.output)
    log.info("wrote %s and %s", task.output, task.output.with_suffix(".csv"))


def _require_same_config(record: RunRecord, config: InjectionRoot) -> None:
    known = record.status.get("config_hash")
    if known and known != config_hash(config):
        raise ConfigError(
            f"run_dir = {record.run_dir}: holds an unfinished run of another configuration ({known}); "
            "choose another run_dir, or resume=never to set it aside"
        )


class sky_progress:
    """Logs ``done/total`` with rate and time to go, every few seconds."""

    def __init__(self, *, every_s: float = 5.0) -> None:
        self._started = self._last = time.monotonic()
        self._every_s = every_s

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < self._every_s and done < total:
            return
        rate = done / max(now - self._started, 1e-9)
        log.info("drawing the mock sky: %d/%d galaxies, %.0f/s, %.0f s to go", done, total, rate, (total - done) / rate)
        self._last = now


def _log_to(path: Path | None) -> None:
    """Messages of dhs to the terminal, and to ``path`` as well."""
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in list(log.handlers):
        handler.close()
        log.removeHandler(handler)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if path is not None:
        handlers.append(logging.FileHandler(path))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        log.addHandler(handler)
