"""`task=targets` brings its sky along, and a wrong override of it is one line without waiting."""

import re
import subprocess
import sys

import pytest

from dhs.config.cli import CONF_DIR, compose_job
from dhs.config.load import ConfigError
from dhs.config.root import InjectRoot, TrainConfig
from dhs.constants import BAD_MASKBITS

TARGETS = ["task=targets", "sky.sweep_dir=somewhere"]

WRONG = {
    "task.lrg.cut=v6": r"task\.lrg\.cut = 'v6': must be 'v1', 'v2', 'v3', 'v4' or 'v5'",
    "task.lrg.cutt=v3": r"task\.lrg\.cutt: unknown key \(did you mean cut\?\)",
    "task.quality.dec_deg=[40,30]": r"task\.quality\.dec_deg = \[40\.0, 30\.0\]: must be ascending",
    "task.quality.min_nobs=[1,1]": r"task\.quality\.min_nobs\.2: must be given",
    "task.exclusion.radius_arcsec=-1": r"task\.exclusion\.radius_arcsec = -1: must be greater than 0",
    "task.negatives.match.variables=[colour]": r"task\.negatives\.match\.variables\.0 = 'colour': must be 'psfdepth_g",
    "task.negatives.match.coverage=0": r"task\.negatives\.match\.coverage = 0: must be greater than 0",
    "task.negatives.rules=[{name: a, kind: ring}]": r"task\.negatives\.rules\.0\.rule a has no threshold",
    "task.negatives.rules=[{name: a, kind: lrg, sersic_max: 1}]": r"task\.negatives\.rules\.0\.kind = 'lrg': must be",
    "task.negatives.rules=[{name: a, kind: ring, sersic_max: 1},{name: a, kind: ring, sersic_max: 2}]": (
        r"task\.negatives\.rules: names must differ, got a, a"
    ),
    "task.negatives.morphology=[{path: a.csv, rules: []}]": r"task\.negatives\.morphology\.0\.rules = \[\]: must be",
    "sky=mock": r"sky\.sweep_dir: unknown key|task = targets: needs sky=dr10",
    "sky.split.train=0.9": r"sky\.split\.train \+ val \+ test = 1\.2: must be 1",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_override_of_the_selection_is_one_clear_line(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_job("inject", [*TARGETS, override], schema=InjectRoot)
    assert len(str(caught.value).splitlines()) == 1
    assert re.match(WRONG[override], str(caught.value)), str(caught.value)


def test_the_task_chooses_its_sky_and_asks_for_the_folder() -> None:
    config = compose_job("inject", TARGETS, schema=InjectRoot)
    assert (config.sky.name, config.sky.sweep_dir) == ("dr10", "somewhere")
    with pytest.raises(ConfigError, match=r"sky\.sweep_dir = \?\?\?: must be given"):
        compose_job("inject", ["task=targets"], schema=InjectRoot)
    with pytest.raises(ConfigError, match=r"task = targets: needs sky=dr10 \(sky\.sweep_dir=\.\.\.\), not mock"):
        compose_job("inject", ["task=targets", "sky=mock"], schema=InjectRoot)


def test_a_catalogue_without_pixels_is_no_sky_to_train_on() -> None:
    for program, schema, task in (("train", TrainConfig, []), ("inject", InjectRoot, ["task=sheet"])):
        with pytest.raises(ConfigError, match=r"sky = dr10: a catalogue without pixels; .*task=targets"):
            compose_job(program, [*task, "sky=dr10", "sky.sweep_dir=x"], schema=schema)


def test_the_defaults_are_those_of_the_survey() -> None:
    task = compose_job("inject", TARGETS, schema=InjectRoot).task
    assert task.name == "targets"
    assert (task.lrg.cut, task.lrg.magnitudes, task.exclusion.radius_arcsec) == ("v3", "dereddened", 11.0)
    assert task.quality.bad_maskbits == BAD_MASKBITS
    assert task.negatives.match.enabled
    assert [rule.name for rule in task.negatives.rules] == ["edge_on", "ring_like", "large", "blue_clumpy"]


def test_composing_the_job_needs_neither_torch_nor_astropy_nor_arrow() -> None:
    code = (
        "import sys; from dhs.config.cli import compose_job; from dhs.config.root import InjectRoot;"
        f"compose_job('inject', {TARGETS!r}, schema=InjectRoot);"
        "assert not {'torch', 'astropy', 'pyarrow', 'fsspec', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CONF_DIR.parent)
