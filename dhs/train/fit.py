"""One training run: Trainer, callbacks, checkpoints. The arguments say everything; nothing is read from disk but
the last checkpoint of the same run."""

import logging
import sys
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint

from dhs.config.root import TrainConfig
from dhs.config.run_dir import RunRecord
from dhs.inject.supply import StampSupply
from dhs.train.callbacks import ProgressLines
from dhs.train.checkpoint import AtomicCheckpointIO
from dhs.train.data import InjectionData
from dhs.train.initial_weights import load_initial_weights
from dhs.train.loggers import build_loggers
from dhs.train.module import LensFinder

log = logging.getLogger("dhs")

HARMLESS_WARNINGS = (
    r".*does not have many workers.*",  # few workers suffice: batches come ready-made
    r".*`__len__` could be inaccurate.*",  # workers share the epoch by whole batches (dhs.inject.stream)
    r".*smaller than the logging interval.*",
    r".*Checkpoint directory.*exists and is not empty.*",  # a resumed run
    r".*your dataloader is not resumable.*",  # the DataModule is (dhs.train.data)
    r".*sync_dist=True.*",  # val/auroc is computed from gathered scores, equal on every rank
    r".*isinstance\(treespec, LeafSpec\).*",  # Lightning 2.6 with torch 2.13
    r".*suggested max number of worker.*",
)
"""Warnings of Lightning and torch about what is our design, or their own business."""


def fit(config: TrainConfig, *, injector: StampSupply, record: RunRecord) -> Path:
    """Train (or finish) the run of ``record`` and return its best checkpoint by val/pauroc."""
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    checkpoints = record.run_dir / "checkpoints"
    best, last = _checkpoint_callbacks(config, checkpoints)
    trainer = build_trainer(config, record=record, callbacks=[best, last])
    finder = LensFinder(config)
    size = sum(p.numel() for p in finder.network.parameters())
    log.info("network: %s, %.2f M parameters", config.model.backbone, size / 1e6)
    resume_from = last_checkpoint(record.run_dir)
    if resume_from:
        log.info("resuming from %s", resume_from)
    else:
        load_initial_weights(finder.network, config=config)
    _fit(trainer, finder, data=InjectionData(injector, config=config), resume_from=resume_from)
    trainer.save_checkpoint(checkpoints / "last.ckpt")  # whatever the interval, the last state is the final one
    return checkpoints / "best.ckpt"


def last_checkpoint(run_dir: Path) -> Path | None:
    """The newest complete checkpoint of an unfinished run."""
    path = run_dir / "checkpoints" / "last.ckpt"
    return path if path.is_file() else None


def build_trainer(config: TrainConfig, *, record: RunRecord, callbacks: list[Callback]) -> pl.Trainer:
    """The configured Trainer, writing into the run directory only."""
    settings = config.trainer
    for name in ("pytorch_lightning", "lightning_fabric"):  # tips and greetings; warnings still show
        logging.getLogger(name).setLevel(logging.WARNING)
    watch: list[Callback] = [
        EarlyStopping("val/pauroc", mode="max", patience=settings.patience, check_on_train_epoch_end=False),
        LearningRateMonitor(logging_interval="step"),
        ProgressLines(record),
    ]
    if sys.stdout.isatty():
        from pytorch_lightning.callbacks import RichProgressBar

        watch.append(RichProgressBar())
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        precision=settings.precision,
        max_epochs=settings.max_epochs,
        gradient_clip_val=config.optim.gradient_clip or None,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        logger=build_loggers(config, run_dir=record.run_dir, attempt=record.status.get("attempt", 1)),
        callbacks=[*watch, *callbacks],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=record.run_dir,
        enable_model_summary=False,
        enable_progress_bar=sys.stdout.isatty(),
    )


def _checkpoint_callbacks(config: TrainConfig, directory: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    best = ModelCheckpoint(
        directory,
        filename="best",
        monitor="val/pauroc",
        mode="max",
        save_top_k=1,
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )
    last = ModelCheckpoint(
        directory,
        filename="last",
        every_n_train_steps=config.trainer.checkpoint_every_steps,
        save_top_k=1,
        enable_version_counter=False,
    )
    return best, last


def _fit(trainer: pl.Trainer, finder: LensFinder, *, data: InjectionData, resume_from: Path | None) -> None:
    with warnings.catch_warnings():
        for message in HARMLESS_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        trainer.fit(finder, datamodule=data, ckpt_path=str(resume_from) if resume_from else None, weights_only=True)
