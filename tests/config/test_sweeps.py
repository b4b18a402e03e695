"""Every file in sweeps/ names jobs that compose and are valid, as a shell and as W&B's agent would call them."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dhs.config.cli import CONF_DIR, expand
from dhs.config.many import compose_jobs
from dhs.config.root import TrainConfig
from dhs.config.run_dir import config_hash
from dhs.sweep.outcome import MONITOR

SWEEPS = CONF_DIR.parent / "sweeps"
RECORDER = f"""#!{sys.executable}
import json, sys
print(json.dumps(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """``typed(script, *arguments)``: what the script's `python` is given."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "python").write_text(RECORDER)
    (folder / "python").chmod(0o755)

    def run(script: Path, *arguments: str) -> list[str]:
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
        shell = ["bash", str(script), *arguments]
        result = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True, cwd=folder)
        return json.loads(result.stdout)

    return run


def jobs_of(arguments: list[str], *, bank: Path) -> list[TrainConfig]:
    assert arguments[:2] == ["train.py", "-m"]
    bank.touch()
    example = [f"source.catalog_dir={bank.parent}"]
    jobs = expand([*arguments[2:], f"paths.cosmos_bank={bank}"], multirun=True)
    jobs = [[*job, *(example if "source=cosmos_example" in job else [])] for job in jobs]
    configs, faults = compose_jobs("train", jobs, schema=TrainConfig)
    assert faults == {}
    return configs


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.sh")), ids=lambda path: path.name)
def test_a_shell_sweep_is_of_valid_runs_all_different_three_seeds_each(path, typed, tmp_path):
    configs = jobs_of(typed(path), bank=tmp_path / "bank.h5")
    assert {config.seed for config in configs} == {1, 2, 3}
    assert len({config_hash(config) for config in configs}) == len(configs)
    arms = {config_hash(config.model_copy(update={"seed": 0})) for config in configs}
    assert len(arms) > 1 and len(configs) == 3 * len(arms)
    assert {config.paths.runs_dir for config in configs} == {Path("runs") / path.stem}


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.sh")), ids=lambda path: path.name)
def test_a_shell_sweep_passes_on_what_is_typed_behind_it(path, typed, tmp_path):
    configs = jobs_of(typed(path, "debug=fast", "optim.lr=0.1, 0.2"), bank=tmp_path / "bank.h5")
    assert {config.optim.lr for config in configs} == {0.1, 0.2}
    assert {config.name for config in configs} == {"debug"}


def agent_calls(sweep: dict[str, Any]) -> list[list[str]]:
    """The arguments of train.py for every corner of the space, written by W&B's own agent code."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils", reason="extra: wandb")
    assert sweep["command"] == ["${env}", "python", "${program}", "${args_no_hyphens}"]
    choices = []
    for key, rule in sweep["parameters"].items():
        values = rule.get("values") or [rule[name] for name in ("min", "max", "value") if name in rule]
        choices.append([(key, {"value": value}) for value in values])
    corners = [dict(corner) for corner in itertools.product(*choices)]
    return [utils.create_sweep_command_args({"args": corner})["args_no_hyphens"] for corner in corners]


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("wandb*.yaml")), ids=lambda path: path.name)
def test_what_an_agent_of_a_wandb_sweep_calls_is_valid(path, tmp_path, monkeypatch):
    monkeypatch.setenv("DHS_SHARED_DATA", str(tmp_path))
    (tmp_path / "cosmos_23.5_example").mkdir()
    sweep = yaml.safe_load(path.read_text())
    calls = agent_calls(sweep)
    configs, faults = compose_jobs("train", calls, schema=TrainConfig)
    assert faults == {}
    assert {config.logger.name for config in configs} == {"wandb"}
    assert len({config_hash(config) for config in configs}) == len(calls)
    assert (CONF_DIR.parent / sweep["program"]).is_file()
    assert sweep["metric"] == {"name": MONITOR, "goal": "maximize"}
