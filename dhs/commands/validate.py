"""`inject.py task=validate`: is a set of stamps fit to train on? Tables, validate.json, validate.html."""

import logging
import time
from pathlib import Path

from rich.console import Console

from dhs.config.root import InjectRoot
from dhs.config.run_dir import versions
from dhs.config.validate import ValidateTask
from dhs.progress import CountingProgress

log = logging.getLogger("dhs")


def validate(config: InjectRoot) -> int:
    """0: every gate that applies passed; 1: a gate failed; 3: none failed, but something could not be checked."""
    from dhs.config.run_dir import write_text
    from dhs.inject.validate.gate import exit_code
    from dhs.inject.validate.report import as_json, print_report, render_page
    from dhs.inject.validate.run import validate_set

    task = config.task
    assert isinstance(task, ValidateTask)
    started = time.monotonic()
    evidence, gates = validate_set(task, progress=CountingProgress("measuring", "rows"))
    measured_s = time.monotonic() - started
    log.info("%d rows in %.1f s: %.0f rows/s", evidence.n_rows, measured_s, evidence.n_rows / measured_s)
    run_info = {"task": task.model_dump(mode="json"), "software": versions()}
    folder = task.output_dir or Path(f"{task.input.rstrip('/').rsplit('/', 1)[-1]}_validate")
    folder.mkdir(parents=True, exist_ok=True)
    print_report(evidence, gates, Console())
    write_text(folder / "validate.json", as_json(evidence, gates, run_info=run_info))
    write_text(folder / "validate.html", render_page(evidence, gates, run_info=run_info))
    log.info("wrote %s and %s", folder / "validate.html", folder / "validate.json")
    return exit_code(gates)
