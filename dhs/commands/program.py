"""Entry of the three programs: compose, validate, run; one line and exit code 2 for a wrong configuration.

Every override, of every job of a `--multirun`, is composed and validated before anything heavy is imported and
before the first job starts. Hydra itself only serves `--help`, `--cfg` and `--info`.
"""

import sys
from collections.abc import Callable
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
    overrides = [argument for argument in arguments if argument not in _MULTIRUN_FLAGS]
    try:
        if len(overrides) < len(arguments):
            from dhs.sweep.run import run_sweep

            sys.exit(run_sweep(config_name, overrides, schema=schema))
        (own,) = expand(overrides, multirun=False)
        sys.exit(command(Job(compose_job(config_name, own, schema=schema), own)))
    except ConfigError as error:
        print(str(error), file=sys.stderr)
        sys.exit(USAGE_ERROR)


def _show(config_name: str) -> None:
    """Hydra's own help and composed configurations."""
    import hydra

    def nothing(composed: DictConfig) -> None:
        raise AssertionError("Hydra's flags show, they do not run")

    hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(nothing)()
