"""Work around the injection itself: build source banks, look at injected stamps.

python inject.py task=sheet        # a contact sheet of the configured injection
python inject.py --help            # groups and examples
"""

from dhs.commands.program import run_program
from dhs.config.cli import Job
from dhs.config.root import InjectRoot


def main(job: Job[InjectRoot]) -> int:
    from dhs.commands.inject import inject  # after validation: a wrong override must not wait for torch

    return inject(job)


if __name__ == "__main__":
    run_program("inject", schema=InjectRoot, command=main)
