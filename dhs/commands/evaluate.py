"""What `evaluate.py` does."""

from rich.console import Console

from dhs.commands.console import log_to
from dhs.config.cli import Job
from dhs.config.load import ConfigError
from dhs.config.root import EvaluateRoot


def evaluate(job: Job[EvaluateRoot]) -> int:
    """`evaluate.py`: score the held-out sky with a checkpoint and write the report."""
    from dhs.evaluate.run import evaluate_checkpoint

    log_to(None)
    config = job.config
    checkpoint = config.checkpoint
    if checkpoint.is_dir():
        checkpoint = checkpoint / "checkpoints" / "best.ckpt"
        if not checkpoint.is_file():
            raise ConfigError(f"checkpoint = {config.checkpoint}: the run has no checkpoints/best.ckpt yet")
    output_dir = config.output_dir or checkpoint.parent.parent / "evaluate"
    evaluate_checkpoint(
        checkpoint,
        output_dir=output_dir,
        settings=config.evaluate,
        n_test_positives=config.n_test_positives,
        num_workers=config.num_workers,
        console=Console(),
    )
    return 0
