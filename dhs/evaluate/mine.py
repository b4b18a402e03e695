"""Hard negatives: score galaxies without arcs with a trained finder, keep the worst of each class.

Only what training may see is scored: the train sky (val too where asked, to look at), never the test sky; no galaxy
that unpaired runs inject into; nothing near a known lens, or the next run would be taught that lenses are none. Scores
are kept beside the list in resumable parts, so another `task.per_class` costs nothing.
"""

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.config.evaluation import EvaluateConfig
from dhs.config.mine import MineTask
from dhs.config.root import TrainConfig
from dhs.config.run_dir import versions
from dhs.config.sky import FilesSky, MockSky, SplitConfig, StampsSky, StoreSky
from dhs.constants import CLASSES, SPLITS
from dhs.evaluate.run import choose_device
from dhs.evaluate.scored_set import score_items
from dhs.inject.hard_list import SCHEMA, may_host, write_hard_list
from dhs.inject.painter import plain_stamps
from dhs.inject.stamp_batch import StampBatch
from dhs.sky.anchors import slacs_bells
from dhs.sky.build import load_sky
from dhs.sky.cutouts import CutoutSet
from dhs.sky.exclusion import known_lenses, near_known_lens
from dhs.sky.labelled import LABEL, load_labelled, near
from dhs.sky.splits import split_of_position
from dhs.sky.store import load_store_sky
from dhs.train.finder import open_finder

log = logging.getLogger("dhs")


@dataclass(frozen=True)
class Searched:
    """The galaxies that are looked through."""

    cutouts: CutoutSet
    split: np.ndarray
    """(N,) int8, the strictest of what the set and the sky's rule say of each."""
    lens: np.ndarray
    """(N,) bool: labelled as one."""
    origin: str


@dataclass(frozen=True)
class Mined:
    """What was found."""

    cutouts: CutoutSet
    rows: np.ndarray
    """(n,) of ``cutouts``, by class and rank."""
    table: pa.Table
    """(n,) `hard_list.SCHEMA`."""
    provenance: dict[str, Any]

    def lines(self) -> list[str]:
        """The result in words: per class how many, of how many, how bad."""
        kinds = np.asarray(self.table["class"].to_pylist(), dtype=str)
        score = self.table["score"].to_numpy()
        lines = []
        for name, n_scored in self.provenance["scored"].items():
            mine = score[kinds == name]
            whole = "; that is all of them: nothing was chosen" if len(mine) == n_scored else ""
            lines.append(
                f"{name}: the worst {len(mine)} of {n_scored}, p {probability(mine.max()):.3g} to "
                f"{probability(mine.min()):.3g}{whole}"
            )
        return lines


class PlainItems:
    """`dhs.evaluate.scored_set.StampItems` of galaxies as they are."""

    def __init__(self, cutouts: CutoutSet, rows: np.ndarray) -> None:
        self.cutouts, self._rows = cutouts, rows

    @property
    def identity(self) -> str:
        """The galaxies, by id and pixels of the first and last: two skies of equal ids are not one."""
        digest = hashlib.sha256(self.cutouts.target_id[self._rows].tobytes())
        for row in (int(self._rows[0]), int(self._rows[-1])):
            digest.update(np.ascontiguousarray(self.cutouts.images[row]).tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def stamps(self, indices: np.ndarray) -> StampBatch:
        return plain_stamps(self.cutouts, self._rows[indices])

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"target_id": stamps.recipes.target_id}


def mine_checkpoint(checkpoint: Path, *, task: MineTask, settings: EvaluateConfig, num_workers: int) -> Mined:
    """Score with ``checkpoint`` (a network or an ensemble), choose, write ``task.output``.

    ValueError (one line) where there is nothing that may be mined.
    """
    finder = open_finder(
        checkpoint, tta=settings.tta, device=choose_device(settings.device), precision=settings.precision
    )
    config = finder.config
    searched = _searched(config, task)
    rows, left_out = candidates(searched, task=task, controls=config.inject.controls)
    items = PlainItems(searched.cutouts, rows)
    with checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    scores = score_items(
        finder,
        items,
        path=task.output.with_suffix(".scores.parquet"),
        batch_size=settings.batch_size,
        num_workers=num_workers,
        identity=f"{sha256} tta={settings.tta} {settings.precision} {items.identity}",
        label="mining",
    )
    chosen, rank = worst(
        scores["logit"].to_numpy(), kinds=searched.cutouts.kind[rows], ids=searched.cutouts.target_id[rows],
        per_class=task.per_class,
    )  # fmt: skip
    provenance = {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": sha256,
        "origin": searched.origin,
        "task": task.model_dump(mode="json"),
        "sky": config.sky.model_dump(mode="json"),
        "controls": config.inject.controls,
        "scored": _by_class(searched.cutouts.kind[rows]),
        "left_out": left_out,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    columns = _columns(searched, rows[chosen], logit=scores["logit"].to_numpy()[chosen], rank=rank, sha256=sha256)
    write_hard_list(task.output, columns, provenance=provenance)
    return Mined(searched.cutouts, rows[chosen], pa.table(columns, schema=SCHEMA), provenance)


def candidates(searched: Searched, *, task: MineTask, controls: str) -> tuple[np.ndarray, dict[str, int]]:
    """(n,) rows that may be mined, and why others may not. ValueError where none may."""
    cutouts = searched.cutouts
    every = np.arange(len(cutouts))
    anchors = slacs_bells()
    radius = task.exclusion.radius_arcsec
    lens = searched.lens | near(cutouts, anchors.ra_deg, anchors.dec_deg, arcsec=radius)
    placed = np.isfinite(cutouts.ra_deg) & np.isfinite(cutouts.dec_deg)
    lens[placed] |= near_known_lens(
        cutouts.ra_deg[placed], cutouts.dec_deg[placed], lenses=known_lenses(task.exclusion), radius_arcsec=radius
    )
    reason = np.full(len(cutouts), "", dtype="<U24")
    for mask, why in (
        (searched.split == SPLITS.index("test"), "of the test sky"),
        (~np.isin(searched.split, [SPLITS.index(name) for name in task.splits]), "of another split"),
        (lens, "at a known lens"),
        (may_host(cutouts, every) if controls != "paired" else np.zeros(len(cutouts), bool), "hosts of arcs"),
    ):
        reason[(reason == "") & mask] = why
    counts = dict(Counter(reason[reason != ""].tolist()))
    log.info("%s: left out: %s", searched.origin, ", ".join(f"{n} {why}" for why, n in counts.items()) or "none")
    rows = np.flatnonzero(reason == "")
    if len(rows) == 0:
        raise ValueError(
            f"task.store = {task.store}: nothing may be mined of {searched.origin} ("
            f"{', '.join(f'{n} {why}' for why, n in counts.items())})"
        )
    return rows, counts


def worst(logit: np.ndarray, *, kinds: np.ndarray, ids: np.ndarray, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in the (n,) arrays of the ``per_class`` highest ``logit`` of each class, and each one's rank, 1 = worst.

    By class in the order of constants.CLASSES, then by rank; ties by ``ids``.
    """
    order = np.lexsort((ids, -logit.astype(np.float64), kinds))
    sorted_kinds = kinds[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_kinds, sorted_kinds)
    kept = rank < per_class
    return order[kept], rank[kept] + 1


def probability(logit: float) -> float:
    """Sigmoid, in float64."""
    return float(1.0 / (1.0 + np.exp(-np.float64(logit))))


def _searched(config: TrainConfig, task: MineTask) -> Searched:
    if task.store is not None:
        return _store(task.store, config)
    if isinstance(config.sky, StampsSky):
        raise ValueError(
            "task.store = null: the checkpoint was trained on sky=stamps, a finished set; give a store of cutouts"
        )
    cutouts = load_sky(config.sky, cache_dir=config.paths.cache_dir, max_galaxies=config.max_galaxies)
    none = np.zeros(len(cutouts), bool)
    return Searched(cutouts, cutouts.split, none, f"sky={config.sky.name} of {config.name}")


def _store(path: Path, config: TrainConfig) -> Searched:
    """A store: what its own split says, and what the rule of the checkpoint's sky says, whichever is stricter."""
    names = pq.read_schema(path / "index.parquet").names
    rule: SplitConfig | None = config.sky.split if isinstance(config.sky, MockSky | FilesSky | StoreSky) else None
    if "split" not in names and rule is None:
        raise ValueError(
            f"task.store = {path}: has no column split, and neither has the checkpoint's sky a rule: whether a galaxy "
            "is in the test sky cannot be known"
        )
    label = np.zeros(0, np.int8)
    if LABEL in names:
        labelled = load_labelled(path, key="task.store")
        cutouts, label = labelled.cutouts, labelled.label
    else:
        split = None if "split" in names else rule
        cutouts = load_store_sky(StoreSky.model_validate({"name": "store", "path": path, "split": split}))
    _require_size(cutouts, config, path=path)
    found = cutouts.split if "split" in names else np.zeros(len(cutouts), np.int8)
    if rule is not None:
        found = np.maximum(found, split_of_position(cutouts.ra_deg, cutouts.dec_deg, config=rule))
    lens = label == 1 if len(label) else np.zeros(len(cutouts), bool)
    return Searched(cutouts, found, lens, f"store {path}")


def _require_size(cutouts: CutoutSet, config: TrainConfig, *, path: Path) -> None:
    wanted = getattr(config.sky, "stamp_size_px", None)
    if wanted is not None and wanted != cutouts.stamp_size_px:
        raise ValueError(
            f"task.store = {path}: stamps of {cutouts.stamp_size_px} px, the checkpoint was trained on {wanted}; make "
            f"it again with task.stamp_size_px={wanted}"
        )


def _columns(
    searched: Searched, rows: np.ndarray, *, logit: np.ndarray, rank: np.ndarray, sha256: str
) -> dict[str, Any]:
    cutouts = searched.cutouts
    return {
        "target_id": cutouts.target_id[rows],
        "ra_deg": cutouts.ra_deg[rows],
        "dec_deg": cutouts.dec_deg[rows],
        "class": np.array(CLASSES)[cutouts.kind[rows]],
        "score": logit.astype(np.float32),
        "rank": rank.astype(np.int32),
        "origin": [searched.origin] * len(rows),
        "checkpoint": [sha256[:16]] * len(rows),
        "split": np.array(SPLITS)[searched.split[rows]],
    }


def _by_class(kinds: np.ndarray) -> dict[str, int]:
    counts = np.bincount(kinds, minlength=len(CLASSES)).tolist()
    return {name: count for name, count in zip(CLASSES, counts, strict=True) if count}
