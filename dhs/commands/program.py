"""Entry of the three programs: compose, validate, run; one line and exit code 2 for a wrong configuration.

Every override, of every job of a `--multirun`, is composed and validated before anything heavy is imported and
before the first job starts. Hydra itself only serves `--help`, `--cfg` and `--info`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig
from pydantic import BaseModel

from dhs.config.cli import CONF_DIR, Job, compose_job, expand
from dhs.config.load import ConfigError

USAGE_ERROR = 2
_HYDRA_FLAGS = (
    "--help",
    "-h",
    "--hydra-help",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--version",
    "--resolve",
    "--package",
    "-p",
    "--shell-completion",
    "-sc",
)
_MULTIRUN_FLAGS = ("-m", "--multirun")
Root = TypeVar("Root", bound=BaseModel)


def run_program(config_name: str, *, schema: type[Root], command: Callable[[Job[Root]], int]) -> None:
    """Entry of a program: exits with the command's code, 2 for a wrong configuration."""
    from dhs.sweep.stop import stop_with_sweep

    arguments = sys.argv[1:]
    stop_with_sweep()
    if any(argument.split("=")[0] in _HYDRA_FLAGS for argument in arguments):
        _show(config_name)
        return
    try:
        if "--search" in arguments:
            sys.exit(_search(config_name, arguments))
        overrides = [argument for argument in arguments if argument not in _MULTIRUN_FLAGS]
        if len(overrides) < len(arguments):
            from dhs.sweep.run import run_sweep

            sys.exit(run_sweep(config_name, overrides, schema=schema))
        (own,) = expand(overrides, multirun=False)
        sys.exit(command(Job(compose_job(config_name, own, schema=schema), own)))
    except ConfigError as error:
        print(str(error), file=sys.stderr)
        sys.exit(USAGE_ERROR)


def _search(config_name: str, arguments: list[str]) -> int:
    """`train.py --search FILE [overrides]`."""
    from dhs.sweep.search import run_search

    if config_name != "train":
        raise ConfigError(f"--search: is train.py's; {config_name}.py has nothing to search by")
    place = arguments.index("--search")
    file, others = arguments[place + 1 : place + 2], [*arguments[:place], *arguments[place + 2 :]]
    if not file or "=" in file[0] or file[0].startswith("-"):
        raise ConfigError("--search: give a file, such as sweeps/search_quickstart.yaml")
    if any(flag in others for flag in _MULTIRUN_FLAGS):
        raise ConfigError("--search: chooses the runs itself; leave -m out")
    return run_search(Path(file[0]), others)


def _show(config_name: str) -> None:
    """Hydra's own help and composed configurations."""
    import hydra

    def nothing(composed: DictConfig) -> None:
        raise AssertionError("Hydra's flags show, they do not run")

    hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(nothing)()
