"""W&B against a server on the loopback: one run whatever happens to it, and no harm whatever happens to the server."""

import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dhs.config.run_dir import RunRecord
from dhs.inject.build import build_injector
from dhs.train.attempts import join_attempts
from dhs.train.wandb_run import STEP, close_run
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


def in_a_process_that_is_killed(config, *, injector, run_dir: Path, death: Death) -> None:
    """The run, ended by SIGKILL: no handler, no atexit, nothing flushed. W&B's own process is left to itself."""
    child = os.fork()
    if child == 0:
        try:
            run(config, injector=injector, run_dir=run_dir, death=death)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


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
    for name in ("train/loss_step", "val/loss", "val/auroc", "val/pauroc", "val/tpr_at_fpr_0.1", "lr-AdamW/pg1"):
        assert name in expected
    for name in ("perf/stamps_per_s", "perf/data_wait", "perf/rss_gib"):
        logged = [row[STEP] for row in history if name in row]
        assert set(logged) == set(expected[name]) >= {1, LAST_STEP}, name


@pytest.mark.parametrize("sent_every_s", ["0.1", "15"])
def test_a_run_killed_and_resumed_is_one_run_and_no_step_is_there_twice(
    sent_every_s, server, small_config, injector, tmp_path, monkeypatch
):
    """Much or nothing of the killed attempt had come to the server."""
    monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", sent_every_s)
    monkeypatch.setattr("dhs.train.module.VAL_FPRS", (0.1, 1e-3))
    config = small_config(*ONLINE, "logger.tags=[night]", "logger.n_worst=2", "logger.images_every_epochs=1")
    run_dir = tmp_path / "one"
    run_dir.mkdir()
    RunRecord(run_dir).update(sweep="seeds-x3")
    in_a_process_that_is_killed(
        config, injector=injector, run_dir=run_dir, death=Death("SIGKILL", "training_step", 2 * STEPS_PER_EPOCH - 1)
    )
    run_id = (run_dir / "wandb_id.txt").read_text()
    run(config, injector=injector, run_dir=run_dir)
    close_run(exit_code=0)

    assert list(server.runs) == [run_id]
    sent = server.runs[run_id]
    require_same_curves(sent.history, run_dir)
    assert "train/loss_epoch" in csv_rows(run_dir)
    assert (sent.fields["groupName"], sent.fields["jobType"]) == ("seeds-x3", "train")
    assert sent.fields["tags"] == ["night", "seeds-x3"]
    assert sent.config["optim"]["value"]["lr"] == config.optim.lr
    assert sent.config["run"]["value"]["git_commit"]
    scores = csv_rows(run_dir)["val/pauroc"]
    assert sent.summary["best/pauroc"] == pytest.approx(max(scores.values()))
    assert "val/tpr_at_fpr_0.001" not in csv_rows(run_dir)  # a hundred negatives cannot say
    for kind in ("trained_on", "worst_of_validation"):
        assert sum(name.startswith(f"media/images/pictures/{kind}_") for name in sent.files) == EPOCHS
    assert sent.exit_codes[-1] == 0
