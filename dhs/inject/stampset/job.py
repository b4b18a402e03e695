"""The job `task=stamps`: every row of a manifest into a stamp set, whoever renders, restartable.

    <set>/job.json                        what decides the set: a rerun must be the same job
    <set>/split=train/part-00000.parquet  see dhs.inject.stampset.schema
    <set>/_ledger/part-00000.json         written after its part: the part is finished
    <set>/_SUCCESS.json                   written last: the totals

An interrupted job (kill -9 included) loses the parts at work and nothing else; its rerun makes those alone, and the set
is the same, byte for byte, as one that was never interrupted.
"""

import logging
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from dhs.config.root import InjectRoot
from dhs.config.spark import SparkEngine
from dhs.config.stamps import StampsTask
from dhs.inject.stampset.claim import StillOurs, claimed
from dhs.inject.stampset.context import RenderContext, StampJob, package_versions, source_of
from dhs.inject.stampset.faults import faults_as_lines
from dhs.inject.stampset.ledger import finished_parts, totals
from dhs.inject.stampset.local import make_part, n_processes, run_local
from dhs.inject.stampset.manifest_file import ManifestFile
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.plan import PlannedPart, plan_parts
from dhs.inject.stampset.render import NOT_IN_SKY
from dhs.inject.stampset.spark import run_spark
from dhs.inject.stampset.write import Record

_LOG = logging.getLogger("dhs")

MIN_ROWS_TO_JUDGE = 100
"""Before so many rows are done the share of failures says nothing (unless the job is at its end)."""

SUCCESS, JOB = "_SUCCESS.json", "job.json"


class Progress(NamedTuple):
    """Where a job stands."""

    n_done: int
    """Rows finished by this run."""
    n_to_do: int
    """Rows that this run has to make in all."""
    n_failed: int
    """Rows without a stamp, of all that are finished."""


Report = Callable[[Progress], None]


def make_stamps(
    config: InjectRoot, *, report: Report, sky_progress: Callable[[int, int], None] | None = None
) -> Record:
    """Make, or finish, the set ``config.task.output``; returns the totals. ValueError, one line, where it cannot be."""
    task = config.task
    assert isinstance(task, StampsTask)
    place = Place(task.output)
    with claimed(place, key="task.output", expires_s=task.claim_expires_s) as still_ours:
        manifest = ManifestFile(task.manifest)
        _require_source(config, manifest)
        job = StampJob(config, task, manifest.sha256())
        _require_same_job(place, job)
        parts = plan_parts(manifest, rows_per_part=task.rows_per_part)
        _remove_leftovers(place)
        finished = _finished(place, parts, task)
        pending = [part for part in parts if part.number not in finished]
        if pending:
            with faults_as_lines(place.show(SUCCESS)):
                place.remove(SUCCESS)
            context = RenderContext(job, progress=sky_progress)
            _require_targets(context, manifest)
            with closing(_records(pending, job=job, context=context, config=config)) as records:
                del context
                finished |= _followed(
                    records, pending, finished=finished, task=task, report=report, still_ours=still_ours
                )
        _require_few_failures(finished.values(), task, last=True)
        result = totals(finished[part.number] for part in parts)
        with faults_as_lines(place.show(SUCCESS)):
            place.write_json(SUCCESS, result)
    return result


def _records(
    pending: list[PlannedPart], *, job: StampJob, context: RenderContext, config: InjectRoot
) -> Generator[Record, None, None]:
    """The ledger entries of ``pending`` as the configured engine finishes them."""
    if isinstance(config.engine, SparkEngine):
        return run_spark(pending, job=job, engine=config.engine)
    processes = n_processes(config.engine, job=job, n_parts=len(pending))
    if processes > 1:
        return run_local(pending, job=job, processes=processes)
    return _alone(pending, context)


def _alone(pending: list[PlannedPart], context: RenderContext) -> Generator[Record, None, None]:
    """One part after the other in this process, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for part in pending:
            yield make_part(part, context)
    finally:
        torch.set_num_threads(threads)


def _followed(
    records: Iterator[Record],
    pending: Sequence[PlannedPart],
    *,
    finished: dict[int, Record],
    task: StampsTask,
    report: Report,
    still_ours: StillOurs,
) -> dict[int, Record]:
    """Collect ``records``, telling how far they are; ValueError where too many rows fail or the claim is lost."""
    number_of = {part.path: part.number for part in pending}
    made: dict[int, Record] = {}
    to_do, done = sum(part.n_rows for part in pending), 0
    for record in records:
        still_ours()
        made[number_of[record["path"]]] = record
        done += record["n_rows"]
        everything = [*finished.values(), *made.values()]
        _require_few_failures(everything, task, last=False)
        report(Progress(done, to_do, sum(entry["n_rows"] - entry["n_ok"] for entry in everything)))
    if absent := set(number_of.values()) - set(made):
        raise ValueError(f"engine: {len(absent)} parts were not made, first {min(absent)}; run the same command again")
    return made


def _finished(place: Place, parts: list[PlannedPart], task: StampsTask) -> dict[int, Record]:
    if not task.skip_existing:
        return {}
    finished = finished_parts(place, parts, verify=task.verify, retry_failed=task.retry_failed)
    if finished:
        _LOG.info("%d of %d parts are finished", len(finished), len(parts))
    return finished


def _require_same_job(place: Place, job: StampJob) -> None:
    """The set belongs to one manifest and one configuration: ValueError names what differs."""
    with faults_as_lines(place.show(JOB)):
        known = place.read_json(JOB) if place.exists(JOB) else None
        if known is None:
            place.write_json(JOB, job.decides | {"versions": package_versions()})
            return
    differs = [path for path in _differences(known, job.decides) if path != "versions"]
    if differs:
        shown = ", ".join(differs[:4]) + (f" and {len(differs) - 4} more" if len(differs) > 4 else "")
        raise ValueError(
            f"task.output = {place.root}: holds the stamps of another job (other {shown}); choose another folder"
        )
    if known["versions"] != package_versions():
        other = [name for name, value in package_versions().items() if known["versions"].get(name) != value]
        _LOG.warning("%s was begun with other versions of %s: last bits may differ", place.root, ", ".join(other))


def _differences(known: object, wanted: object, *, at: str = "") -> list[str]:
    """Dotted keys at which two JSON documents differ."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        keys = sorted({*known, *wanted})
        return [
            path
            for key in keys
            for path in _differences(known.get(key), wanted.get(key), at=f"{at}.{key}".removeprefix("."))
        ]
    return [] if known == wanted else [at.removeprefix("configuration.")]


def _require_source(config: InjectRoot, manifest: ManifestFile) -> None:
    """ValueError where the manifest's source indices are those of another source; other groups are only named."""
    designed = manifest.metadata.get("configuration", {})
    current = config.model_dump(mode="json")
    if "source" in designed and config.task.name == "stamps" and config.task.other_source == "refuse":
        differs = _differences(source_of(designed["source"]), source_of(current["source"]), at="source")
        if differs:
            raise ValueError(
                f"{', '.join(differs[:4])}: not as in task.manifest = {manifest.url}, whose source_index would mean "
                "other galaxies; give the manifest's source, or task.other_source=take if that is meant"
            )
    for group in ("lens", "psf", "inject"):
        differs = _differences(designed[group], current[group], at=group) if group in designed else []
        if differs:
            _LOG.warning("%s: not as when the manifest was made; this run's are used", ", ".join(differs))


def _require_targets(context: RenderContext, manifest: ManifestFile) -> None:
    """ValueError, before anything is rendered, where the sky lacks galaxies of the manifest."""
    n, ids = manifest.missing_targets(context.painter.cutouts.target_id)
    if n == 0:
        return
    if n == manifest.n_rows or context.task.missing == "refuse":
        raise ValueError(
            f"task.manifest = {manifest.url}: {n} of {manifest.n_rows} rows ask for galaxies that sky = "
            f"{context.job.config.sky.name} does not have (target_id {', '.join(map(str, ids))}"
            f"{', ...' if n > len(ids) else ''}); give the sky that the manifest was made from, or task.missing=record"
        )
    _LOG.warning("%d of %d rows ask for galaxies that the sky does not have: recorded", n, manifest.n_rows)


def _require_few_failures(entries: Collection[Record], task: StampsTask, *, last: bool) -> None:
    done = sum(entry["n_rows"] for entry in entries)
    counts: dict[str, int] = {}
    for entry in entries:
        for reason, n in entry["failures"].items():
            if not (reason == NOT_IN_SKY and task.missing == "record"):
                counts[reason] = counts.get(reason, 0) + n
    n_failed = sum(counts.values())
    if (last or done >= MIN_ROWS_TO_JUDGE) and n_failed > task.max_failed_fraction * done:
        common = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items(), key=lambda item: -item[1]))
        example = next((text for entry in entries for text in entry["failed"]), "")
        raise ValueError(
            f"{n_failed} of {done} rows failed ({common}; {example}), more than task.max_failed_fraction = "
            f"{task.max_failed_fraction:g}; finished parts are kept: mend it and run again with "
            "task.retry_failed=true, or raise the limit"
        )


def _remove_leftovers(place: Place) -> None:
    """Temporary files of a job that was killed."""
    if place.local is not None:
        for leftover in [*place.local.glob(".*.tmp"), *place.local.glob("*/.*.tmp")]:
            leftover.unlink(missing_ok=True)
