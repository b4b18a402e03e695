"""Train a lens finder on arcs injected on the fly, and test it.

python train.py                    # quickstart, minutes on two cores
python train.py --help             # groups and examples
"""

from dhs.commands.program import run_program
from dhs.config.cli import Job
from dhs.config.root import TrainConfig


def main(job: Job[TrainConfig]) -> int:
    from dhs.commands.train import train  # after validation: a wrong override must not wait for torch

    return train(job)


if __name__ == "__main__":
    run_program("train", schema=TrainConfig, command=main)
