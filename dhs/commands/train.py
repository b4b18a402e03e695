"""What `train.py` does: sky, sources, contact sheet, training, evaluation."""

import logging
import time
import traceback

from rich.console import Console

from dhs.commands.bank import build_bank
from dhs.commands.console import CountingProgress, DrawingProgress, log_to
from dhs.config.cli import Job
from dhs.config.load import ConfigError
from dhs.config.root import InjectionRoot, TrainConfig
from dhs.config.run_dir import RunRecord, config_hash, run_directory, set_aside, write_text
from dhs.config.sky import StampsSky
from dhs.config.source import CosmosSource, elementary_sources

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
    log_to(run_dir / "run.log")
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


def _train(config: TrainConfig, record: RunRecord) -> None:
    from dhs.evaluate.run import evaluate_checkpoint
    from dhs.inject.build import build_supply
    from dhs.inject.sheet import first_batch_sheet
    from dhs.inject.stampset.card import keep_card
    from dhs.train.fit import fit

    started = time.monotonic()
    log.info("run directory: %s", record.run_dir)
    finished = isinstance(config.sky, StampsSky)
    if isinstance(config.sky, StampsSky):
        keep_card(record.run_dir, config.sky.path)
    for _, source in [] if finished else elementary_sources(config.source):
        if isinstance(source, CosmosSource) and source.bank_is_absent:
            build_bank(source)
    progress = CountingProgress("mapping the stamp set", "stamps") if finished else DrawingProgress()
    injector = build_supply(config, progress=progress)
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


def _require_same_config(record: RunRecord, config: InjectionRoot) -> None:
    known = record.status.get("config_hash")
    if known and known != config_hash(config):
        raise ConfigError(
            f"run_dir = {record.run_dir}: holds an unfinished run of another configuration ({known}); "
            "choose another run_dir, or resume=never to set it aside"
        )
