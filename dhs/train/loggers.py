"""Metric logs: CSV always, W&B beside it when asked."""

import logging
import netrc
import os
import uuid
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger

from dhs.config.root import TrainConfig
from dhs.config.run_dir import write_text
from dhs.config.training import WandbLogger as WandbConfig

log = logging.getLogger("dhs")


def build_loggers(config: TrainConfig, *, run_dir: Path, attempt: int) -> list[Logger]:
    """`metrics/attempt_N/metrics.csv` (a resumed run adds a file, none is overwritten), and W&B."""
    loggers: list[Logger] = [CSVLogger(run_dir, name="metrics", version=f"attempt_{attempt}")]
    if isinstance(config.logger, WandbConfig):
        loggers.append(_wandb(config, config.logger, run_dir=run_dir))
    return loggers


def wandb_mode(config: WandbConfig) -> str:
    """``auto`` is online when a key is at hand, else offline."""
    if config.mode != "auto":
        return config.mode
    return "online" if _has_key() else "offline"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def _wandb(config: TrainConfig, settings: WandbConfig, *, run_dir: Path) -> Logger:
    try:
        import wandb  # noqa: F401
    except ImportError:
        raise ValueError("logger = wandb: the package is not installed; pip install wandb, or logger=csv") from None
    from pytorch_lightning.loggers import WandbLogger

    mode = wandb_mode(settings)
    log.info(
        "W&B: %s%s", mode, "" if mode == "online" else f" (no key or asked for); later: wandb sync {run_dir}/wandb"
    )
    id_file = run_dir / "wandb_id.txt"
    if not id_file.exists():
        write_text(id_file, uuid.uuid4().hex[:8])
    return WandbLogger(
        name=run_dir.name,
        project=settings.project,
        entity=settings.entity,
        group=settings.group or config.name,
        tags=list(settings.tags),
        save_dir=str(run_dir),
        id=id_file.read_text(),
        resume="allow",
        mode=mode,
        config=config.model_dump(mode="json"),
    )
