"""One training run: Trainer, callbacks, checkpoints, ranks. The arguments say everything; nothing is read from disk
but the checkpoint that the run goes on from."""

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import Logger

from dhs.config.root import TrainConfig
from dhs.config.run_dir import RunRecord
from dhs.config.training import WandbLogger
from dhs.inject.supply import StampSupply
from dhs.preemption import StopRequest
from dhs.ranks import launched_ranks, leave_group, this_rank
from dhs.train.callbacks import LOG_EVERY_STEPS, Patience, ProgressLines, ScheduleOfConfig
from dhs.train.checkpoint import AtomicCheckpointIO, load_weights, read_checkpoint
from dhs.train.class_check import require_weighted_classes
from dhs.train.data import InjectionData
from dhs.train.initial_weights import load_initial_weights
from dhs.train.keep import Checkpoints
from dhs.train.loggers import build_loggers
from dhs.train.module import LensFinder
from dhs.train.nonfinite import StopAtNonFinite
from dhs.train.pictures import Pictures
from dhs.train.speed import LoaderClock
from dhs.train.tracked_run import TrackedRun
from dhs.train.tracker import Tracker

log = logging.getLogger("dhs")

HARMLESS_WARNINGS = (
    r".*does not have many workers.*",  # few workers suffice: batches come ready-made
    r".*`__len__` could be inaccurate.*",  # workers share the epoch by whole batches (dhs.inject.stream)
    r".*smaller than the logging interval.*",
    r".*your dataloader is not resumable.*",  # the DataModule is (dhs.train.data)
    r".*sync_dist=True.*",  # val/auroc is computed from gathered scores, equal on every rank
    r".*isinstance\(treespec, LeafSpec\).*",  # Lightning 2.6 with torch 2.13
    r".*suggested max number of worker.*",
)
"""Warnings of Lightning and torch about what is our design, or their own business."""


def fit(
    config: TrainConfig,
    *,
    injector: StampSupply,
    record: RunRecord,
    resume_from: Path | None = None,
    stop: StopRequest | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """Train the run of ``record``, from the start or from a checkpoint of it, and return its best checkpoint.

    With ``trainer.devices`` above 1 this is one rank; rank 0 starts the others, with the same ``overrides``.

    Raises:
        Preempted: ``stop`` was asked for; the state is saved.
        NonFiniteLoss: see `dhs.train.nonfinite`.
        ConfigError: ``resume_from`` holds the weights of another network.
    """
    require_devices(config)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    stop = stop or StopRequest()
    finder = LensFinder(config)
    if resume_from is None:
        load_initial_weights(finder.network, config=config)
    else:
        load_weights(finder, read_checkpoint(resume_from), path=resume_from)
    if this_rank() == 0:
        size = sum(p.numel() for p in finder.network.parameters())
        log.info("network: %s, %.2f M parameters", config.model.backbone, size / 1e6)
    data = InjectionData(injector, config=config)
    require_weighted_classes(injector, loss=config.loss)
    n_ranks = config.trainer.devices if this_rank() == 0 else 1

    def on_death(message: str) -> None:
        record.update(state="failed", error=message)
        log.error("%s", message)

    with stop.deferred(), launched_ranks(overrides, n_ranks=n_ranks, resume_from=resume_from, on_death=on_death):
        try:
            _fit(build_trainer(config, record=record, stop=stop), finder, data=data, resume_from=resume_from)
        finally:
            leave_group()
    return record.run_dir / "checkpoints" / "best.ckpt"


def require_devices(config: TrainConfig) -> None:
    """ValueError where this machine has fewer GPUs than ``trainer.devices``."""
    settings = config.trainer
    found = torch.cuda.device_count()
    if settings.accelerator == "gpu" and found < settings.devices:
        raise ValueError(
            f"trainer.accelerator = gpu: this machine has {found} that torch can use, trainer.devices = "
            f"{settings.devices}; give trainer.devices={found} or trainer=cpu"
            if found
            else "trainer.accelerator = gpu: torch finds none on this machine; give trainer=cpu"
        )


def build_trainer(config: TrainConfig, *, record: RunRecord, stop: StopRequest) -> pl.Trainer:
    """The configured Trainer, writing into the run directory only."""
    settings = config.trainer
    for name in ("pytorch_lightning", "lightning_fabric"):  # tips and greetings; warnings still show
        logging.getLogger(name).setLevel(logging.WARNING)
    clock = LoaderClock()
    shows_bar = this_rank() == 0 and sys.stdout.isatty()
    loggers = build_loggers(config, record=record)
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        # With its own batch norm a rank trains otherwise than one process would; torch's synchronised one needs GPUs.
        sync_batchnorm=settings.devices > 1 and torch.cuda.is_available() and settings.accelerator != "cpu",
        precision=settings.precision,
        max_epochs=settings.max_epochs,
        gradient_clip_val=config.optim.gradient_clip or None,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=LOG_EVERY_STEPS,
        logger=loggers,
        callbacks=[
            *_callbacks(config, record=record, stop=stop, clock=clock, shows_bar=shows_bar),
            *_tracking(config, record=record, loggers=loggers),
        ],
        # Ranks are ours to start (dhs.ranks); under SLURM Lightning would take over the signals and requeue.
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],
        profiler=clock,
        default_root_dir=record.run_dir,
        enable_model_summary=False,
        enable_progress_bar=shows_bar,
    )


def _callbacks(
    config: TrainConfig, *, record: RunRecord, stop: StopRequest, clock: LoaderClock, shows_bar: bool
) -> list[Callback]:
    settings = config.trainer
    callbacks: list[Callback] = [
        StopAtNonFinite(record.run_dir),
        ScheduleOfConfig(),
        Patience(patience=settings.patience),
        LearningRateMonitor(logging_interval="step"),
        Checkpoints(
            record.run_dir / "checkpoints",
            every_n_steps=settings.checkpoint_every_steps,
            keep_last_n=settings.keep_last_n,
            stop=stop,
        ),
    ]
    if this_rank() == 0:
        callbacks.append(ProgressLines(record, clock=clock))
    if shows_bar:
        from pytorch_lightning.callbacks import RichProgressBar

        callbacks.append(RichProgressBar())
    return callbacks


def _tracking(config: TrainConfig, *, record: RunRecord, loggers: list[Logger]) -> list[Callback]:
    """What rank 0 keeps of a run beside its metrics: pictures, and all that goes to W&B."""
    if this_rank() > 0:
        return []
    callbacks: list[Callback] = [Pictures(config, run_dir=record.run_dir)]
    if isinstance(config.logger, WandbLogger):
        trackers = [logger for logger in loggers if isinstance(logger, Tracker)]
        artifacts = config.logger.artifacts
        callbacks += [TrackedRun(one, config=config, run_dir=record.run_dir, artifacts=artifacts) for one in trackers]
    return callbacks


def _fit(trainer: pl.Trainer, finder: LensFinder, *, data: InjectionData, resume_from: Path | None) -> None:
    with warnings.catch_warnings():
        for message in HARMLESS_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        trainer.fit(finder, datamodule=data, ckpt_path=str(resume_from) if resume_from else None, weights_only=True)
