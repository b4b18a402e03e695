"""Metric logs: CSV always, W&B beside it when asked. Both go on where a resumed run goes on."""

import csv
import io
import logging
import netrc
import os
import uuid
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger

from dhs.config.root import TrainConfig
from dhs.config.run_dir import write_text
from dhs.config.training import WandbLogger as WandbConfig
from dhs.ranks import this_rank

log = logging.getLogger("dhs")


def build_loggers(config: TrainConfig, *, run_dir: Path, attempt: int) -> list[Logger]:
    """`metrics/attempt_N/metrics.csv` (a resumed run adds a file, none is overwritten), and W&B under its id of before.

    Every line is on the disk when it is logged: a kill loses none.
    """
    loggers: list[Logger] = [
        CSVLogger(run_dir, name="metrics", version=f"attempt_{attempt}", flush_logs_every_n_steps=1)
    ]
    if isinstance(config.logger, WandbConfig) and this_rank() == 0:
        loggers.append(_wandb(config, config.logger, run_dir=run_dir))
    return loggers


def join_attempts(run_dir: Path) -> Path:
    """Write `metrics.csv`: the rows of all attempts as one run, without those that a later attempt did again."""
    rows: list[dict[str, str]] = []
    folders = sorted((run_dir / "metrics").glob("attempt_*"), key=lambda path: int(path.name.removeprefix("attempt_")))
    for path in (folder / "metrics.csv" for folder in folders):
        added = list(csv.DictReader(io.StringIO(path.read_text()))) if path.is_file() else []
        if added:
            first = min(int(row["step"]) for row in added)
            rows = [row for row in rows if int(row["step"]) < first] + added
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", "step", *(name for name in columns if name not in ("epoch", "step"))])
    writer.writeheader()
    writer.writerows(rows)
    write_text(run_dir / "metrics.csv", text.getvalue())
    return run_dir / "metrics.csv"


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
