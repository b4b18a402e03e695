"""Configurations of the jobs of a sweep: hundreds in seconds.

Composing one takes Hydra 0.1 s, nearly all of it for reading and merging the files that the groups name. Jobs that
choose the same groups share that: their other overrides are applied, by Hydra's own code, to a copy.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from pydantic import BaseModel

from dhs.config.cli import CONF_DIR, compose_job, compose_yaml
from dhs.config.load import ConfigError, load_config

Root = TypeVar("Root", bound=BaseModel)


def compose_jobs(
    config_name: str, jobs: Sequence[Sequence[str]], *, schema: type[Root]
) -> tuple[list[Root], dict[int, ConfigError]]:
    """As `compose_job` of each of ``jobs``: the configurations of the valid ones, and by number what is wrong."""
    shared: dict[tuple[str, ...], DictConfig] = {}
    configs: list[Root] = []
    faults: dict[int, ConfigError] = {}
    for number, job in enumerate(jobs):
        try:
            configs.append(load_config(_composed(config_name, job, shared), schema=schema))
        except ConfigError as error:
            faults[number] = error
        except HydraException:  # said better by the long way
            try:
                configs.append(compose_job(config_name, job, schema=schema))
            except ConfigError as error:
                faults[number] = error
    return configs, faults


def _composed(config_name: str, job: Sequence[str], shared: dict[tuple[str, ...], DictConfig]) -> DictConfig:
    parsed: list[Override] = OverridesParser.create().parse_overrides(list(job))
    choices = tuple(str(each.input_line) for each in parsed if _chooses_a_group(each))
    if choices not in shared:
        shared[choices] = compose_yaml(config_name, choices)
    config = copy.deepcopy(shared[choices])
    ConfigLoaderImpl._apply_overrides_to_config([each for each in parsed if not _chooses_a_group(each)], config)
    return config


def _chooses_a_group(override: Override) -> bool:
    """Whether the files that are read depend on ``override``: Hydra's own rule."""
    if override.is_hydra_override():
        return False
    return (CONF_DIR / override.key_or_group).is_dir() and not isinstance(override.value(), dict)
