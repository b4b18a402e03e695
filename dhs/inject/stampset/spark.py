"""The Spark engine: parts on the executors of a cluster, by the very functions of the local engine.

The driver makes a DataFrame of part descriptions, one task a part; `mapInArrow` renders a part where the task runs,
writes it and its ledger entry, and gives the entry back. Pixels never pass through the JVM or the driver. A Python
worker builds sky, sources and renderer once and keeps them for its next tasks. A task that fails, or whose executor is
lost, is Spark's to run again; it writes the same bytes. A rerun of the job makes what is missing, as with any engine.

The driver learns of finished parts from the ledger in the set, which is the same on every engine.
"""

import gc
import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

import pyarrow as pa

from dhs.config.spark import SparkEngine
from dhs.inject.stampset.context import RenderContext, StampJob, process_context
from dhs.inject.stampset.faults import faults_as_lines
from dhs.inject.stampset.local import make_part
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.plan import PlannedPart
from dhs.inject.stampset.spark_session import reason_of, spark_session, task_counts
from dhs.inject.stampset.write import Record

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("dhs")

JOB_GROUP = "dhs-stamps"
POLL_S = 1.0
RESULT_SCHEMA = "number long, record string"

Batches = Iterable[pa.RecordBatch]


def run_spark(parts: list[PlannedPart], *, job: StampJob, engine: SparkEngine) -> Generator[Record, None, None]:
    """Ledger entries of ``parts`` as they are finished, in any order.

    Raises:
        ValueError: (one line) the session does not start, or a part failed ``engine.max_failures`` times.
    """
    started = time.monotonic()
    with spark_session(engine) as session:
        master, cores = session.sparkContext.master, session.sparkContext.defaultParallelism
        seconds = time.monotonic() - started
        log.info("Spark %s, master %s, %d cores: started in %.0f s", session.version, master, cores, seconds)
        yield from run_in(session, parts, job=job, n_tasks=engine.partitions)


def run_in(
    session: "SparkSession", parts: list[PlannedPart], *, job: StampJob, n_tasks: int | None = None
) -> Iterator[Record]:
    """As `run_spark`, in a session that is there already; ``n_tasks`` None: one a part."""
    place = Place(job.task.output)
    with faults_as_lines(f"task.output = {place.root}"):
        for part in parts:  # an entry of an earlier run would pass for one of this run
            place.remove(part.ledger_path)
    # Rows of a local relation are dealt out evenly, in order, to so many tasks.
    session.conf.set("spark.sql.leafNodeDefaultParallelism", str(min(n_tasks or len(parts), len(parts))))
    results = session.createDataFrame(descriptions(parts)).mapInArrow(map_parts(job), RESULT_SCHEMA)
    waiting = {part.number: part for part in parts}
    running = _Running(session, results.collect)
    try:
        ended = False
        while not ended:
            ended = running.wait(POLL_S)
            for number, record in _entries(place, waiting):
                del waiting[number]
                yield record
            running.tell_failures()
        running.raise_if_failed()
    finally:
        running.cancel()
    if waiting:
        raise ValueError(
            f"engine = spark: {len(waiting)} parts are finished, but task.output = {place.root} here does not have "
            "them: the executors wrote to disks of their own; give a folder that all machines share, or s3://..."
        )


def map_parts(job: StampJob) -> Callable[[Batches], Batches]:
    """What runs on the executors: batches of part descriptions -> batches of (number, ledger entry)."""

    def make(batches: Batches) -> Batches:
        for batch in batches:
            for description in batch.to_pylist():
                part = PlannedPart(**description)
                record = make_part(part, worker_context(job))
                yield pa.RecordBatch.from_pydict({"number": [part.number], "record": [json.dumps(record)]})

    return make


def worker_context(job: StampJob) -> RenderContext:
    """`process_context`, which the garbage collector of this Python worker then leaves alone.

    PySpark collects after every task. Going through all that torch, numba and a sky have made took longer (0.3 s of
    processor time) than anything else between two tasks; frozen, it is nothing.
    """
    global _frozen
    context = process_context(job)
    if not _frozen:
        gc.collect()
        gc.freeze()
        _frozen = True
    return context


_frozen = False
"""Whether this process has built a context and frozen it."""


def descriptions(parts: Iterable[PlannedPart]) -> pa.Table:
    """``parts`` as a table, a column a field."""
    rows = [asdict(part) for part in parts]
    return pa.table({field.name: [row[field.name] for row in rows] for field in fields(PlannedPart)})


def _entries(place: Place, waiting: dict[int, PlannedPart]) -> Iterator[tuple[int, Record]]:
    with faults_as_lines(f"task.output = {place.root}"):
        there = set(place.names("_ledger", suffix=".json"))
    for number, part in list(waiting.items()):
        if part.ledger_path in there:
            yield number, place.read_json(part.ledger_path)


class _Running:
    """A Spark action in a thread of its own, in a job group that can be cancelled."""

    def __init__(self, session: "SparkSession", action: Callable[[], object]) -> None:
        from pyspark import InheritableThread

        self._session, self._action = session, action
        self._error: BaseException | None = None
        self._told_failures = 0
        self._thread: threading.Thread = InheritableThread(target=self._run, session=session)
        self._thread.daemon = True
        self._thread.start()

    def _run(self) -> None:
        self._session.sparkContext.setJobGroup(JOB_GROUP, "stamps", interruptOnCancel=True)
        try:
            self._action()
        except BaseException as error:  # handed to the main thread
            self._error = error

    def wait(self, seconds: float) -> bool:
        """Whether the action has ended, within ``seconds``."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def tell_failures(self) -> None:
        """Log tasks that failed and are tried again."""
        failed, _ = task_counts(self._session, JOB_GROUP)
        if failed > self._told_failures:
            log.warning("tasks that failed so far: %d; Spark tries them again", failed)
            self._told_failures = failed

    def raise_if_failed(self) -> None:
        """ValueError (one line) where the action failed."""
        if self._error is not None:
            raise ValueError(f"engine = spark: {reason_of(self._error)}") from None

    def cancel(self) -> None:
        """Stop what still runs."""
        if self._thread.is_alive():
            self._session.sparkContext.cancelJobGroup(JOB_GROUP)
            self._thread.join(30)
