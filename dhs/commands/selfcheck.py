"""`inject.py task=selfcheck`: the physics of the user's configuration, in a table, a JSON and a page of pictures."""

import logging
import time

from rich.console import Console

from dhs.commands.bank import build_bank
from dhs.config.root import InjectRoot
from dhs.config.run_dir import versions
from dhs.config.source import CosmosSource
from dhs.config.tasks import SelfcheckTask
from dhs.progress import DrawingProgress

log = logging.getLogger("dhs")

TABLE_WIDTH = 140
"""Columns of the table at least: a row is then a line."""


def selfcheck(config: InjectRoot) -> int:
    """0: everything passed; 1: a check failed; 3: none failed, but something could not be checked."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small batches: on a busy machine two threads mostly wait for each other
    try:
        return _selfcheck(config)
    finally:
        torch.set_num_threads(threads)


def _selfcheck(config: InjectRoot) -> int:
    from dhs.display import figure_png, write_atomically
    from dhs.inject.selfcheck.figures import DPI, figures
    from dhs.inject.selfcheck.physics import load_physics
    from dhs.inject.selfcheck.report import render
    from dhs.inject.selfcheck.run import as_json, console_table, exit_code, run_checks, verdict

    task = config.task
    assert isinstance(task, SelfcheckTask)
    started = time.monotonic()
    if isinstance(config.source, CosmosSource) and config.source.bank_is_absent:
        build_bank(config.source)
    physics = load_physics(
        config,
        max_galaxies=task.max_galaxies,
        n_stamps=task.n_stamps,
        n_reference=task.n_reference,
        progress=DrawingProgress(),
    )
    rows = run_checks(physics, log=log.info)
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(console_table(rows))
    run_info = {"config": config.model_dump(mode="json"), "software": versions()}
    write_atomically(task.output_dir / "selfcheck.json", as_json(rows, run_info=run_info).encode())
    log.info("drawing the pictures")
    pictures = {name: (figure_png(figure, dpi=DPI), caption) for name, (figure, caption) in figures(physics).items()}
    document = render(rows, pictures=pictures, run_info=run_info)
    write_atomically(task.output_dir / "selfcheck.html", document.encode("ascii"))
    for line in verdict(rows):
        log.info("%s", line)
    log.info("wrote %s/selfcheck.{html,json} in %.0f s", task.output_dir, time.monotonic() - started)
    return exit_code(rows)
