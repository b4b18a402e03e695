"""engine=spark: the same files as the local engine, a task that dies is tried again, one line for what goes wrong."""

import gc
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dhs.config.cli import CONF_DIR, compose_job
from dhs.config.load import ConfigError
from dhs.config.root import InjectRoot
from dhs.inject.stampset.context import StampJob
from dhs.inject.stampset.job import make_stamps
from dhs.inject.stampset.manifest_file import ManifestFile
from dhs.inject.stampset.plan import plan_parts
from dhs.inject.stampset.spark import run_in
from dhs.inject.stampset.spark_session import reason_of, settings, spark_session
from tests.inject.stampset.files import digests, parts

REPO = CONF_DIR.parent


@pytest.fixture(scope="session")
def spark(overrides):
    """``spark(output, ...)``: overrides of a task=stamps on two Spark cores."""
    pytest.importorskip("pyspark")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("no Java: engine=spark needs 17 or 21")

    def make(output, *more, **where):
        local = [key for key in overrides(output, **where) if not key.startswith("engine.")]
        return [*local, "engine=spark", "engine.cores=2", *more]

    return make


def config_of(overrides):
    return compose_job("inject", overrides, schema=InjectRoot)


def silent(state):
    """No report."""


class DyingJob(StampJob):
    """A job whose first task ends its process, as a full memory would, and leaves a file that says so."""

    @property
    def key(self) -> str:
        try:
            (Path(self.task.output) / "died").touch(exist_ok=False)
        except FileExistsError:
            return "job"
        os._exit(1)


@pytest.mark.slow
def test_the_program_writes_the_files_of_the_local_engine(spark, stamps_config, tmp_path):
    """A part that is there already stays, and the rest is made: a rerun continues what any engine began."""
    make_stamps(stamps_config(tmp_path / "local"), report=silent)
    shutil.copytree(tmp_path / "local", tmp_path / "spark")
    for path in parts(tmp_path / "spark")[3:]:
        path.unlink()
    (tmp_path / "spark" / "_SUCCESS.json").unlink()
    kept = parts(tmp_path / "spark")[0].stat().st_mtime_ns
    command = [sys.executable, "inject.py", *spark(tmp_path / "spark")]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(tmp_path / "spark") == digests(tmp_path / "local")
    assert parts(tmp_path / "spark")[0].stat().st_mtime_ns == kept
    assert "master local[2,4], 2 cores" in done.stdout and "stamps: 40/40" in done.stdout


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in parts(folder)}


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # py4j leaves its sockets to the collector
def test_a_task_that_dies_is_tried_again_and_one_that_cannot_write_is_one_line(
    spark, manifest, stamps_config, tmp_path
):
    make_stamps(stamps_config(tmp_path / "local"), report=silent)
    planned = plan_parts(ManifestFile(str(manifest)), rows_per_part=8)
    sha256 = ManifestFile(str(manifest)).sha256()
    dying, failing = (config_of(spark(tmp_path / name, "engine.max_failures=2")) for name in ("spark", "file"))
    (tmp_path / "spark").mkdir()
    (tmp_path / "file").write_text("not a folder")
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    with spark_session(dying.engine) as session:
        records = list(run_in(session, planned, job=DyingJob(dying, dying.task, sha256)))
        assert (tmp_path / "spark" / "died").exists()
        assert sorted(record["path"] for record in records) == sorted(part.path for part in planned)
        assert bytes_of(tmp_path / "spark") == bytes_of(tmp_path / "local")
        with pytest.raises(ValueError, match=r"engine = spark: .*/file/.*: Not a directory; free space") as caught:
            list(run_in(session, planned[:1], job=StampJob(failing, failing.task, sha256)))
        assert "\n" not in str(caught.value)
    assert signal.getsignal(signal.SIGINT) is on_ctrl_c, "PySpark's handler stays, and fails without a session"
    gc.collect()


def test_a_session_that_cannot_start_is_one_line(spark, tmp_path, monkeypatch):
    absent = r"^engine = spark: JAVA_HOME = [^\n]* holds no bin/java; install Java 17 or 21 [^\n]*$"
    with monkeypatch.context() as patch:
        patch.setenv("JAVA_HOME", str(tmp_path))
        with pytest.raises(ValueError, match=absent), spark_session(config_of(spark("x")).engine):
            pass
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with (
        pytest.raises(ValueError, match=r"pip install 'dark-halo-scope\[spark\]'"),
        spark_session(config_of(spark("x")).engine),
    ):
        pass


def test_settings_of_any_depth_reach_spark_and_the_users_win(spark):
    engine = config_of(
        spark("x", "+engine.conf.spark.executor.memory=4g", "+engine.conf.spark.driver.extraJavaOptions=-Xint")
    ).engine
    made = settings(engine)
    assert made["spark.executor.memory"] == "4g" and made["spark.driver.extraJavaOptions"] == "-Xint"
    assert made["spark.master"] == "local[2,4]" and made["spark.task.maxFailures"] == "4"
    cluster = [
        "engine.master=yarn",
        "engine.cores=null",
        'engine.archives=["s3://b/env.tar.gz#env"]',
        "engine.max_failures=8",
    ]
    made = settings(config_of(spark("x", *cluster)).engine)
    assert (made["spark.master"], made["spark.task.maxFailures"]) == ("yarn", "8")
    assert made["spark.archives"] == "s3://b/env.tar.gz#env" and "spark.driver.extraJavaOptions" not in made
    for override, message in (
        ("+engine.conf.executor.memory=4g", r"engine\.conf\.executor\.memory: Spark's settings begin with spark\."),
        ("+engine.conf.spark.master=yarn", r"engine\.conf\.spark\.master: give engine\.master"),
        ("engine.master=yarn", r"engine\.cores = 2: are of master=local"),
        ("engine.master=nonsense", r"engine\.master = nonsense: must be local, local\[N\], yarn"),
    ):
        with pytest.raises(ConfigError, match=message):
            config_of(spark("x", override))


def test_the_reason_is_found_in_a_traceback_of_three_languages():
    error = RuntimeError(
        "An error occurred while calling o61.collectToPython.\n: org.apache.spark.SparkException: Job aborted: lost\n"
        "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"
        '  File "x.py", line 3, in make\nValueError: s3://b/part: disk is full; free space\n\n'
        "\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator\n"
    )
    assert reason_of(error) == "s3://b/part: disk is full; free space"
    crash = (
        "An error occurred while calling o5.x.\n: org.apache.spark.SparkException: Python worker exited (crashed)\n\tat"
    )
    assert reason_of(RuntimeError(crash)) == "Python worker exited (crashed)"
