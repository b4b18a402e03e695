"""Optuna, thinly: a study in a journal file that survives a kill at any time, and its parameters as overrides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dhs.config.load import ConfigError
from dhs.config.search import SearchConfig

if TYPE_CHECKING:
    import optuna

STARTUP_TRIALS = 5
"""Drawn at random before the TPE sampler models anything: half of Optuna's own, as a search here has a dozen trials."""


def open_study(search: SearchConfig, *, folder: Path, overrides: list[str]) -> optuna.Study:
    """The study in ``folder``, new or as it was left.

    Raises:
        ConfigError: Optuna is not installed, or the study in ``folder`` is of another search.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise ConfigError("--search: needs Optuna; pip install 'optuna>=5,<6'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = folder / "journal.log"
    _mend(journal)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(storage=storage, study_name=search.name, direction="maximize", load_if_exists=True)
    study.pruner = _pruner(search)
    n_begun = len(study.get_trials(deepcopy=False))
    seed = search.seed + n_begun  # with one seed a search that goes on would draw its first trials again
    study.sampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if search.sampler == "random"
        else optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    )
    _require_same_search(study, search, overrides=overrides, folder=folder)
    return study


def distributions(search: SearchConfig) -> dict[str, optuna.distributions.BaseDistribution]:
    """The search's space as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    made: dict[str, optuna.distributions.BaseDistribution] = {}
    for key, rule in search.space.items():
        if rule.choices is not None:
            made[key] = CategoricalDistribution(rule.choices)
        elif rule.is_whole:
            made[key] = IntDistribution(
                int(rule.limits[0]), int(rule.limits[1]), log=rule.log, step=int(rule.step or 1)
            )
        else:
            made[key] = FloatDistribution(*rule.limits, log=rule.log, step=rule.step)
    return made


def as_overrides(parameters: dict[str, Any]) -> list[str]:
    """Six digits of a float: what is typed again is the same run."""
    return [
        f"{key}={value:.6g}"
        if isinstance(value, float)
        else f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in parameters.items()
    ]


def corners(search: SearchConfig) -> list[list[str]]:
    """Every extreme value alone, and all low and all high ones together: what is wrong with a space shows in these."""
    ends = {key: list(rule.ends) for key, rule in search.space.items()}
    alone = [{key: value} for key, values in ends.items() for value in values]
    together = [{key: values[end] for key, values in ends.items()} for end in (0, -1)]
    return [as_overrides(parameters) for parameters in [*alone, *together]]


def _pruner(search: SearchConfig) -> optuna.pruners.BasePruner:
    import optuna

    if search.pruner is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(
        n_startup_trials=search.pruner.n_startup_trials, n_warmup_steps=search.pruner.n_warmup_epochs
    )


def _require_same_search(study: optuna.Study, search: SearchConfig, *, overrides: list[str], folder: Path) -> None:
    plain = search.model_dump(mode="json", include={"space", "sampler"}) | {"overrides": overrides}
    told = json.dumps(plain, sort_keys=True)
    if study.user_attrs.get("search", told) != told:
        raise ConfigError(
            f"name = {search.name}: {folder} holds a search with another space or other overrides; give another name"
        )
    study.set_user_attr("search", told)


def _mend(journal: Path) -> None:
    """What a kill in the middle of a write leaves: half a line, and a lock. (The search's own lock is ours by now.)"""
    if journal.is_file():
        data = journal.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with journal.open("rb+") as file:
                file.truncate(len(whole))
    for left in journal.parent.glob("journal.log.lock*"):
        left.unlink()
