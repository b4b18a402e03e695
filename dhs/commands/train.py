"""What `train.py` does: sky, sources, contact sheet, training, evaluation.

Exit codes: 0 all of it is done; 2 the configuration or the data are wrong, or training met NaN (one line says what);
130 interrupted (Ctrl-C); 143 and 138 stopped by SIGTERM and SIGUSR1 with the state saved. After the last three the
same command goes on exactly where the run was.
"""

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from dhs.commands.bank import build_bank
from dhs.commands.console import log_to
from dhs.config.cli import Job
from dhs.config.load import ConfigError
from dhs.config.root import InjectionRoot, TrainConfig
from dhs.config.run_dir import RunRecord, config_hash, run_directory, set_aside, write_text
from dhs.config.sky import StampsSky
from dhs.config.source import CosmosSource, elementary_sources
from dhs.preemption import Preempted, StopRequest
from dhs.progress import CountingProgress, DrawingProgress
from dhs.ranks import die_with_parent, given_start, this_rank
from dhs.sky.file_lock import file_lock, file_lock_waiting

if TYPE_CHECKING:
    from dhs.inject.supply import StampSupply

log = logging.getLogger("dhs")

UNFINISHED = ("running", "preempted", "interrupted")
INTERRUPTED = 130


def train(job: Job[TrainConfig]) -> int:
    """`train.py`: sky, sources, contact sheet, training, evaluation; the exit code, 0 when all of it is done."""
    if this_rank() > 0:
        return _train_as_rank(job)
    run_dir = run_directory(job.config)
    with _locked(run_dir):
        record = RunRecord(run_dir)
        if record.status and job.config.resume == "never":
            print(f"resume=never: the earlier run is kept as {set_aside(run_dir)}")
        start = _named_start(job.config, record)
        if start is None and record.status.get("state") == "done":
            print(
                f"already finished: {run_dir} (report: {run_dir}/evaluate/report.html); resume=never starts anew, "
                f"resume={run_dir} with more trainer.max_epochs makes it longer"
            )
            return 0
        _require_not_diverged(record, start)
        return _train_recorded(job, record, start)


def _train_recorded(job: Job[TrainConfig], record: RunRecord, start: Path | None) -> int:
    """Train with everything that happens on record: state, log, error."""
    from dhs.train.wandb_run import closing_run

    stop = StopRequest()
    with stop.watching():
        record.start(job.config, overrides=job.overrides, config_hash=config_hash(job.config))
        if start is not None:
            record.update(resumed_from=str(start))
        log_to(record.run_dir / "run.log")
        try:
            with closing_run():
                _train(job, record, start, stop)
        except Preempted as signal:
            record.update(state="preempted", error=f"stopped by {signal}")
            log.info("stopped by %s; the same command continues %s", signal, record.run_dir)
            return signal.exit_code
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
            record.update(state="interrupted")
            log.info("interrupted; the same command continues %s", record.run_dir)
            return INTERRUPTED
        except Exception as error:
            _put_on_record(error, record)
            if isinstance(error, ValueError | FileNotFoundError):
                line = str(error).strip().splitlines()[-1]  # a loader's worker sends its whole traceback
                raise ConfigError(f"{line} (traceback: {record.run_dir}/error.txt)") from None
            raise
    return 0


def _train(job: Job[TrainConfig], record: RunRecord, start: Path | None, stop: StopRequest) -> None:
    from dhs.inject.injector import Injector
    from dhs.inject.sheet import first_batch_sheet
    from dhs.inject.training_sky import keep_extras, mix_lines
    from dhs.train.attempts import join_attempts
    from dhs.train.fit import fit
    from dhs.train.resume import continue_from, continue_run

    config, started = job.config, time.monotonic()
    log.info("run directory: %s", record.run_dir)
    if start is not None:
        resume_from: Path | None = continue_from(start, run_dir=record.run_dir, config=config)
    else:
        resume_from = continue_run(record.run_dir, config=config)
    supply = _supply(config, record)
    if isinstance(supply, Injector):
        keep_extras(record.run_dir, supply.extras.card)
        samples = config.inject.samples_per_epoch
        for line in mix_lines(supply.mix, kinds=supply.cutouts.kind, samples_per_epoch=samples):
            log.info("%s", line)
    sheet = record.run_dir / "first_batch.png"
    if not sheet.is_file():
        first_batch_sheet(supply, path=sheet, batch_size=config.trainer.batch_size)
    try:
        best = fit(config, injector=supply, record=record, resume_from=resume_from, stop=stop, overrides=job.overrides)
    finally:
        join_attempts(record.run_dir)
    if config.evaluate.enabled:
        from dhs.evaluate.run import evaluate_checkpoint  # its libraries take seconds, and the first step need not wait

        evaluate_checkpoint(
            best,
            output_dir=record.run_dir / "evaluate",
            settings=config.evaluate,
            stages=config.evaluate.stages or config.evaluate.after_training,
            n_test_positives=None,
            num_workers=config.trainer.num_workers,
            console=Console(),
            injector=supply,
        )
    record.update(state="done", wall_s=round(time.monotonic() - started, 1))
    log.info("done in %.0f s: %s", time.monotonic() - started, record.run_dir)


def _supply(config: TrainConfig, record: RunRecord) -> "StampSupply":
    """Stamps to train on; a bank that is missing and may be built is built first."""
    from dhs.inject.build import build_supply
    from dhs.inject.stampset.card import keep_card

    if isinstance(config.sky, StampsSky):
        keep_card(record.run_dir, config.sky.path)
        return build_supply(config, progress=CountingProgress("mapping the stamp set", "stamps"))
    for _, source in elementary_sources(config.source):
        if isinstance(source, CosmosSource) and source.bank_is_absent:
            _build_bank_once(source)
    return build_supply(config, progress=DrawingProgress())


def _build_bank_once(source: CosmosSource) -> None:
    """Of jobs that start together one builds the bank, and the others wait for it."""
    lock = source.bank_file.with_name(f".{source.bank_file.name}.wait")
    with file_lock_waiting(lock, waiting=f"another process builds {source.bank}: waiting for it"):
        if source.bank_is_absent:
            build_bank(source)


def _train_as_rank(job: Job[TrainConfig]) -> int:
    """A rank above 0 (`dhs.ranks`): trains beside rank 0, which decides, records and reports."""
    from dhs.inject.build import build_supply
    from dhs.train.fit import fit
    from dhs.train.nonfinite import Diverged

    die_with_parent()
    log_to(None)
    log.setLevel(logging.WARNING)
    stop = StopRequest()
    try:
        with stop.watching():
            supply = build_supply(job.config)
            record = RunRecord(run_directory(job.config))
            fit(job.config, injector=supply, record=record, resume_from=given_start(), stop=stop)
    except (Preempted, Diverged):  # on all ranks at once; rank 0 says so
        return 0
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"rank {this_rank()}: {str(error).strip().splitlines()[-1]}") from None
    return 0


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """No second process in ``run_dir``. The lock lies beside it, so that `resume=never` can move the directory."""
    status = RunRecord(run_dir).status
    refusal = (
        f"run_dir = {run_dir}: another process trains in it (pid {status.get('pid')} on {status.get('host')}); wait "
        "for it, or give another run_dir"
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(run_dir.with_name(f".{run_dir.name}.lock"), held_elsewhere=refusal))
        except ValueError as error:
            raise ConfigError(str(error)) from None
        yield


def _named_start(config: TrainConfig, record: RunRecord) -> Path | None:
    """The checkpoint that ``resume=`` names, where the run begins there; None where it goes on by itself.

    A queue repeats the command: what has begun at the named checkpoint goes on from its own last one.
    """
    status = record.status
    if status:
        _require_same_config(record, config)
    if not isinstance(config.resume, Path):
        return None
    named = config.resume.resolve()
    if not status:
        return named
    has_own = (record.run_dir / "checkpoints" / "last.ckpt").is_file()
    begun_there = status.get("resumed_from") == str(named)
    if named.is_relative_to(record.run_dir.resolve()):
        if status.get("state") == "done":
            return None
        return None if begun_there and has_own and status.get("state") in UNFINISHED else named
    if not begun_there:
        raise ConfigError(
            f"run_dir = {record.run_dir}: holds a run already; resume=auto continues it, another run_dir begins at "
            f"{config.resume}"
        )
    return None if has_own else named


def _require_not_diverged(record: RunRecord, start: Path | None) -> None:
    if start is None and record.status.get("state") == "diverged":
        raise ConfigError(
            f"run_dir = {record.run_dir}: stopped before: {record.status['error']}; it would again. Mend the cause, "
            f"then resume={record.run_dir} goes on from its last checkpoint and resume=never starts anew"
        )


def _put_on_record(error: Exception, record: RunRecord) -> None:
    from dhs.train.nonfinite import Diverged

    write_text(record.run_dir / "error.txt", traceback.format_exc())
    if isinstance(error, Diverged):
        record.update(state="diverged", error=str(error), nonfinite=error.where)
    else:
        record.update(state="failed", error=f"{type(error).__name__}: {error}")


def _require_same_config(record: RunRecord, config: InjectionRoot) -> None:
    known = record.status.get("config_hash")
    if known and known != config_hash(config):
        raise ConfigError(
            f"run_dir = {record.run_dir}: holds an unfinished run of another configuration ({known}); "
            "choose another run_dir, or resume=never to set it aside"
        )
