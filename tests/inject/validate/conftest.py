"""One set of stamps for all tests of this folder, and the answers of the gates to a set."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.config.validate import ValidateTask
from dhs.inject.validate.gate import Gate
from dhs.inject.validate.run import validate_set
from tests.inject.validate.sets import StampRows, make_rows


@pytest.fixture(scope="session")
def rows(small_config) -> StampRows:
    """About 210 injections and 400 controls; every host one arc."""
    return make_rows(small_config("source.n_sources=100"))


@pytest.fixture(scope="session")
def validate_task() -> Callable[..., ValidateTask]:
    """``validate_task(path, "task.pixel_rows=10")``: the task as the command would have it, in one process."""

    def make(path: Path | str, *overrides: str) -> ValidateTask:
        given = ["task=validate", f"task.input={path}", "task.num_processes=1", *overrides]
        task = compose_job("inject", given, schema=InjectRoot).task
        assert isinstance(task, ValidateTask)
        return task

    return make


@pytest.fixture(scope="session")
def ask(validate_task) -> Callable[..., dict[str, Gate]]:
    """``ask(path)``: the gates' answers by key."""

    def answers(path: Path | str, *overrides: str) -> dict[str, Gate]:
        _, gates = validate_set(validate_task(path, *overrides))
        return {gate.key: gate for gate in gates}

    return answers
