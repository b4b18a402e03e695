"""Metric logs: CSV always, W&B beside it when asked. Both go on where a resumed run goes on."""

from pytorch_lightning.loggers import CSVLogger, Logger

from dhs.config.root import TrainConfig
from dhs.config.run_dir import RunRecord
from dhs.ranks import this_rank
from dhs.train.tracker import Tracker
from dhs.train.wandb_run import open_run


def build_loggers(config: TrainConfig, *, record: RunRecord) -> list[Logger]:
    """`metrics/attempt_N/metrics.csv` (a resumed run adds a file, none is overwritten), and W&B under its id of before.

    Every line is on the disk when it is logged: a kill loses none.
    """
    attempt = record.status.get("attempt", 1)
    loggers: list[Logger] = [
        CSVLogger(record.run_dir, name="metrics", version=f"attempt_{attempt}", flush_logs_every_n_steps=1)
    ]
    run = open_run(config, run_dir=record.run_dir, sweep=record.sweep) if this_rank() == 0 else None
    if run is not None:
        loggers.append(Tracker(run, run_dir=record.run_dir))
    return loggers
