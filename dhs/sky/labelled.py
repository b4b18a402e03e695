"""A store of cutouts with labels: known lenses (1) and what is none (0), and which of them training may see.

A list for `inject.py task=cutouts` with a column `label` makes one: every column of a list travels into the store's
index. Training may see a galaxy of it where

* the sky's split rule puts its position into train, and so does the store's own column `split`, where each is there;
* no galaxy of the sky's validation or test split is on its stamp (at the border of a split that can be);
* it is not held out: the lenses that recall will be measured on.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.config.sky import SplitConfig, StoreSky
from dhs.constants import PIXEL_SCALE_ARCSEC, SPLITS
from dhs.sky.anchors import read_anchors, slacs_bells
from dhs.sky.cutouts import CutoutSet
from dhs.sky.sky_match import SkyIndex
from dhs.sky.splits import split_of_position
from dhs.sky.store import load_store_sky

log = logging.getLogger("dhs")

LABEL = "label"
ANY_SPLIT = SplitConfig.model_validate({})
"""Stands in where a store has no column split; the rule of the sky decides then."""

SAME_OBJECT_ARCSEC = 11.0
"""As in the exclusion of known lenses from targets."""


@dataclass(frozen=True)
class LabelledStore:
    """N cutouts of a store, each with its label."""

    path: Path
    cutouts: CutoutSet
    label: np.ndarray
    """(N,) int8, 0 or 1."""
    has_split: bool
    """Whether the list said which split each is in (`cutouts.split`)."""


def load_labelled(path: Path, *, key: str) -> LabelledStore:
    """The store at ``path``; ValueError (one line) naming ``key`` where it has no usable label."""
    if not (path / "store.json").is_file():
        raise ValueError(
            f"{key} = {path}: no finished store of cutouts (no store.json); make one with `inject.py task=cutouts` "
            f"from a list with a column {LABEL}"
        )
    index = path / "index.parquet"
    names = pq.read_schema(index).names
    if LABEL not in names:
        raise ValueError(
            f"{key} = {path}: the store has no column {LABEL} (1: lens, 0: not); give its list one and make it again"
        )
    has_split = "split" in names
    config = StoreSky.model_validate({"name": "store", "path": path, "split": None if has_split else ANY_SPLIT})
    cutouts = load_store_sky(config)
    rows = pq.read_table(index, columns=[LABEL, "cutout_ok"])
    label = rows.filter(rows["cutout_ok"])[LABEL]
    if not (pa.types.is_integer(label.type) or pa.types.is_boolean(label.type)) or label.null_count:
        raise ValueError(f"{key} = {path}: {LABEL} has type {label.type}; allowed: 0 and 1, none missing")
    values = label.cast(pa.int64()).to_numpy()
    if stray := sorted(set(values.tolist()) - {0, 1}):
        raise ValueError(f"{key} = {path}: {LABEL} = {stray[0]}; allowed: 0 and 1")
    return LabelledStore(path, cutouts, values.astype(np.int8), has_split)


def train_rows(
    store: LabelledStore, *, label: int, sky: CutoutSet, split: SplitConfig | None, hold_out: Sequence[str], key: str
) -> np.ndarray:
    """(n,) rows of ``store`` with ``label`` that training may see; what was left out, and why, is logged.

    ``split``: the rule of the run's sky, None where its galaxies bring their own. ValueError naming ``key`` where the
    split cannot be known, or nothing is left.
    """
    if split is None and not store.has_split:
        raise ValueError(
            f"{key} = {store.path}: has no column split, and neither has the sky a rule (sky.split = null): whether a "
            "galaxy is in the test sky cannot be known; give sky.split, or a list with a column split"
        )
    cutouts = store.cutouts
    reasons = np.full(len(cutouts), "", dtype="<U24")
    reasons[store.label != label] = "of the other label"
    _mark(reasons, ~outside_of_train(cutouts, own=store.has_split, rule=split), "not in the train sky")
    _mark(reasons, ~near_unseen(cutouts, sky=sky), "at val or test galaxies")
    _mark(reasons, ~_near_any(cutouts, [_positions(name, key=key) for name in hold_out]), "held out")
    rows = np.flatnonzero(reasons == "")
    counts = ", ".join(f"{(reasons == name).sum()} {name}" for name in np.unique(reasons) if name) or "none"
    log.info("%s = %s: %d of %d cutouts; left out: %s", key, store.path, len(rows), len(cutouts), counts)
    if len(rows) == 0:
        raise ValueError(f"{key} = {store.path}: no cutout of label {label} may be trained on ({counts})")
    return rows


def outside_of_train(cutouts: CutoutSet, *, own: bool, rule: SplitConfig | None) -> np.ndarray:
    """(N,) bool: not in train, by the ``rule`` of a sky, or by the set's ``own`` split where it has one."""
    train = SPLITS.index("train")
    outside = cutouts.split != train if own else np.zeros(len(cutouts), bool)
    return (
        outside
        if rule is None
        else outside | (split_of_position(cutouts.ra_deg, cutouts.dec_deg, config=rule) != train)
    )


def near_unseen(cutouts: CutoutSet, *, sky: CutoutSet) -> np.ndarray:
    """(N,) bool: a validation or test galaxy of ``sky`` is within a stamp's side."""
    unseen = sky.split > SPLITS.index("train")
    return near(cutouts, sky.ra_deg[unseen], sky.dec_deg[unseen], arcsec=sky.stamp_size_px * PIXEL_SCALE_ARCSEC)


def near(cutouts: CutoutSet, ra_deg: np.ndarray, dec_deg: np.ndarray, *, arcsec: float) -> np.ndarray:
    """(N,) bool: one of the positions (those that are known) is within ``arcsec``; False where its own is not."""
    known = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    here = np.isfinite(cutouts.ra_deg) & np.isfinite(cutouts.dec_deg)
    found = np.zeros(len(cutouts), bool)
    row, _ = SkyIndex(ra_deg[known], dec_deg[known]).nearest(
        cutouts.ra_deg[here], cutouts.dec_deg[here], within_arcsec=arcsec
    )
    found[here] = row >= 0
    return found


def _mark(reasons: np.ndarray, fine: np.ndarray, reason: str) -> None:
    reasons[(reasons == "") & ~fine] = reason


def _near_any(cutouts: CutoutSet, lists: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    found = np.zeros(len(cutouts), bool)
    for ra_deg, dec_deg in lists:
        found |= near(cutouts, ra_deg, dec_deg, arcsec=SAME_OBJECT_ARCSEC)
    return found


def _positions(name: str, *, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the anchors that come with the package, or of a CSV."""
    if name == "slacs_bells":
        anchors = slacs_bells()
    elif Path(name).is_file():
        anchors = read_anchors(Path(name))
    else:
        raise ValueError(f"{key.rpartition('.')[0]}.hold_out = {name}: must be slacs_bells, or a CSV that exists")
    return anchors.ra_deg, anchors.dec_deg
