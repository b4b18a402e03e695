"""A job that takes its time over each shard, to be killed: `python -m tests.sky.slow_cutouts TARGETS OUTPUT ROOT`."""

import sys
import time
from pathlib import Path

from dhs.config.cutouts import CutoutsTask
from dhs.sky import cutout_job, cutout_shard

real = cutout_shard.write_shard


def slow_write(*args, **kwargs):
    time.sleep(0.05)
    written = real(*args, **kwargs)
    time.sleep(0.05)
    return written


if __name__ == "__main__":
    targets, output, root = sys.argv[1:]
    cutout_shard.write_shard = slow_write
    task = CutoutsTask.model_validate(
        {
            "name": "cutouts",
            "targets": targets,
            "output": output,
            "bricks": {"root": root, "num_processes": 1},
            "service": {},
            "quality": {},
            "split": {},
            "targets_per_shard": 4,
        }
    )
    cutout_job.make_store(task, cache_dir=Path(output) / "cache", progress=lambda done, total: None)
