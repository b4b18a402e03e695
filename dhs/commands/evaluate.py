"""What `evaluate.py` does."""

from collections.abc import Callable, Sequence

from rich.console import Console

from dhs.commands.ablation import ablation, compare
from dhs.commands.audit import audit
from dhs.commands.console import log_to
from dhs.commands.ensemble import best_checkpoint, ensemble
from dhs.commands.mine import mine
from dhs.config.cli import Job
from dhs.config.evaluation import ExternalTask, ReportTask
from dhs.config.load import ConfigError
from dhs.config.root import EvaluateRoot


def evaluate(job: Job[EvaluateRoot]) -> int:
    """One task; bad input met on the way is one line and exit code 2."""
    log_to(None)
    try:
        return TASKS[job.config.task.name](job.config)
    except (ValueError, FileNotFoundError) as error:
        # a loader's worker sends its whole traceback
        raise ConfigError(str(error).strip().splitlines()[-1]) from None


def score(config: EvaluateRoot) -> int:
    """Score the held-out sky with a checkpoint and write the report; 0."""
    return _evaluate(config, config.evaluate.stages or config.evaluate.after_training)


def everything(config: EvaluateRoot) -> int:
    """Every stage; 0, or the exit code of the gate that failed."""
    return _evaluate(config, config.evaluate.stages)


def gates(config: EvaluateRoot) -> int:
    """The shortcut gates alone; 0, 1 when one fails, 3 when none fails and one cannot be told."""
    return _evaluate(config, ("gates",))


def report(config: EvaluateRoot) -> int:
    """The report from the scores that are there; as `everything`."""
    from dhs.evaluate.run import report_again

    task = config.task
    assert isinstance(task, ReportTask) and task.scores is not None
    made = report_again(
        task.scores,
        settings=config.evaluate,
        stages=config.evaluate.stages,
        console=Console(),
        anchors=config.anchors,
    )
    return made.exit_code


def external(config: EvaluateRoot) -> int:
    """Another finder's scores through the same analysis; as `everything`."""
    from dhs.evaluate.run import evaluate_external

    task = config.task
    assert isinstance(task, ExternalTask) and task.scores is not None
    made = evaluate_external(
        task,
        output_dir=config.output_dir or task.scores.with_name(f"{task.scores.stem}-evaluate"),
        settings=config.evaluate,
        stages=config.evaluate.stages or EXTERNAL_STAGES,
        console=Console(),
    )
    return made.exit_code


EXTERNAL_STAGES = ("heldout", "calibration", "negatives")
"""What scores alone can answer."""


def _evaluate(config: EvaluateRoot, stages: Sequence[str] | None) -> int:
    from dhs.evaluate.run import evaluate_checkpoint

    assert config.checkpoint is not None
    checkpoint = best_checkpoint(config.checkpoint)
    beside = checkpoint.parent.parent / "evaluate" if checkpoint.parent.name == "checkpoints" else None
    made = evaluate_checkpoint(
        checkpoint,
        output_dir=config.output_dir or beside or checkpoint.with_name(f"{checkpoint.stem}-evaluate"),
        settings=config.evaluate,
        stages=stages,
        n_test_positives=config.n_test_positives,
        num_workers=config.num_workers,
        console=Console(),
        anchors=config.anchors,
    )
    return made.exit_code


TASKS: dict[str, Callable[[EvaluateRoot], int]] = {
    "ablation": ablation,
    "all": everything,
    "audit": audit,
    "compare": compare,
    "ensemble": ensemble,
    "gates": gates,
    "mine": mine,
    "external": external,
    "report": report,
    "score": score,
}
