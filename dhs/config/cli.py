"""From a command line's overrides to validated configurations; one line for each that is wrong.

Nothing heavy is imported here: a wrong override must cost less than a second.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

from dhs.config.load import ConfigError, load_config

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"
Root = TypeVar("Root", bound=BaseModel)


class Job(Generic[Root]):
    """One validated configuration with the overrides it came from."""

    def __init__(self, config: Root, overrides: Sequence[str]) -> None:
        self.config, self.overrides = config, list(overrides)


def compose_job(config_name: str, overrides: Sequence[str], *, schema: type[Root]) -> Root:
    """Compose `conf/<config_name>.yaml` with ``overrides`` and validate; ConfigError when something is wrong."""
    return load_config(compose_yaml(config_name, overrides), schema=schema)


def compose_yaml(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """The composed, unvalidated configuration; Hydra's errors become one line."""
    own = [o for o in overrides if not is_hydras(o)]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        try:
            return compose(config_name, overrides=own)
        except (HydraException, ValueError) as error:  # ValueError: a group given a value that is no name
            chosen = [o for o in own if (CONF_DIR / o.split("=")[0]).is_dir()]
            raise ConfigError(_hydra_line(error, config_name, chosen)) from None


def expand(overrides: Sequence[str], *, multirun: bool) -> list[list[str]]:
    """Overrides of each job of a sweep (one job without ``multirun``)."""
    for override in overrides:
        if "=" not in override and not override.startswith("~"):
            raise ConfigError(f"{override}: not an override; write key=value (see --help)")
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(f"{_first_line(error)}; quote values with commas or spaces: 'key=\"a, b\"'") from None
    swept = [o for o in parsed if o.is_sweep_override()]
    if swept and not multirun:
        raise ConfigError(f"{swept[0].input_line}: a list of values needs --multirun (-m); write [a,b] for one list")
    if not multirun:
        return [list(overrides)]
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    own = _last_of_each_key([o for o in parsed if not is_hydras(o.input_line or "")])
    return [list(job) for batch in BasicSweeper.split_arguments(own, max_batch_size=None) for job in batch]


def is_hydras(override: str) -> bool:
    """Whether ``override`` is about Hydra (its launcher), not about the configuration of a run."""
    return re.match(r"[+~]*hydra[./=]", override) is not None


def _last_of_each_key(overrides: list[Override]) -> list[Override]:
    """A key given twice has its last value, in its first place: `sweeps/source.sh seed=1` has one seed."""
    last: dict[tuple[str, str | None, OverrideType], Override] = {}
    for override in overrides:
        last[override.key_or_group, override.package, override.type] = override
    return list(last.values())


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _hydra_line(error: Exception, config_name: str, chosen_groups: Sequence[str]) -> str:
    text = str(error)
    option = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if option:
        group, value = option.groups()
        allowed = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
        return f"{group} = {value}: must be one of {', '.join(allowed)}{_closest(value, allowed)}"
    override = re.search(r"Could not override '([^']+)'", text)
    if override:
        key = override.group(1)
        parent, _, leaf = key.rpartition(".")
        known = _all_keys(config_name, chosen_groups)
        siblings = list(dict.fromkeys(k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent))
        deeper = [k for k in known if not parent and k.endswith(f".{leaf}")]
        hint = f" (did you mean {' or '.join(deeper)}?)" if 0 < len(deeper) <= 3 else _closest(leaf, siblings)
        return f"{key}: unknown key{hint or ' (known: ' + ', '.join(siblings) + ')'}"
    group = re.search(r"Could not override '?([^\s'.]+)'?\.\s*No match in the defaults list", text)
    if group:
        return f"{group.group(1)}: unknown group{_closest(group.group(1), [p.name for p in CONF_DIR.iterdir()])}"
    return " ".join(text.split())


def _closest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _all_keys(config_name: str, chosen_groups: Sequence[str]) -> list[str]:
    def walk(node: object, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        names = [f"{prefix}.{name}" if prefix else str(name) for name in node]
        return names + [key for name, child in zip(names, node.values(), strict=True) for key in walk(child, name)]

    plain = OmegaConf.to_container(compose_yaml(config_name, chosen_groups))
    groups = [path.name for path in CONF_DIR.iterdir() if path.is_dir()]
    return walk(plain, "") + groups
