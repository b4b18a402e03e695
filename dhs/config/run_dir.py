"""Run directories: named by a hash of what decides the result, holding everything needed to say what was run."""

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from dhs.config.root import TrainConfig

RESULT_FREE_KEYS = (
    "resume",
    "run_dir",
    "paths",
    "logger",
    "renderer.resident_sky",
    "trainer.num_workers",
    "trainer.devices",
    "trainer.checkpoint_every_steps",
    "trainer.keep_last_n",
    "sky.num_processes",
    "source.build.num_processes",
    "evaluate",
)
"""Keys that change neither weights nor stamps: a run resumes with other values of them. (Another number of devices
sums the same gradient in another order: the weights agree to rounding, see docs/determinism.md.)"""

SWEEP_VARIABLE = "DHS_SWEEP"
"""Environment variable with the name of the sweep that a run belongs to; `-m` sets it, and a user may."""

_PACKAGES = ("dark-halo-scope", "torch", "pytorch-lightning", "timm", "numpy", "galsim", "lenstronomy", "hydra-core")


def config_hash(config: BaseModel, *, ignore: Sequence[str] = RESULT_FREE_KEYS) -> str:
    """Eight hex digits of SHA-256 over the resolved configuration without ``ignore``."""
    plain = config.model_dump(mode="json")
    for key in ignore:
        _remove(plain, key.split("."))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def differences(one: BaseModel, other: BaseModel) -> dict[str, tuple[Any, Any]]:
    """Dotted keys that decide a result and have different values, with both (None where one has no such key)."""
    left, right = (_flat(config.model_dump(mode="json")) for config in (one, other))
    free = RESULT_FREE_KEYS
    return {
        key: (left.get(key), right.get(key))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key) and not any(key == name or key.startswith(f"{name}.") for name in free)
    }


def run_directory(config: TrainConfig) -> Path:
    """Where this configuration lives: the same command finds its unfinished run again."""
    return config.run_dir or config.paths.runs_dir / f"{config.name}-{config_hash(config)}"


def set_aside(run_dir: Path) -> Path:
    """Rename an existing run directory to the first free ``<name>.N``; nothing is overwritten."""
    number = 1
    while (target := run_dir.with_name(f"{run_dir.name}.{number}")).exists():
        number += 1
    run_dir.rename(target)
    return target


class RunRecord:
    """Provenance and `status.json` of one run directory."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    @property
    def status(self) -> dict[str, Any]:
        """Contents of status.json, or {} where there is none."""
        path = self.run_dir / "status.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    @property
    def sweep(self) -> str | None:
        """Name of the sweep that the run belongs to, the same for all its runs; None for a run by itself."""
        name: str | None = self.status.get("sweep")
        return name

    def start(self, config: BaseModel, *, overrides: Sequence[str], config_hash: str) -> None:
        """Write config.yaml, overrides.yaml, versions.json; a resumed run adds its own numbered overrides."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        write_text(self.run_dir / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        overrides_path = self.run_dir / "overrides.yaml"
        attempt = 0
        while overrides_path.exists():
            attempt += 1
            overrides_path = self.run_dir / f"overrides.resume{attempt}.yaml"
        write_text(overrides_path, yaml.safe_dump(list(overrides)))
        write_text(self.run_dir / "versions.json", json.dumps(versions(), indent=2))
        self.update(
            state="running",
            config_hash=config_hash,
            started=_now(),
            attempt=attempt + 1,
            host=platform.node(),
            pid=os.getpid(),
            error=None,
            sweep=os.environ.get(SWEEP_VARIABLE) or self.sweep,
        )

    def update(self, **fields: Any) -> None:
        """Merge ``fields`` into status.json, atomically."""
        write_text(self.run_dir / "status.json", json.dumps(self.status | fields | {"updated": _now()}, indent=2))


def versions() -> dict[str, Any]:
    """Python, machine, packages and the state of the git checkout."""
    installed: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = None
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": installed,
        "git": git_state(),
    }


def git_state() -> dict[str, Any] | None:
    """Commit and whether tracked files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def write_text(path: Path, text: str) -> None:
    """Atomic write: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _flat(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _remove(plain: dict[str, Any], path: list[str]) -> None:
    for part in path[:-1]:
        plain = plain.get(part, {})
    plain.pop(path[-1], None)
