"""The W&B run of a run directory: opened, joined again by its id, closed. Nothing that goes wrong with it after the
start stops or holds up the training: W&B's own process uploads, and keeps everything on the disk.

    with wandb_run(config, run_dir=run_dir, sweep=None) as run:      # of a training run, or of what is said of it later
        run.summary["test/auroc"] = 0.98

At the start a server that does not answer, or refuses the key, is an error of one line: a run that was to be online is
not quietly offline. docs/wandb.md says what is sent and how runs without a network get to the server.
"""

import json
import logging
import netrc
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from dhs.config.root import TrainConfig
from dhs.config.run_dir import config_hash, git_state, write_text
from dhs.config.training import WandbLogger as WandbConfig
from dhs.preemption import Preempted

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger("dhs")

ID_FILE, STATE_FILE = "wandb_id.txt", "wandb_state.json"
Mode = Literal["online", "offline", "disabled"]
DEFAULT_SERVER = "https://api.wandb.ai"
TAG_LENGTH = 64
"""Longest tag that W&B takes."""
STEP = "trainer/global_step"
"""Axis of what is logged by step, under Lightning's name for it."""
NO_STEP = -1
MEANS = ("perf/stamps_per_s", "perf/data_wait")
PEAKS = ("perf/rss_gib", "perf/cuda_gib")


def open_run(config: TrainConfig, *, run_dir: Path, sweep: str | None) -> "Run | None":
    """The W&B run of ``run_dir``, begun or joined; the open one where this process has it open; None where the logger
    is another, or $WANDB_MODE says disabled.

    Raises:
        ValueError: W&B is not installed, no key is at hand, the key is refused, the server does not answer.
    """
    settings = config.logger
    if not isinstance(settings, WandbConfig):
        return None
    mode = wandb_mode(settings)
    if mode == "disabled":
        log.info("W&B: WANDB_MODE=disabled, nothing is sent or kept")
        return None
    if mode == "online" and not has_key():
        raise ValueError(
            f"logger.mode = online: no key for {server()} in WANDB_API_KEY or ~/.netrc; run `wandb login`, or give "
            "logger.mode=offline"
        )
    try:
        import wandb
    except ImportError:
        raise ValueError("logger = wandb: the package is not installed; pip install wandb, or logger=csv") from None
    run_id = _run_id(run_dir)
    if wandb.run is not None and wandb.run.id == run_id:
        return wandb.run
    _set_aside_killed(run_dir, mode=mode)
    try:
        run = wandb.init(mode=mode, **_identity(config, settings, run_dir=run_dir, run_id=run_id, sweep=sweep))
    except wandb.errors.Error as error:
        wandb.teardown(exit_code=1)
        raise ValueError(_refusal(error, mode=mode)) from None
    _define_axes(run)
    _write_state(run_dir, _state(run_dir) | {"folder": Path(run.dir).parent.name, "mode": mode, "clean": False})
    _RUN_DIRS[run.id] = run_dir
    if not run.resumed:  # no server says how it ended, and `wandb sync` puts this attempt's summary in place of that
        run.summary.update(_state(run_dir).get("summary", {}))
    kept = f"{run_dir}/wandb"
    log.info("W&B: %s", run.url if mode == "online" else f"offline, kept in {kept}; later: wandb sync {kept}/*-run-*")
    return run


def close_run(*, exit_code: int) -> None:
    """Close this process's run, if it has one: upload what is left for as long as was said, warn where it failed."""
    run = _open_run()
    if run is None:
        return
    summary = _figures(run)
    run.finish(exit_code=exit_code)
    if not warn_of_failed_uploads(run) and run.id in _RUN_DIRS:
        run_dir = _RUN_DIRS.pop(run.id)
        state = _state(run_dir)
        clean = {"clean": True, "clean_step": state.get("step", NO_STEP), "summary": summary}
        _write_state(run_dir, state | clean)


def _figures(run: "Run") -> dict[str, float | int]:
    """The numbers of the summary, without W&B's own."""
    items = {name: run.summary[name] for name in run.summary.keys()}
    return {name: value for name, value in items.items() if isinstance(value, int | float) and not name.startswith("_")}


def known_step(run: "Run", *, run_dir: Path) -> int:
    """Last step that W&B surely has a row of, by the server's word where it knows the run; `NO_STEP` for none."""
    if run.resumed:
        return int(run.summary.get(STEP, NO_STEP))
    return int(_state(run_dir).get("known_step", NO_STEP))


def note_step(run: "Run", step: int, *, run_dir: Path) -> None:
    """Rows up to ``step`` have been given to W&B."""
    _write_state(run_dir, _state(run_dir) | {"step": step})


def _set_aside_killed(run_dir: Path, *, mode: Mode) -> None:
    """What the attempt before has surely left with W&B; its own folder out of the way where that is not all of it."""
    state = _state(run_dir)
    if not state:
        return
    known = state.get("step", NO_STEP)
    if not state["clean"] and state["mode"] == "offline":
        known = state.get("clean_step", NO_STEP)
        folder = run_dir / "wandb" / state["folder"]
        if folder.is_dir():
            folder.rename(folder.with_name(folder.name.replace("offline-run-", "killed-")))
    _write_state(run_dir, state | {"known_step": known})


def _state(run_dir: Path) -> dict[str, Any]:
    path = run_dir / STATE_FILE
    return json.loads(path.read_text()) if path.is_file() else {}


def _write_state(run_dir: Path, state: dict[str, Any]) -> None:
    temporary = run_dir / f".{STATE_FILE}.tmp{os.getpid()}"
    temporary.write_text(json.dumps(state))  # not fsynced, at every row: the worst that comes of it is a row twice
    os.replace(temporary, run_dir / STATE_FILE)


@contextmanager
def closing_run() -> Iterator[None]:
    """Whatever run is open at the end of the block is closed, as failed where the block raises."""
    try:
        yield
    except BaseException as error:
        run = _open_run()
        if run is not None and isinstance(error, Preempted):
            run.mark_preempting()
        close_run(exit_code=1)
        raise
    close_run(exit_code=0)


@contextmanager
def wandb_run(config: TrainConfig, *, run_dir: Path, sweep: str | None) -> "Iterator[Run | None]":
    """`open_run` for the block; a run that was open before stays open."""
    was_open = _open_run() is not None
    run = open_run(config, run_dir=run_dir, sweep=sweep)
    try:
        yield run
    finally:
        if not was_open:
            close_run(exit_code=0)


def wandb_mode(settings: WandbConfig) -> Mode:
    """``auto`` is $WANDB_MODE; without it online when a key is at hand, else offline."""
    if settings.mode != "auto":
        return settings.mode
    modes: tuple[Mode, ...] = ("online", "offline", "disabled")
    for mode in modes:
        if os.environ.get("WANDB_MODE") == mode:
            return mode
    return "online" if has_key() else "offline"


def server() -> str:
    """Address of the server."""
    return os.environ.get("WANDB_BASE_URL") or DEFAULT_SERVER


def has_key() -> bool:
    """Whether a key for `server` is in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(server()).hostname or "") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def warn_of_failed_uploads(run: "Run") -> bool:
    """Say, once for a run, that uploads have failed and what to do; whether they have.

    W&B's own process retries for hours and gives up silently where an answer breaks off; its log says so.
    """
    folder = Path(run.dir).parent
    error = _first_error(folder / "logs" / "debug-internal.log")
    if error is None:
        return False
    if run.id not in _WARNED:
        _WARNED.add(run.id)
        log.warning(
            "W&B: uploads fail (%s); training goes on, everything is kept: `wandb sync --include-online %s` uploads it",
            error,
            folder,
        )
    return True


_RUN_DIRS: dict[str, Path] = {}
"""Run directories of the runs that this process has open, by id."""
_WARNED: set[str] = set()
"""Ids of the runs of this process whose uploads failed."""


def _first_error(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open(errors="replace") as file:
        for line in file:
            if '"level":"ERROR"' not in line:
                continue
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the last line, not yet whole
                continue
            return str(entry.get("error") or entry.get("msg")).splitlines()[-1]
    return None


def _open_run() -> "Run | None":
    module = sys.modules.get("wandb")
    return None if module is None else module.run


def _run_id(run_dir: Path) -> str:
    """The id of before; for a new run that of W&B's agent, which has announced it, or a new one."""
    path = run_dir / ID_FILE
    if not path.exists():
        write_text(path, os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8])
    return path.read_text().strip()


def _identity(
    config: TrainConfig, settings: WandbConfig, *, run_dir: Path, run_id: str, sweep: str | None
) -> dict[str, Any]:
    """Arguments of wandb.init but the mode: the same for every attempt, so that a joined run stays what it is."""
    import wandb

    git = git_state() or {"commit": None, "dirty": None}
    return {
        "id": run_id,
        "resume": "allow",
        "name": run_dir.name,
        "project": settings.project,
        "entity": settings.entity,
        "group": settings.group or sweep or config.name,
        "job_type": "train",
        "tags": list(dict.fromkeys([*settings.tags, *([sweep[:TAG_LENGTH]] if sweep else [])])),
        "notes": settings.notes,
        "dir": str(run_dir),
        "config": config.model_dump(mode="json")
        | {
            "run": {
                "config_hash": config_hash(config),
                "sweep": sweep,
                "git_commit": git["commit"],
                "git_modified": git["dirty"],
            }
        },
        "settings": wandb.Settings(
            silent=True,  # what matters is in our log
            init_timeout=settings.start_timeout_s,
            finish_timeout=settings.finish_timeout_s,
        ),
    }


def _define_axes(run: "Run") -> None:
    """Curves by optimiser step, those of validation by epoch; what the table of runs shows of each."""
    run.define_metric(STEP)
    run.define_metric("epoch")
    run.define_metric("*", step_metric=STEP, step_sync=True)
    run.define_metric("val/*", step_metric="epoch")
    for name in MEANS:
        run.define_metric(name, step_metric=STEP, summary="mean")
    for name in PEAKS:
        run.define_metric(name, step_metric=STEP, summary="max")


def _refusal(error: Exception, *, mode: Mode) -> str:
    text = " ".join(str(error).partition("Consider increasing")[0].split())  # W&B's name of our start_timeout_s
    remedy = "logger.mode=offline keeps the run on the disk for `wandb sync`"
    if "401" in text or "403" in text or "not logged in" in text or "API key" in text:
        return f"logger = wandb: key refused by {server()} ({text[:200]}); `wandb login --relogin`, or {remedy}"
    if mode == "online":
        return f"logger.mode = online: {server()} does not answer ({text[:200]}); {remedy}"
    return f"logger = wandb: {text[:300]}"
