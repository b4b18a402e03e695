"""Starts the Spark session of `engine=spark`; whatever keeps it from starting is one line."""

import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dhs.config.spark import SparkEngine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOCAL_JAVA_OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""Of a local master's JVM, which only hands out tasks: the session starts in half the time (6 s for 11 s on two busy
cores), and no thread of a garbage collector or an optimiser competes with those that render."""

PACKAGE_ROOT = Path(__file__).resolve().parents[3]
"""The folder that holds the package dhs."""

LOCAL_SETTINGS = {
    "spark.driver.extraJavaOptions": LOCAL_JAVA_OPTIONS,
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.executorEnv.PYTHONPATH": str(PACKAGE_ROOT),
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "OFF",  # a failed task is one line of ours, not a hundred of Java's
}
"""Of a local master, where the terminal is the log. A cluster's logs and pages are as it sets them."""


@contextmanager
def spark_session(engine: SparkEngine) -> Iterator["SparkSession"]:
    """A session with the settings of ``engine``, stopped at the end; Ctrl-C then does what it did before.

    Raises:
        ValueError: pyspark or Java is missing, or the session does not start; one line.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ValueError(
            f"engine = spark: {error}; pip install 'dark-halo-scope[spark]' (PySpark 4.0, Java 17 or 21)"
        ) from None
    _require_java()
    _set_environment(engine)
    builder = SparkSession.builder.appName(engine.app_name)
    for key, value in settings(engine).items():
        builder = builder.config(key, value)
    on_ctrl_c = signal.getsignal(signal.SIGINT)  # PySpark puts its own there and leaves it, of no use without a session
    try:
        session = builder.getOrCreate()
        for path in engine.py_files:
            session.sparkContext.addPyFile(path)
    except Exception as error:  # Py4J, Java and PySpark have each their own
        raise ValueError(f"engine = spark: the session does not start: {reason_of(error)}") from None
    try:
        yield session
    finally:
        session.stop()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_ctrl_c)


def settings(engine: SparkEngine) -> dict[str, str]:
    """The whole Spark configuration; what the user sets in ``engine.conf`` wins."""
    own = {"spark.task.maxFailures": str(engine.max_failures)}
    if engine.archives:
        own["spark.archives"] = ",".join(engine.archives)
    if engine.master is not None:
        own["spark.master"] = engine.master
        if engine.master == "local":
            # Spark tries a task of local[N] only once, whatever is set; of local[N,F] F times.
            own["spark.master"] = f"local[{engine.cores or '*'},{engine.max_failures}]"
        if is_local(engine.master):
            own |= LOCAL_SETTINGS
    return own | engine.conf


def is_local(master: str | None) -> bool:
    """Whether ``master`` runs on this machine."""
    return master is not None and re.fullmatch(r"local(-cluster)?(\[.*\])?", master) is not None


def reason_of(error: BaseException) -> str:
    """The one line of a Spark, Java or Python error that says what went wrong, wherever in its traceback it stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = [line for line in lines if re.match(r"(dhs\.[\w.]+|\w+(Error|Exception|Interrupt|Exit)): ", line)]
    java = [
        match[1] for line in lines if (match := re.search(r"(?:Caused by: |: )[\w.$]+(?:Exception|Error): (.*)", line))
    ]
    chosen = own[-1] if own else java[-1] if java else lines[0] if lines else type(error).__name__
    return re.sub(r"^(ValueError|dhs\.[\w.]+): ", "", chosen)


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = Path(home) / "bin" / "java" if home else None
    if (java is not None and java.is_file()) or (java is None and shutil.which("java")):
        return
    where = f"JAVA_HOME = {home} holds no bin/java" if home else "no java on the PATH and no JAVA_HOME"
    raise ValueError(f"engine = spark: {where}; install Java 17 or 21 (openjdk-17-jre-headless), or engine=local")


def _set_environment(engine: SparkEngine) -> None:
    """What PySpark reads from the environment alone: the Python of the workers."""
    local = is_local(engine.master)
    python = engine.python or (sys.executable if local else None)
    if python is not None:
        os.environ["PYSPARK_PYTHON"] = python
    if local:
        os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def task_counts(session: "SparkSession", group: str) -> tuple[int, int]:
    """(tasks that failed and were tried again, tasks now running) of the job group."""
    tracker: Any = session.sparkContext.statusTracker()
    failed = running = 0
    for job in tracker.getJobIdsForGroup(group):
        info = tracker.getJobInfo(job)
        for stage in info.stageIds if info else ():
            stage_info = tracker.getStageInfo(stage)
            if stage_info:
                failed, running = failed + stage_info.numFailedTasks, running + stage_info.numActiveTasks
    return failed, running
