"""From a path or URL to answers: find the files, measure the rows, ask the gates."""

from dataclasses import replace

import numpy as np

from dhs.config.validate import ValidateTask
from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.files import find_files
from dhs.inject.validate.gate import Gate
from dhs.inject.validate.gates import run_gates
from dhs.inject.validate.gather import Progress, gather
from dhs.source.check.read import read_bank_file


def validate_set(task: ValidateTask, *, progress: Progress | None = None) -> tuple[Evidence, list[Gate]]:
    """The evidence and the gates' answers for ``task.input``.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: what is there is no set of stamps.
    """
    evidence = gather(find_files(task.input), task=task, progress=progress)
    if evidence.n_rows == 0:
        raise ValueError(f"task.input = {task.input}: no row of it can be read; {evidence.examples[0].reason}")
    if task.bank is not None:
        evidence = with_clumpiness(evidence)
    return evidence, run_gates(evidence)


def with_clumpiness(e: Evidence) -> Evidence:
    """The bank's clumpiness of every row's source, by its index; NaN for sources that are not of the bank."""
    assert e.task.bank is not None
    values = read_bank_file(e.task.bank).meta["clumpiness"].astype(np.float32)
    if not e.has("source_index"):
        return e
    index = np.nan_to_num(e.rows["source_index"].astype(np.float64), nan=-1).astype(np.int64)
    known = (index >= 0) & (index < len(values))
    if "source_kind" in e.rows and "cosmos" in e.names["source_kind"]:
        known &= e.rows["source_kind"] == e.names["source_kind"].index("cosmos")
    clumpiness = np.where(known, values[np.clip(index, 0, len(values) - 1)], np.nan)
    return replace(e, rows=e.rows | {"clumpiness": clumpiness})
