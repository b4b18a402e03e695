"""Hands jobs to one of Hydra's launchers: `hydra/launcher=basic` (one after another), `joblib`, `submitit_local`,
`submitit_slurm`, or any other plugin. They say where jobs run and how many at once; what a job is, is `SweepTask`.
"""

import re
from collections.abc import Sequence
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dhs.config.cli import CONF_DIR
from dhs.config.load import ConfigError
from dhs.sweep.job import SweepTask
from dhs.sweep.plan import SweepPlan

INSTALL = "pip install hydra-joblib-launcher hydra-submitit-launcher"


def require_launcher(plan: SweepPlan) -> tuple[str, bool]:
    """Name of the launcher that the overrides choose, and whether its jobs wait in a queue.

    Raises:
        ConfigError: it is not installed, or one of its settings is wrong.
    """
    for override in plan.hydra_overrides:
        if override.lstrip("+").startswith("hydra/sweeper"):
            raise ConfigError(
                f"{override}: jobs are expanded by train.py -m itself; a search is `train.py --search FILE`"
            )
    config = _composed(plan, plan.hydra_overrides)
    name: str = config.hydra.runtime.choices["hydra/launcher"]
    return name, "Slurm" in str(config.hydra.launcher._target_)


def launch(plan: SweepPlan, task: SweepTask) -> None:
    """Run ``task.jobs``, and return when the launcher has; `hydra.sweeper.max_batch_size` of them at a time."""
    config = _composed(plan, [*plan.hydra_overrides, f"hydra.sweep.dir={task.folder!r}"])
    size: int = config.hydra.sweeper.max_batch_size or len(task.jobs)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3", job_name=plan.program):
        hydra: Any = GlobalHydra.instance().hydra
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config)),
            task_function=task,
            config=config,
        )
        for first in range(0, len(task.jobs), size):
            jobs: Sequence[Sequence[str]] = [list(job.overrides) for job in task.jobs[first : first + size]]
            for job in launcher.launch(jobs, initial_job_idx=first):
                _ = job.return_value  # a launcher's own failure is raised here


def _composed(plan: SweepPlan, overrides: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3", job_name=plan.program):
        hydra: Any = GlobalHydra.instance().hydra
        try:
            config: DictConfig = hydra.compose_config(
                config_name=plan.program, overrides=list(overrides), run_mode=RunMode.MULTIRUN, from_shell=False
            )
            OmegaConf.to_container(config.hydra.launcher, resolve=False, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(_line(str(error), overrides)) from None
    return config


def _line(error: str, overrides: Sequence[str]) -> str:
    missing = re.search(
        r"Could not find 'hydra/launcher/([^']+)'\s*Available options in 'hydra/launcher':\s*([\w\s]+)", error
    )
    if missing:
        known = ", ".join(missing.group(2).split("Config search path")[0].split())
        return f"hydra/launcher = {missing.group(1)}: must be one of {known}; others are installed with: {INSTALL}"
    key = re.search(r"Could not override '(hydra[^']+)'", error)
    if key:
        return f"{key.group(1)}: unknown key (see `python train.py hydra/launcher=... --cfg hydra -p hydra.launcher`)"
    return f"{' '.join(overrides)}: {' '.join(error.split())}"
