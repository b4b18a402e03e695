"""Score the held-out sky with a trained finder and report what it is worth, with intervals.

python evaluate.py checkpoint=runs/quickstart-1a2b3c4d
python evaluate.py --help          # keys and examples
"""

from dhs.commands.program import run_program
from dhs.config.cli import Job
from dhs.config.root import EvaluateRoot


def main(job: Job[EvaluateRoot]) -> int:
    from dhs.commands.evaluate import evaluate  # after validation: a wrong override must not wait for torch

    return evaluate(job)


if __name__ == "__main__":
    run_program("evaluate", schema=EvaluateRoot, command=main)
