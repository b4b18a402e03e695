"""What `inject.py` does: one function a task, named as the task."""

from collections.abc import Callable

from dhs.commands.bank import bank
from dhs.commands.bank_check import bank_check
from dhs.commands.compact import compact
from dhs.commands.console import log_to
from dhs.commands.cutouts import cutouts
from dhs.commands.degrade import degrade
from dhs.commands.gallery import gallery
from dhs.commands.manifest import manifest
from dhs.commands.one import one
from dhs.commands.selfcheck import selfcheck
from dhs.commands.sheet import sheet
from dhs.commands.stamps import stamps
from dhs.commands.targets import targets
from dhs.commands.validate import validate
from dhs.config.cli import Job
from dhs.config.load import ConfigError
from dhs.config.root import InjectRoot

TASKS: dict[str, Callable[[InjectRoot], int]] = {
    "bank": bank,
    "bank_check": bank_check,
    "compact": compact,
    "cutouts": cutouts,
    "degrade": degrade,
    "gallery": gallery,
    "manifest": manifest,
    "one": one,
    "selfcheck": selfcheck,
    "sheet": sheet,
    "stamps": stamps,
    "targets": targets,
    "validate": validate,
}
"""Every task of `dhs.config.tasks`; a function returns the exit code."""


def inject(job: Job[InjectRoot]) -> int:
    """One task; bad input met on the way is one line and exit code 2."""
    log_to(None)
    try:
        return TASKS[job.config.task.name](job.config)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from None
