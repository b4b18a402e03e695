"""What `evaluate.py` does."""

from collections.abc import Callable

from rich.console import Console

from dhs.commands.ablation import ablation, compare
from dhs.commands.audit import audit
from dhs.commands.console import log_to
from dhs.commands.ensemble import best_checkpoint, ensemble
from dhs.config.cli import Job
from dhs.config.load import ConfigError
from dhs.config.root import EvaluateRoot


def evaluate(job: Job[EvaluateRoot]) -> int:
    """One task; bad input met on the way is one line and exit code 2."""
    log_to(None)
    try:
        return TASKS[job.config.task.name](job.config)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from None


def score(config: EvaluateRoot) -> int:
    """Score the held-out sky with a checkpoint and write the report."""
    from dhs.evaluate.run import evaluate_checkpoint

    assert config.checkpoint is not None
    checkpoint = best_checkpoint(config.checkpoint)
    beside = checkpoint.parent.parent / "evaluate" if checkpoint.parent.name == "checkpoints" else None
    output_dir = config.output_dir or beside or checkpoint.with_name(f"{checkpoint.stem}-evaluate")
    evaluate_checkpoint(
        checkpoint,
        output_dir=output_dir,
        settings=config.evaluate,
        n_test_positives=config.n_test_positives,
        num_workers=config.num_workers,
        console=Console(),
    )
    return 0


TASKS: dict[str, Callable[[EvaluateRoot], int]] = {
    "ablation": ablation,
    "audit": audit,
    "compare": compare,
    "ensemble": ensemble,
    "score": score,
}
