"""`evaluate.py task=ablation` and `task=compare`: is one recipe better than another, and by how much?"""

import logging
from pathlib import Path

from rich.console import Console

from dhs.config.comparison import AblationTask, CompareTask
from dhs.config.root import EvaluateRoot

log = logging.getLogger("dhs")

NOTES = (
    "Intervals are 95%. That of an arm or a difference of arms has two variances, added: the test set's (bootstrap by "
    "galaxy, the same galaxies for all runs) and the trainings' (seeds), Student's t with Welch-Satterthwaite freedom.",
    "p-values are adjusted for the number of differences of one statistic (Holm). Statistics are not adjusted for one "
    "another: choose the one that decides before you look.",
    "Thresholds come from the validation sky of the test set; their own error is in 'TPR at FPR', not in "
    "'recall (calibrated)'.",
    "Held-out injections, not real lenses: a recipe may win here and lose on the sky.",
)


def ablation(config: EvaluateRoot) -> int:
    """Score a sweep's runs on common test sets and compare its arms; 0."""
    from dhs.evaluate.ablation import distinct_test_sets, same_stamps, score_sweep
    from dhs.evaluate.comparison_page import print_comparison, write_comparison
    from dhs.evaluate.comparison_table import compare_arms
    from dhs.evaluate.sweep_runs import read_sweep

    task = config.task
    assert isinstance(task, AblationTask) and task.sweep is not None
    sweep = read_sweep(task.sweep)
    for name, state in sweep.unfinished.items():
        log.warning("left out: %s is %s", name, state)
    arms = {arm: sweep.members(arm) for arm in sweep.arms}
    log.info("%d runs in %d arms: %s", len(sweep.runs), len(arms), "; ".join(f"{a} x{len(m)}" for a, m in arms.items()))
    output = task.output or task.sweep / "ablation"
    test_sets = distinct_test_sets(sweep, task=task)
    scored = score_sweep(
        sweep, test_sets=test_sets, output=output, settings=config.evaluate, num_workers=config.num_workers
    )
    comparisons = []
    for one in scored:
        same_stamps(one.test, [run.path.name for run in sweep.runs])
        comparisons += compare_arms(
            arms,
            test=one.test,
            validation=one.validation,
            test_set=one.test_set.label,
            baseline=task.baseline,
            fprs=_headline_first(config),
            resamples=task.resamples,
            seed=task.test_seed,
        )
    left_out = [f"Left out: {name} ({state})." for name, state in sweep.unfinished.items()]
    print_comparison(comparisons, Console())
    write_comparison(comparisons, output=output, name="ablation", title="Ablation", notes=[*NOTES, *left_out])
    log.info("wrote %s/ablation.{html,md,csv,json,png}", output)
    return 0


def compare(config: EvaluateRoot) -> int:
    """Compare the score tables of some runs; 0."""
    from dhs.evaluate.ablation import same_stamps
    from dhs.evaluate.comparison_page import print_comparison, write_comparison
    from dhs.evaluate.comparison_table import compare_arms
    from dhs.evaluate.table import read_scores

    task = config.task
    assert isinstance(task, CompareTask)
    labels = list(task.labels) or [_name(path) for path in task.runs]
    test = [read_scores(_scores_dir(path) / "test.parquet") for path in task.runs]
    validation = [read_scores(_scores_dir(path) / "val.parquet") for path in task.runs]
    same_stamps(test, labels)
    arms = {label: [i for i, own in enumerate(labels) if own == label] for label in dict.fromkeys(labels)}
    if len(arms) < 2:
        raise ValueError(f"task.labels: all runs are called {labels[0]!r}; a comparison needs two arms")
    comparisons = compare_arms(
        arms,
        test=test,
        validation=validation,
        test_set="test set of the runs",
        baseline=task.baseline,
        fprs=_headline_first(config),
        resamples=task.resamples,
        seed=0,
    )
    print_comparison(comparisons, Console())
    write_comparison(comparisons, output=task.output, name="compare", title="Comparison", notes=NOTES)
    log.info("wrote %s/compare.{html,md,csv,json,png}", task.output)
    return 0


def _headline_first(config: EvaluateRoot) -> tuple[float, ...]:
    """The report's rates, that of its by-bin figures first."""
    settings = config.evaluate
    return (settings.bin_fpr, *(fpr for fpr in settings.fprs if fpr != settings.bin_fpr))


def _scores_dir(path: Path) -> Path:
    return (path / "evaluate" if (path / "evaluate").is_dir() else path) / "scores"


def _name(path: Path) -> str:
    return path.parent.name if path.name == "evaluate" else path.name
