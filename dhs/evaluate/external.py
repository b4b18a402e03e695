"""`evaluate.py task=external`: another finder's scores of a stamp set, through the same analysis as ours.

Its authors score the stamps of a set made by `inject.py task=stamps` (Parquet or WebDataset, id in `task_id`) and give
back a file of `id` and `score`. The set's validation stamps calibrate, its test stamps are claimed on; nothing of the
finder itself is needed. Scores are matched by id, and what does not match is refused or counted, never passed over.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from dhs.config.evaluation import ExternalTask
from dhs.constants import BANDS
from dhs.display import write_atomically
from dhs.evaluate.scored_set import write_table
from dhs.inject.acceptance import CUTS
from dhs.inject.stampset.read import StampSet, open_stamp_set

log = logging.getLogger("dhs")

EXTREME_LOGIT = 40.0
"""Stands for a probability of exactly 0 or 1: the logit of one double rounding below 1 is 36.7."""

SET_COLUMNS = (
    "task_id", "target_id", "injected", "kind", "theta_e_arcsec", "magnification", "source_r_mag", "reject_reason",
    "cutout_ok", *(f"arc_snr_{band}" for band in BANDS), *(f"arc_snr_sum_{band}" for band in BANDS),
    *(f"psfsize_{band}_arcsec" for band in BANDS), *(f"psfdepth_{band}_mag" for band in BANDS),
)  # fmt: skip


@dataclass(frozen=True)
class TheirScores:
    """N scores by id, as they were given."""

    id: np.ndarray
    """(N,) str, unique."""
    score: np.ndarray
    """(N,) float64, finite."""
    label: np.ndarray | None
    """(N,) 0 or 1 where the file says so."""


def import_scores(task: ExternalTask, *, output_dir: Path) -> list[str]:
    """Write `scores/val.parquet` and `scores/test.parquet` of the file's scores; what a reader must know of them.

    Raises:
        ValueError: (one line) the file or the set cannot be used, or they do not match.
    """
    assert task.stamps is not None and task.scores is not None
    stamps = open_stamp_set(task.stamps, key="task.stamps")
    theirs = read_scores(task.scores)
    logit, warnings = as_logit(theirs.score, scale=task.scale, where=str(task.scores))
    used = np.zeros(len(theirs.id), dtype=bool)
    for split in ("val", "test"):
        table = set_columns(stamps, split=split)
        place, missing = _places(table, theirs, where=f"{task.scores}: {split}", refuse=task.missing == "refuse")
        warnings += missing
        table = table.filter(pa.array(place >= 0))
        place = place[place >= 0]
        _require_labels(table, theirs, place, where=str(task.scores))
        used[place] = True
        table = table.drop_columns(["task_id"]).append_column("logit", pa.array(logit[place].astype(np.float32)))
        write_table(table, path=output_dir / "scores" / f"{split}.parquet", identity=f"{task.stamps} {task.scores}")
    if stray := int((~used).sum()):
        warnings.append(f"{stray:,} of {len(used):,} scores are of no val or test stamp of the set, and are not used")
    if len(np.unique(logit.astype(np.float32))) < len(np.unique(theirs.score)):
        warnings.append("some different scores become equal in float32")
    return warnings


def read_scores(path: Path) -> TheirScores:
    """The file's columns `id`, `score` and, where it has one, `label`; ValueError (one line) names what is wrong."""
    table = _read(path)
    for name in ("id", "score"):
        if name not in table.column_names:
            raise ValueError(
                f"{path}: no column {name!r} (found: {', '.join(table.column_names)}); it needs id and score"
            )
    ids = np.asarray(table["id"].cast(pa.string()).to_pylist(), dtype=str)
    try:
        score = table["score"].cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: score: {str(error).splitlines()[0]}; scores are numbers") from None
    unique, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"{path}: {int((counts > 1).sum())} ids are there more than once (first: {unique[counts > 1][0]}); a stamp "
            "has one score"
        )
    if (bad := ~np.isfinite(score)).any():
        raise ValueError(
            f"{path}: {int(bad.sum())} scores are NaN, infinite or empty (first: id {ids[bad][0]}); a stamp that could "
            "not be scored is left out of the file, with task.missing=leave_out"
        )
    label = table["label"].to_numpy() if "label" in table.column_names else None
    return TheirScores(ids, score, label)


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix in (".parquet", ".pq"):
            return pq.read_table(path)
        ids = pa.csv.ConvertOptions(column_types={"id": pa.string()})  # 0012 stays 0012
        return pa.csv.read_csv(path, convert_options=ids)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"task.scores = {path}: cannot be read ({str(error).splitlines()[0]})") from None


def as_logit(score: np.ndarray, *, scale: str, where: str) -> tuple[np.ndarray, list[str]]:
    """(N,) logits of (N,) scores on a ``scale``, and what must be said of them.

    ValueError where probabilities lie outside [0, 1], or nothing is ranked.
    """
    if len(np.unique(score)) < 2:
        raise ValueError(f"{where}: all {len(score)} scores are equal; nothing can be ranked")
    if scale == "rank":
        said = (
            "scores of unknown meaning (task.scale=rank): they rank; p > 0.5, raw, means score > 0 and no probability"
        )
        return score, [said]
    if scale == "logit":
        inside = bool(((score >= 0) & (score <= 1)).all())
        return score, ["all scores lie in [0, 1]: probabilities? then task.scale=probability"] if inside else []
    if (outside := (score < 0) | (score > 1)).any():
        raise ValueError(
            f"{where}: {int(outside.sum())} of {len(score)} scores lie outside [0, 1] (first: {score[outside][0]:g}); "
            "give task.scale=logit, or task.scale=rank where only their order means something"
        )
    with np.errstate(divide="ignore"):
        logit = np.log(score) - np.log1p(-score)
    certain = ~np.isfinite(logit)
    said_of = [f"{int(certain.sum()):,} scores are exactly 0 or 1: they tie, and their order is lost"]
    return np.clip(logit, -EXTREME_LOGIT, EXTREME_LOGIT), said_of if certain.any() else []


def set_columns(stamps: StampSet, *, split: str) -> pa.Table:
    """Of the stamps that there are: ``task_id``, and the columns of dhs.evaluate.held_out but the logit."""
    parts = [part for part in stamps.parts if part.split == split]
    if not parts:
        raise ValueError(
            f"task.stamps = {stamps.place.root}: no {split} stamps; "
            + ("thresholds need sky that no claim is made on" if split == "val" else "there is nothing to claim on")
        )
    table = pa.Table.from_batches([b for part in parts for b in stamps.batches(part, columns=SET_COLUMNS)])
    table = table.append_column("index", pa.array(np.arange(len(table))))
    table = table.filter(table["cutout_ok"])
    injected = table["injected"].to_numpy(zero_copy_only=False).astype(bool)
    reason = np.asarray(table["reject_reason"].to_pylist(), dtype=str)

    def numbers(name: str) -> np.ndarray:
        return table[name].to_numpy(zero_copy_only=False).astype(np.float32)

    snr, total = (np.stack([numbers(f"{name}_{band}") for band in BANDS]) for name in ("arc_snr", "arc_snr_sum"))
    columns = {
        "task_id": table["task_id"].cast(pa.string()),
        "index": table["index"],
        "target_id": table["target_id"].cast(pa.int64()),
        "label": pa.array(injected.astype(np.int8)),
        "kind": table["kind"].cast(pa.string()),
        "theta_e_arcsec": _arcs(numbers("theta_e_arcsec"), injected),
        "magnification": _arcs(numbers("magnification"), injected),
        "source_mag_r": _arcs(numbers("source_r_mag"), injected),
        "arc_snr": _arcs(snr.max(axis=0), injected),
        "arc_snr_sum": _arcs(total.max(axis=0), injected),
        "arc_snr_sum_g": _arcs(total[BANDS.index("g")], injected),
        "accepted": pa.array(injected & (reason == CUTS[0])),
    }
    for band in BANDS:
        columns[f"psf_fwhm_{band}_arcsec"] = pa.array(numbers(f"psfsize_{band}_arcsec"))
        columns[f"psf_depth_{band}_mag"] = pa.array(numbers(f"psfdepth_{band}_mag"))
    return pa.table(columns)


def _arcs(values: np.ndarray, injected: np.ndarray) -> pa.Array:
    return pa.array(np.where(injected, values, np.float32(np.nan)))


def _places(table: pa.Table, theirs: TheirScores, *, where: str, refuse: bool) -> tuple[np.ndarray, list[str]]:
    """(N,) row of the score of each stamp, -1 where there is none; and what was left out."""
    found = pc.index_in(table["task_id"], value_set=pa.array(theirs.id))
    place = found.fill_null(-1).to_numpy().astype(np.int64)
    lost = place < 0
    if not lost.any():
        return place, []
    label = table["label"].to_numpy()
    words = f"{int(lost.sum()):,} of {len(place):,} stamps have no score ({int((lost & (label == 1)).sum()):,} lenses)"
    if lost.all():
        raise ValueError(
            f"{where}: no id is a task_id of the set's stamps (one of them: {table['task_id'][0].as_py()})"
        )
    if refuse:
        first = table["task_id"][int(np.flatnonzero(lost)[0])].as_py()
        raise ValueError(
            f"{where}: {words}, first: {first}; score them, or leave them out with task.missing=leave_out: the report "
            "then says so"
        )
    return place, [f"{where}: {words}; they are left out, and what a finder cannot score it misses in truth"]


def _require_labels(table: pa.Table, theirs: TheirScores, place: np.ndarray, *, where: str) -> None:
    if theirs.label is None:
        return
    ours = table["label"].to_numpy()
    if (wrong := theirs.label[place] != ours).any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{where}: the label of {int(wrong.sum())} stamps is another than the set's (first: "
            f"{table['task_id'][row].as_py()}, {theirs.label[place][row]} instead of {ours[row]}); are these its ids?"
        )


def write_external_card(folder: Path, *, run_info: dict[str, Any], warnings: list[str]) -> None:
    """The card that task=report reads: no training run stands behind these scores."""
    card = {"config": None, "finder": "external", "run_info": run_info, "warnings": warnings}
    write_atomically(folder / "evaluation.json", f"{json.dumps(card, indent=2)}\n".encode())
