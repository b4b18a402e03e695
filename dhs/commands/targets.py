"""`inject.py task=targets`: DR10 sweeps to a table of hosts, controls and negatives."""

import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dhs.config.root import InjectRoot
from dhs.config.sky import Dr10Sky
from dhs.config.targets import TargetsTask

if TYPE_CHECKING:
    from dhs.sky.matching import MatchReport, MatchRow
    from dhs.sky.target_parts import Parts, SourceFile

log = logging.getLogger("dhs")


def targets(config: InjectRoot) -> int:
    """Select from every file of ``sky.sweep_dir`` that has no part yet, merge the parts, print the counts."""
    from dhs.sky.target_merge import merge_parts
    from dhs.sky.target_parts import Parts, find_sweeps, settings_fingerprint

    task, sky = config.task, config.sky
    assert isinstance(task, TargetsTask)
    assert isinstance(sky, Dr10Sky)
    sources = find_sweeps(sky.sweep_dir)
    parts = Parts(task.output_dir / "parts", fingerprint=settings_fingerprint(task, sky))
    entries, damaged = _make_parts(sources, parts=parts, task=task, sky=sky)
    read = [source for source in sources if source.path not in damaged]
    manifest, report = merge_parts(
        [parts.path(source) for source in read],
        entries=entries,
        damaged=damaged,
        output_dir=task.output_dir,
        matching=task.negatives.match,
        settings={"task": task.model_dump(mode="json"), "sky": sky.model_dump(mode="json")},
    )
    for line in summary_lines(manifest):
        log.info("%s", line)
    for line in match_lines(report):
        log.info("%s", line)
    log.info("wrote %s and manifest.json", task.output_dir / "targets.parquet")
    return 0


def _make_parts(
    sources: "Sequence[SourceFile]", *, parts: "Parts", task: TargetsTask, sky: Dr10Sky
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Ledger entries of all readable files, in order, and the damaged files with their reasons."""
    from dhs.sky.sweeps import DamagedFile
    from dhs.sky.target_parts import photoz_of
    from dhs.sky.target_select import Selector

    known = {source.path: parts.entry(source) for source in sources}
    todo = [source for source in sources if known[source.path] is None]
    log.info("%d catalogue files, %d done before", len(sources), len(sources) - len(todo))
    progress = FileProgress(sum(source.size for source in todo), n_files=len(todo))
    damaged: dict[str, str] = {}
    if not todo:
        return [entry for entry in known.values() if entry is not None], damaged
    selector = Selector(task, split=sky.split, survey_bricks=sky.survey_bricks)
    for source in todo:
        try:
            known[source.path] = parts.make(
                source,
                selector=selector,
                photoz=photoz_of(source, photoz_dir=sky.photoz_dir),
                rows_per_block=task.rows_per_block,
                on_rows=partial(progress.within, size=source.size),
            )
        except DamagedFile as error:
            if task.on_damaged_file == "stop":
                raise ValueError(f"{error} (or go on without it: task.on_damaged_file=skip)") from None
            damaged[source.path] = str(error)
            log.warning("left out: %s", error)
        progress.finished(source.size)
    return [entry for entry in known.values() if entry is not None], damaged


class FileProgress:
    """Logs files and bytes done with rate and time to go, every few seconds."""

    def __init__(self, total_bytes: int, *, n_files: int, every_s: float = 5.0) -> None:
        self._total, self._n_files, self._every_s = max(1, total_bytes), n_files, every_s
        self._started = self._last = time.monotonic()
        self._bytes = 0.0
        self._files = 0

    def within(self, fraction: float, *, size: int) -> None:
        """``fraction`` of a file of ``size`` bytes is done."""
        now = time.monotonic()
        if now - self._last < self._every_s:
            return
        done = self._bytes + fraction * size
        rate = max(done, 1.0) / max(now - self._started, 1e-9)
        log.info(
            "selecting: %d/%d files, %.1f of %.1f MB, %.1f MB/s, %.0f s to go",
            self._files,
            self._n_files,
            done / 1e6,
            self._total / 1e6,
            rate / 1e6,
            (self._total - done) / rate,
        )
        self._last = now

    def finished(self, size: int) -> None:
        self._bytes += size
        self._files += 1
        self.within(0.0, size=0)


def summary_lines(manifest: dict[str, Any]) -> list[str]:
    """The waterfall from rows read to targets, each cut with its count, and the targets by class, role and split."""
    width = 24
    lines = [f"{'rows read':<{width}} {manifest['rows_read']:>12,}  in {manifest['files_read']} files"]
    for name, count in manifest["lost"].items():
        note = f"  ({manifest['known_lens_hosts']:,} of them hosts)" if name == "known_lens" else ""
        lines.append(f"{'- ' + name:<{width}} {count:>12,}{note}")
    lines.append(f"{'- duplicates':<{width}} {manifest['duplicates']:>12,}")
    lines.append(f"{'- unmatched negatives':<{width}} {manifest['unmatched_negatives']:>12,}")
    lines.append(f"{'targets':<{width}} {manifest['targets']:>12,}")
    for name in ("kind", "subclass", "role", "split"):
        lines.append(f"  by {name}: " + ", ".join(f"{key} {count:,}" for key, count in manifest[name].items()))
    for path in manifest["files_damaged"]:
        lines.append(f"left out (cannot be read): {path}")
    return lines


def match_lines(report: "MatchReport") -> list[str]:
    """The match table: medians of positives and negatives and their distance, before and after."""
    lines = []
    for kind, about in report.classes.items():
        how = "" if about["ratio"] is None else f", {about['ratio']:.3g} a positive, {about['n_bins']} bins a variable"
        lines.append(f"match of {kind}: {about['n_before']:,} -> {about['n_after']:,} negatives{how}")
        if about["positives_without_type"]:
            lines.append(f"  {about['positives_without_type']:.0%} of the positives are of a Tractor type it lacks")
        lines.append(f"  {'':<18} {'medians':>29}   distance (KS; type: total variation)")
        lines.append(f"  {'variable':<18} {'positives':>9} {'before':>9} {'after':>9} {'before':>9} {'after':>9}")
        lines.extend(_match_line(row) for row in report.rows if row.kind == kind)
        lines.append(f"  a distance below {about['ks_noise']:.3f} is noise in samples of this size (95%)")
    return lines


def _match_line(row: "MatchRow") -> str:
    medians = (row.positives_median, row.before_median, row.after_median)
    cells = [f"{value:>9.3f}" if math.isfinite(value) else " " * 9 for value in medians]
    return f"  {row.variable:<18} {' '.join(cells)} {row.before_distance:>9.3f} {row.after_distance:>9.3f}"
