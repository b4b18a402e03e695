"""A sweep is planned in seconds, and what is wrong with it is known before the first job."""

import re
import time

import pytest

from dhs.config.cli import compose_job, expand
from dhs.config.load import ConfigError
from dhs.config.many import compose_jobs
from dhs.config.root import TrainConfig
from dhs.config.run_dir import RunRecord, run_directory
from dhs.sweep.plan import plan_sweep


def test_a_bad_override_in_job_40_of_100_is_one_line_within_seconds(tmp_path):
    rates = ["1e-3"] * 100
    rates[39] = "-1"
    values = ",".join(f"{float(rate) + i * 1e-6:g}" for i, rate in enumerate(rates))
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        plan_sweep("train", [f"optim.lr={values}", f"paths.runs_dir={tmp_path}"], schema=TrainConfig)
    assert time.process_time() - started < 10  # 2 s here
    assert re.fullmatch(
        r"job 40 of 100 \(optim\.lr=(\S+)\): optim\.lr = \1\d*: must be greater than 0", str(caught.value)
    )
    assert list(tmp_path.iterdir()) == []


def test_jobs_composed_together_are_those_composed_alone(tmp_path):
    overrides = [
        "source=sersic,mixture",
        "experiment=quickstart,gen2_sersic",
        "optim.lr=1e-3,2e-3",
        "lens.theta_e_arcsec={low: 0.7, high: 2.0},{low: 1.0, high: 2.0}",
        "~model.metadata_hidden",
        "+model.metadata_hidden=8",
    ]
    jobs = expand(overrides, multirun=True)
    assert len(jobs) == 16
    configs, faults = compose_jobs("train", jobs, schema=TrainConfig)
    assert faults == {}
    assert configs == [compose_job("train", job, schema=TrainConfig) for job in jobs]


@pytest.mark.parametrize("override", ["trainer.lrr=1", "loss=foo", "psf.beta=0.5", "modell=x", "~nothing", "sky=store"])
def test_a_fault_reads_as_it_does_for_a_single_job(override):
    with pytest.raises(ConfigError) as alone:
        compose_job("train", [override], schema=TrainConfig)
    _, faults = compose_jobs("train", [["seed=3"], [override]], schema=TrainConfig)
    assert str(faults[1]) == str(alone.value)


def test_many_faults_are_counted_not_listed():
    with pytest.raises(ConfigError) as caught:
        plan_sweep("train", ["seed=range(0,15)", "trainer.max_epochs=0"], schema=TrainConfig)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "and 5 more; 15 of 15 jobs are wrong, none was started"


def test_two_jobs_that_are_one_run_are_refused():
    with pytest.raises(
        ConfigError, match=r"jobs 1 \(trainer\.num_workers=1\) and 2 .*: both are the run runs/quickstart-"
    ):
        plan_sweep("train", ["trainer.num_workers=1,2"], schema=TrainConfig)


def test_what_is_typed_behind_a_script_replaces_what_the_script_says():
    plan = plan_sweep("train", ["seed=1,2,3", "source=sersic,clumpy", "seed=7"], schema=TrainConfig)
    assert [job.overrides for job in plan.jobs] == [("seed=7", "source=sersic"), ("seed=7", "source=clumpy")]


def test_a_sweep_keeps_its_name_and_skips_what_is_finished(tmp_path):
    given = ["seed=1,2", f"paths.runs_dir={tmp_path / 'night'}"]
    first = plan_sweep("train", given, schema=TrainConfig)
    config = compose_job("train", [*first.jobs[0].overrides], schema=TrainConfig)
    run_dir = run_directory(config)
    run_dir.mkdir(parents=True)
    RunRecord(run_dir).update(state="done")
    again = plan_sweep("train", given, schema=TrainConfig)
    assert first.name == again.name == "night"
    assert [job.finished for job in again.jobs] == [True, False]
    assert [job.finished for job in plan_sweep("train", [*given, "resume=never"], schema=TrainConfig).jobs] == [
        False
    ] * 2
    RunRecord(run_dir).update(state="failed")
    assert [job.finished for job in plan_sweep("train", given, schema=TrainConfig).jobs] == [False, False]


def test_sweeps_in_the_common_folder_are_told_apart():
    names = {plan_sweep("train", [each], schema=TrainConfig).name for each in ("seed=1,2", "seed=1,2", "seed=2,3")}
    assert len(names) == 2
