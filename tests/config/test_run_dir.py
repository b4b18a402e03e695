"""Run directories: named by what decides the result, complete, never overwritten."""

import json

import yaml

from dhs.config.run_dir import RunRecord, config_hash, run_directory, set_aside


def test_the_hash_ignores_what_does_not_change_the_result_and_sees_what_does(small_config):
    base = config_hash(small_config())
    for same in ("trainer.num_workers=3", "resume=never", "logger=wandb", "paths.runs_dir=elsewhere"):
        assert config_hash(small_config(same)) == base, same
    for other in ("seed=2", "optim.lr=0.01", "source=sersic", "max_galaxies=300", "trainer.precision=bf16-mixed"):
        assert config_hash(small_config(other)) != base, other


def test_the_same_configuration_finds_its_directory_again(small_config):
    assert run_directory(small_config()) == run_directory(small_config("trainer.num_workers=2"))
    assert run_directory(small_config("run_dir=x/y")).parts == ("x", "y")


def test_a_run_directory_says_what_was_run(small_config, tmp_path):
    record = RunRecord(tmp_path / "run")
    config = small_config()
    record.start(config, overrides=["seed=1"], config_hash=config_hash(config))
    record.start(config, overrides=["seed=1", "trainer.num_workers=2"], config_hash=config_hash(config))
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["optim"]["lr"] == config.optim.lr
    assert yaml.safe_load((tmp_path / "run/overrides.yaml").read_text()) == ["seed=1"]
    assert "trainer.num_workers=2" in (tmp_path / "run/overrides.resume1.yaml").read_text()
    versions = json.loads((tmp_path / "run/versions.json").read_text())
    assert versions["packages"]["torch"]
    assert record.status["state"] == "running"
    assert record.status["attempt"] == 2


def test_a_run_belongs_to_its_sweep_for_good(small_config, tmp_path, monkeypatch):
    record, config = RunRecord(tmp_path / "run"), small_config()
    for environment, expected in (("", None), ("source", "source"), ("", "source")):
        monkeypatch.setenv("DHS_SWEEP", environment)
        record.start(config, overrides=[], config_hash=config_hash(config))
        assert record.sweep == expected


def test_setting_aside_never_overwrites(tmp_path):
    for expected in ("run.1", "run.2"):
        (tmp_path / "run").mkdir()
        assert set_aside(tmp_path / "run").name == expected
