"""Which anchors count in a recall: those that were audited and passed, on survey cutouts; the rest with its reason.

An audit (`dhs.sky.anchor_audit`) checks name, second catalogue and pixels. On top of it, here: a stamp of the simulated
telescope is no survey cutout and never counts as a real lens, whatever list it is given with; a survey cutout never
counts as a degraded one; two names of one cutout are one lens; what is no lens (`kind`) is in no recall.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dhs.config.anchors import DegradedAnchors, ListedAnchors
from dhs.evaluate.visibility import Visibility, read_grades, visibility
from dhs.sky.anchor_audit import Audit, AuditLimits, audit
from dhs.sky.anchors import AnchorList, read_anchors, slacs_bells
from dhs.sky.build import open_cutouts
from dhs.sky.cutouts import CutoutSet
from dhs.sky.known_lenses import KnownLenses, lenscat, read_known_lenses

Provenance = Literal["real", "degraded", "simulated"]

LABELS: dict[Provenance, str] = {
    "real": "",
    "degraded": "HST through a simulated telescope",
    "simulated": "SIMULATED: published lenses in the mock sky",
}
"""What every figure, table and verdict of a kind of anchors says; survey cutouts need no label."""


@dataclass(frozen=True)
class AnchorSample:
    """N audited anchors and their cutouts."""

    provenance: Provenance
    anchors: AnchorList
    found: Audit
    graded: Visibility
    cutouts: CutoutSet | None

    @cached_property
    def reason(self) -> np.ndarray:
        """(N,) str: why an anchor does not count, '' where it does."""
        return counting_reasons(self.anchors, found=self.found, cutouts=self.cutouts, provenance=self.provenance)

    @property
    def counting(self) -> np.ndarray:
        """(K,) places of the anchors that count."""
        return np.flatnonzero(self.reason == "")

    @property
    def identity(self) -> str:
        """Changes when the list, its verdicts, its grades or a pixel does."""
        parts: list[Any] = [self.provenance, self.reason, self.graded.grade, *vars(self.anchors).values()]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(str(np.asarray(part).tolist()).encode())
        if self.cutouts is not None:
            for row in self.found.cutout_row[self.counting]:
                digest.update(np.ascontiguousarray(self.cutouts.images[row]).tobytes())
        return digest.hexdigest()


def counting_reasons(
    anchors: AnchorList, *, found: Audit, cutouts: CutoutSet | None, provenance: Provenance
) -> np.ndarray:
    """(N,) str, '' where an anchor counts in the recall of ``provenance``."""
    reasons: list[str] = []
    owner: dict[int, str] = {}
    for i, row in enumerate(found.cutout_row.tolist()):
        reason = str(found.reason[i])
        if not reason and anchors.kind[i] != "lens":
            reason = f"not a lens: {anchors.kind[i]}"
        if not reason and row >= 0 and cutouts is not None:
            reason = _wrong_origin("" if cutouts.origin is None else str(cutouts.origin[row]), provenance)
        if not reason and row in owner:
            reason = f"the same cutout as {owner[row]}"
        if not reason:
            owner[row] = str(anchors.name[i])
        reasons.append(reason)
    return np.array(reasons, dtype=object).astype(str)


def _wrong_origin(origin: str, provenance: Provenance) -> str:
    if provenance == "real" and origin:
        return f"no survey cutout ({origin}): use anchors=degraded"
    if provenance == "degraded" and not origin:
        return "a survey cutout, not one of the simulated telescope: use anchors=slacs_bells or anchors=csv"
    return ""


def audited(
    anchors: AnchorList,
    *,
    known: KnownLenses,
    cutouts: CutoutSet | None,
    limits: AuditLimits,
    by_hand: dict[str, str],
    provenance: Provenance,
) -> AnchorSample:
    """Audit and grade ``anchors``; ``by_hand`` are a human's grades by name.

    Raises:
        ValueError: a grade of an object that is not in the list.
    """
    if unknown := sorted(set(by_hand) - set(anchors.name.tolist())):
        raise ValueError(f"anchors.grades: {unknown[0]} is not in {anchors.origin}; remove it or correct its name")
    found = audit(anchors, known=known, cutouts=cutouts, limits=limits)
    rows = np.where(found.failed, -1, found.cutout_row)
    graded = visibility(anchors, cutouts=cutouts, cutout_row=rows, by_hand=by_hand)
    return AnchorSample(provenance, anchors, found, graded, cutouts)


def open_sample(
    chosen: ListedAnchors, *, limits: AuditLimits | None = None, stamp_size_px: int | None = None
) -> AnchorSample:
    """The audited list that ``chosen`` names, with its cutouts (of ``stamp_size_px``; None: as they are, 64 of files).

    Raises:
        FileNotFoundError, ValueError: a file cannot be used, or the cutouts have another size than the run's stamps.
    """
    cutouts = open_cutouts(chosen.cutouts, stamp_size_px=stamp_size_px) if chosen.cutouts else None
    return audited(
        read_list(getattr(chosen, "path", None)),
        known=read_known_lenses(chosen.known_lenses) if chosen.known_lenses else lenscat(),
        cutouts=cutouts,
        limits=limits or AuditLimits(),
        by_hand=read_grades(chosen.grades),
        provenance="degraded" if isinstance(chosen, DegradedAnchors) else "real",
    )


def read_list(path: Path | None) -> AnchorList:
    """A user's list, or with None the 125 that come with the package."""
    return slacs_bells() if path is None else read_anchors(path)
