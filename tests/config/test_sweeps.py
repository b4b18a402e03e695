"""Every file in sweeps/ names jobs that compose and are valid."""

import itertools
import re
import shlex

import pytest
import yaml

from dhs.config.cli import CONF_DIR, compose_job, expand
from dhs.config.root import TrainConfig

SWEEPS = CONF_DIR.parent / "sweeps"


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.sh")), ids=lambda path: path.name)
def test_every_job_of_a_shell_sweep_is_valid(path):
    (line,) = re.findall(r"^exec python train\.py -m (.*)$", path.read_text(), flags=re.MULTILINE)
    overrides = [word for word in shlex.split(line) if word != "$@"]
    jobs = expand(overrides, multirun=True)
    assert len(jobs) > 1
    for job in jobs:
        compose_job("train", job, schema=TrainConfig)


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_corners_of_a_wandb_sweep_are_valid(path):
    sweep = yaml.safe_load(path.read_text())
    assert "${args_no_hyphens}" in sweep["command"]
    choices = []
    for key, rule in sweep["parameters"].items():
        values = rule.get("values") or [rule[name] for name in ("min", "max", "value") if name in rule]
        choices.append([f"{key}={value}" for value in values])
    for overrides in itertools.product(*choices):
        compose_job("train", overrides, schema=TrainConfig)
