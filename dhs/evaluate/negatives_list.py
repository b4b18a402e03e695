"""The user's own list of non-lenses (`evaluate.negatives.list` and `store`): audited, scored once, counted by kind."""

from collections import Counter
from dataclasses import dataclass
from html import escape

import numpy as np
import pyarrow as pa

from dhs.evaluate.calibration import Calibration
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.cutout_items import CutoutItems
from dhs.evaluate.intervals import Estimate, proportion
from dhs.evaluate.metrics import HALF_LOGIT
from dhs.evaluate.table import column
from dhs.evaluate.wording import rate
from dhs.page import table as html_table
from dhs.sky.cutouts import CutoutSet

SCORES, AUDIT = "negatives_list", "negatives_audit"
"""Names of the tables that are kept."""


@dataclass(frozen=True)
class OwnList:
    """What became of the list."""

    counting: pa.Table
    """``name``, ``kind`` and ``logit`` of the objects that passed the audit."""
    left_out: dict[str, int]
    """Objects by the reason why they do not count."""

    def rates(self, *, calibration: Calibration) -> dict[str, dict[str, Estimate]]:
        """By kind and together: p > 0.5 raw and calibrated, Clopper-Pearson."""
        logit = column(self.counting, "logit")
        kind = np.asarray(self.counting["kind"].to_pylist(), dtype=str)
        cuts = {"raw": logit > HALF_LOGIT, "calibrated": calibration.probability(logit) > 0.5}
        groups = {name: kind == name for name in dict.fromkeys(kind.tolist())} | {"all of the list": kind == kind}
        return {
            group: {
                cut: proportion(int(passed[rows].sum()), n=int(rows.sum()), method="clopper-pearson")
                for cut, passed in cuts.items()
            }
            for group, rows in groups.items()
        }


def own_list(context: EvaluationContext) -> OwnList | None:
    """None where no list was given (task=report: where none was scored).

    ValueError (one line) where nothing of the list passes the audit, or a file cannot be used.
    """
    given = context.settings.negatives
    if not given.store and not (context.only_stored and context.path(SCORES).is_file()):
        return None
    audit = context.table(AUDIT, lambda: _audit(context), identity=f"{given.list} {given.store}")
    reasons = np.asarray(audit["reason"].to_pylist(), dtype=str)
    if not (reasons == "").any():
        raise ValueError(f"evaluate.negatives.list = {given.list}: no object passes the audit ({reasons[0]})")
    table = context.score(SCORES, lambda: _items(context, audit))
    return OwnList(table, dict(Counter(reasons[reasons != ""].tolist())))


def _audit(context: EvaluationContext) -> pa.Table:
    from dhs.sky.anchor_audit import audit
    from dhs.sky.anchors import read_anchors
    from dhs.sky.known_lenses import lenscat

    given = context.settings.negatives
    assert given.list is not None
    objects = read_anchors(given.list)
    found = audit(objects, known=lenscat(), cutouts=_cutouts(context))
    near_lens = found.catalogue_arcsec <= NEAR_LENS_ARCSEC
    reason = np.where((found.reason == "") & near_lens, "a known lens lies on it", found.reason)
    reason = np.where(objects.kind == "lens", "kind = lens: no negative", reason)
    return pa.table({"name": objects.name, "kind": objects.kind, "row": found.cutout_row, "reason": reason.astype(str)})


NEAR_LENS_ARCSEC = 11.0
"""As in the exclusion of known lenses from targets."""


def _cutouts(context: EvaluationContext) -> CutoutSet:
    from dhs.sky.build import open_cutouts

    return open_cutouts(context.settings.negatives.store, key="evaluate.negatives.store")


def _items(context: EvaluationContext, audit: pa.Table) -> CutoutItems:
    chosen = audit.filter(pa.array(np.asarray(audit["reason"].to_pylist(), dtype=str) == ""))
    columns = {name: np.asarray(chosen[name].to_pylist(), dtype=object) for name in ("name", "kind")}
    given = context.settings.negatives
    rows = chosen["row"].to_numpy()
    return CutoutItems(_cutouts(context), rows=rows, columns=columns, identity=f"{given.list} {given.store} {rows}")


def list_html(made: OwnList, rates: dict[str, dict[str, Estimate]]) -> str:
    """The part of the section that is about the list."""
    rows = [
        (group, f"{cells['raw'].n:,}", rate(cells["raw"].as_dict()), rate(cells["calibrated"].as_dict()))
        for group, cells in rates.items()
    ]
    words = "Audited as anchors are: name, position, a galaxy at the centre, and no known lens within 11 arcsec."
    lost = "; ".join(f"{n} left out: {reason}" for reason, n in made.left_out.items())
    return f"<h3>Your list of non-lenses</h3><p>{escape(words)} {escape(lost)}</p>" + html_table(
        ("kind", "N", "p > 0.5, raw", "p > 0.5, calibrated"), rows
    )
