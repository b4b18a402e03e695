"""A folder of runs as arms and seeds; what does not belong together is refused."""

import json

import pytest
import yaml

from dhs.evaluate.sweep_runs import read_sweep


@pytest.fixture
def add_run(tmp_path, small_config):
    """``add_run("a", "loss=bce", "seed=2")``: a finished run directory under tmp_path."""

    def add(name: str, *overrides: str, state: str = "done", said: list[str] | None = None) -> None:
        run = tmp_path / name
        run.mkdir()
        config = small_config(*overrides).model_dump(mode="json")
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        given = ["debug=fast", *overrides] if said is None else said
        (run / "overrides.yaml").write_text(yaml.safe_dump([*given, "paths.runs_dir=somewhere"]))
        (run / "status.json").write_text(json.dumps({"state": state, "started": f"2026-01-01T00:00:{name}"}))

    return add


def test_arms_are_named_by_what_differs_and_hold_their_seeds(add_run, tmp_path):
    for i, (loss, seed) in enumerate([("focal", 1), ("focal", 2), ("bce", 1), ("bce", 2)]):
        add_run(f"{10 + i}", f"loss={loss}", f"seed={seed}", "optim.lr=0.001")
    sweep = read_sweep(tmp_path)
    assert sweep.arms == ("loss=focal", "loss=bce")
    assert [sweep.runs[i].config.seed for i in sweep.members("loss=bce")] == [1, 2]


def test_unfinished_runs_are_left_out_and_named(add_run, tmp_path):
    add_run("10", "loss=focal")
    add_run("11", "loss=bce")
    add_run("12", "loss=bce", "seed=9", state="failed")
    sweep = read_sweep(tmp_path)
    assert len(sweep.runs) == 2
    assert sweep.unfinished == {"12": "failed"}


def test_a_sweep_needs_two_arms(add_run, tmp_path):
    with pytest.raises(ValueError, match="no runs in it"):
        read_sweep(tmp_path)
    add_run("10", "seed=1")
    add_run("11", "seed=2")
    with pytest.raises(ValueError, match=r"2 finished runs in 1 arm\(s\)"):
        read_sweep(tmp_path)


def test_a_seed_twice_in_one_arm_is_refused(add_run, tmp_path):
    add_run("10", "loss=focal", "seed=1")
    add_run("11", "loss=bce", "seed=1")
    add_run("12", "loss=bce", "seed=1")
    with pytest.raises(ValueError, match="arm 'loss=bce': seed 1 is there twice"):
        read_sweep(tmp_path)


def test_one_name_for_two_recipes_is_refused(add_run, tmp_path):
    add_run("10", "loss=focal", "seed=1")
    add_run("11", "loss=bce", "seed=1")
    add_run("12", "loss=bce", "optim.lr=0.01", "seed=2", said=["debug=fast", "loss=bce", "seed=2"])
    with pytest.raises(ValueError, match="11 and 12: both are 'loss=bce'"):
        read_sweep(tmp_path)
