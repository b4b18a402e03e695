"""W&B against a server on the loopback: one run whatever happens to it, and no harm whatever happens to the server."""

import csv
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from dhs.config.run_dir import RunRecord, config_hash
from dhs.evaluate.rows import Row
from dhs.evaluate.section import Section, Verdict
from dhs.evaluate.to_wandb import log_sections, run_of_checkpoint
from dhs.inject.build import build_injector
from dhs.train.attempts import join_attempts
from dhs.train.module import LensFinder
from dhs.train.wandb_run import STEP, close_run, open_run, wandb_mode, wandb_run
from tests.train.runs import EPOCHS, STEPS_PER_EPOCH, TINY, Death, restored_threads, run  # noqa: F401
from tests.wandb_server import Server, wandb_server

wandb = pytest.importorskip("wandb")

ONLINE = (*TINY, "logger=wandb", "logger.start_timeout_s=5", "logger.finish_timeout_s=5")
LAST_STEP = STEPS_PER_EPOCH * EPOCHS - 1


@pytest.fixture
def injector(small_config):
    return build_injector(small_config(*TINY))


@pytest.fixture
def server(monkeypatch, tmp_path) -> Iterator[Server]:
    """A server, this process logged in to it, and every step logged."""
    (tmp_path / "home").mkdir()
    for name, value in {"HOME": str(tmp_path / "home"), "WANDB_ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(name, value)
    for module in ("fit", "callbacks"):
        monkeypatch.setattr(f"dhs.train.{module}.LOG_EVERY_STEPS", 1)
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        yield server
        close_run(exit_code=0)
        wandb.teardown()
    assert server.unknown == []


@pytest.fixture
def config(small_config):
    return small_config(*ONLINE)


def in_a_process_that_is_killed(
    config, *, injector, run_dir: Path, death: Death, not_before: Callable[[], bool] = lambda: True
) -> None:
    """The run, ended by SIGKILL: no handler, no atexit, nothing flushed. W&B's own process is left to itself."""
    may_die = run_dir.with_name("may_die")
    child = os.fork()
    if child == 0:
        kill = os.kill
        os.kill = lambda pid, signum: (wait_for(may_die.exists), kill(pid, signum))  # type: ignore[assignment]
        try:
            run(config, injector=injector, run_dir=run_dir, death=death)
        finally:
            os._exit(1)
    wait_for(not_before)
    may_die.touch()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def wait_for(condition: Callable[[], bool], *, at_most_s: float = 60.0) -> None:
    end = time.monotonic() + at_most_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def csv_rows(run_dir: Path) -> dict[str, dict[int, float]]:
    """Of every column of metrics.csv: its values by step."""
    found: dict[str, dict[int, float]] = {}
    with open(join_attempts(run_dir)) as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name != "step":
                    found.setdefault(name, {})[int(row["step"])] = float(value)
    return found


def require_same_curves(history: list[dict[str, Any]], run_dir: Path) -> None:
    """W&B has every value of metrics.csv at its step, none twice; of what does not depend on the clock."""
    steps = [row[STEP] for row in history]
    assert steps == sorted(steps)
    expected = csv_rows(run_dir)
    for name, values in expected.items():
        logged = [(row[STEP], row[name]) for row in history if name in row and name != "epoch"]
        assert len({step for step, _ in logged}) == len(logged), f"{name}: a step twice"
        if name != "epoch" and not name.startswith("perf/"):
            assert dict(logged) == pytest.approx(values), name
    for name in ("train/loss_step", "train/loss_epoch", "val/loss", "val/auroc", "val/pauroc", "lr-AdamW/pg1"):
        assert name in expected
    for name in ("perf/stamps_per_s", "perf/data_wait", "perf/rss_gib"):
        logged = [row[STEP] for row in history if name in row]
        assert set(logged) == set(expected[name]) >= {1, LAST_STEP}, name


def test_a_run_killed_and_resumed_is_one_run_and_no_step_is_there_twice(
    server, small_config, injector, tmp_path, monkeypatch
):
    """What of the killed attempt has come to the server is not sent again, the rest is."""
    monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "0.1")
    monkeypatch.setattr("dhs.train.module.VAL_FPRS", (0.1, 1e-3))
    config = small_config(*ONLINE, "logger.tags=[night]", "logger.n_worst=2", "logger.images_every_epochs=1")
    run_dir = tmp_path / "one"
    run_dir.mkdir()
    RunRecord(run_dir).update(sweep="seeds-x3")
    last_before = 2 * STEPS_PER_EPOCH - 2
    in_a_process_that_is_killed(
        config,
        injector=injector,
        run_dir=run_dir,
        death=Death("SIGKILL", "training_step", last_before + 1),
        not_before=lambda: any(row[STEP] == last_before for one in server.runs.values() for row in one.history),
    )
    run_id = (run_dir / "wandb_id.txt").read_text()
    run(config, injector=injector, run_dir=run_dir)
    close_run(exit_code=0)

    assert list(server.runs) == [run_id]
    sent = server.runs[run_id]
    require_same_curves(sent.history, run_dir)
    assert "val/tpr_at_fpr_0.1" in csv_rows(run_dir)
    assert (sent.fields["groupName"], sent.fields["jobType"]) == ("seeds-x3", "train")
    assert sent.fields["tags"] == ["night", "seeds-x3"]
    assert sent.config["optim"]["value"]["lr"] == config.optim.lr
    assert sent.config["run"]["value"]["config_hash"] == config_hash(config)
    scores = csv_rows(run_dir)["val/pauroc"]
    assert sent.summary["best/pauroc"] == pytest.approx(max(scores.values()))
    assert "val/tpr_at_fpr_0.001" not in csv_rows(run_dir)  # a hundred negatives cannot say
    for name in ("pictures/trained_on", "pictures/worst_of_validation"):  # the killed one's files may be on their way
        shown = [row[name]["path"] for row in sent.history if name in row]
        assert len(shown) == EPOCHS
        assert shown[-1] in sent.files
    assert sent.exit_codes[-1] == 0


def test_a_run_killed_offline_is_one_run_after_wandb_sync(server, small_config, injector, tmp_path, monkeypatch):
    """The client loses the rows of a killed run without a server; they come again from metrics.csv."""
    config = small_config(*ONLINE, "logger.mode=offline", "logger.n_worst=2")
    run_dir = tmp_path / "one"
    death = Death("SIGKILL", "training_step", 2 * STEPS_PER_EPOCH - 1)
    in_a_process_that_is_killed(config, injector=injector, run_dir=run_dir, death=death)
    run(config, injector=injector, run_dir=run_dir)
    close_run(exit_code=0)
    assert server.requests == 0
    with wandb_run(config, run_dir=run_dir, sweep=None) as again:  # as evaluate.py does later
        again.summary["test/auroc/all"] = 0.75
    assert len(list((run_dir / "wandb").glob("killed-*"))) == 1
    folders = sorted((run_dir / "wandb").glob("offline-run-*"))
    subprocess.run([sys.executable, "-m", "wandb", "sync", *map(str, folders)], check=True, capture_output=True)
    (sent,) = server.runs.values()
    require_same_curves(sent.history, run_dir)
    assert sent.summary["best/pauroc"] == pytest.approx(max(csv_rows(run_dir)["val/pauroc"].values()))
    assert sent.summary["test/auroc/all"] == 0.75
    assert any(name.startswith("media/images/pictures/worst_of_validation_") for name in sent.files)


@pytest.mark.parametrize("failure", ["500", "drop"])
def test_a_server_that_fails_in_mid_run_neither_stops_nor_holds_up_the_training(
    failure, server, small_config, injector, tmp_path, monkeypatch, caplog
):
    config = small_config(*ONLINE, "logger.finish_timeout_s=1")
    monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "0.1")
    monkeypatch.setattr(logging.getLogger("dhs"), "propagate", True)
    original = LensFinder.training_step

    def failing(self: LensFinder, batch: dict[str, Any], batch_idx: int) -> Any:
        if self.global_step == 2:
            server.refuse = failure
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(LensFinder, "training_step", failing)
        steps = run(config, injector=injector, run_dir=tmp_path)
    assert len(steps) == LAST_STEP + 1
    started = time.monotonic()
    close_run(exit_code=0)
    assert time.monotonic() - started < 5
    # A set: where another test of this process has left a capture at the logger, a record is seen twice.
    (warning,) = {record.getMessage() for record in caplog.records if "uploads fail" in record.getMessage()}
    folder = Path(warning.split("--include-online ")[1].split("`")[0])
    server.refuse = None
    wandb.teardown()
    sync = [sys.executable, "-m", "wandb", "sync", "--include-online", str(folder)]
    subprocess.run(sync, check=True, capture_output=True)
    (sent,) = server.runs.values()
    require_same_curves(sent.history, tmp_path)


def test_a_wrong_key_is_one_line(server, config, tmp_path, monkeypatch):
    for key, why in (("f" * 40, "401"), ("short", "40\\+ characters")):
        monkeypatch.setenv("WANDB_API_KEY", key)
        with pytest.raises(ValueError, match=rf"logger = wandb: key refused by http://127.*{why}") as caught:
            open_run(config, run_dir=tmp_path, sweep=None)
        assert len(str(caught.value).splitlines()) == 1
    monkeypatch.delenv("WANDB_API_KEY")
    forced = config.model_copy(update={"logger": config.logger.model_copy(update={"mode": "online"})})
    with pytest.raises(ValueError, match=r"logger.mode = online: no key for http://127.*logger.mode=offline"):
        open_run(forced, run_dir=tmp_path, sweep=None)
    assert not server.runs


def test_a_server_that_does_not_answer_is_one_line_and_no_quiet_offline_run(
    server, small_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    config = small_config("logger=wandb", "logger.start_timeout_s=1")
    with pytest.raises(
        ValueError, match=r"127\.0\.0\.1:9 does not answer \(.*refused\); logger.mode=offline"
    ) as caught:
        open_run(config, run_dir=tmp_path, sweep=None)
    assert len(str(caught.value).splitlines()) == 1


def test_without_a_key_a_run_is_offline_and_wandb_mode_is_obeyed(server, config, monkeypatch, tmp_path):
    assert wandb_mode(config.logger) == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode(config.logger) == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert open_run(config, run_dir=tmp_path, sweep=None) is None
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    assert wandb_mode(config.logger) == "offline"
    (tmp_path / "home" / ".netrc").write_text("machine 127.0.0.1 login user password 0123\n")
    (tmp_path / "home" / ".netrc").chmod(0o600)
    assert wandb_mode(config.logger) == "online"


def test_the_best_checkpoint_is_an_artifact_and_the_evaluation_joins_the_run(
    server, small_config, injector, tmp_path, monkeypatch
):
    config = small_config(*ONLINE, "logger.artifacts=best", "logger.notes=first light")
    run(config, injector=injector, run_dir=tmp_path)
    close_run(exit_code=0)
    (artifact,) = server.artifacts
    assert artifact.committed
    assert artifact.files["best.ckpt"] == (tmp_path / "checkpoints" / "best.ckpt").read_bytes()
    assert artifact.metadata["config_hash"] == config_hash(config)
    assert artifact.metadata["score"] == pytest.approx(max(csv_rows(tmp_path)["val/pauroc"].values()))

    with run_of_checkpoint(tmp_path / "checkpoints" / "best.ckpt", config, settings=config.evaluate) as joined:
        log_sections(joined, [gates_section()], report=written_report(tmp_path / "evaluate"))
    (sent,) = server.runs.values()
    assert sent.fields["notes"] == "first light"
    assert sent.summary["test/auroc/all"] == 0.9
    assert "test/empty/all" not in sent.summary
    assert (sent.summary["targets/missed"], sent.summary["evaluation/exit_code"]) == (1, 3)
    assert sent.summary["best/pauroc"]  # training's own is still there
    (table,) = [body for name, body in sent.files.items() if name.startswith("media/table/evaluation/gates_")]
    assert json.loads(table)["data"][0][:3] == ["auroc", "all", 0.9]
    assert any(name.startswith("media/images/evaluation/gates_roc_") for name in sent.files)
    assert any(name.startswith("media/html/evaluation/report_") for name in sent.files)
    steps = [row[STEP] for row in sent.history]
    assert steps == sorted(steps)

    off = config.evaluate.model_copy(update={"wandb": "off"})
    with run_of_checkpoint(tmp_path / "checkpoints" / "best.ckpt", config, settings=off) as joined:
        assert joined is None


def gates_section() -> Section:
    rows = [
        Row("auroc", "all", 0.9, 0.8, 0.95, 40, "against 100 negatives"),
        Row("empty", "all", None, None, None, 0, "no such stamp"),
    ]
    verdict = Verdict("core only", "AUC < 0.6", "0.9", False, "yes, with 40")
    return Section("gates", "Gates", "", rows=rows, figures={"roc": Figure()}, verdicts=[verdict], exit_code=3)


def written_report(folder: Path) -> Path:
    (folder / "figures").mkdir(parents=True)
    figure = Figure(figsize=(1, 1))
    figure.savefig(folder / "figures" / "gates_roc.png")
    (folder / "report.html").write_text("<html><body>report</body></html>")
    return folder / "report.html"
