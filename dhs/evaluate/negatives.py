"""Stage `negatives`: false positives by class, contamination at p > 0.5, and pictures of the worst of every class."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import pyarrow as pa

from dhs.config.sky import MockSky
from dhs.constants import CLASSES
from dhs.display import stamp_png
from dhs.evaluate.calibration import Calibration
from dhs.evaluate.context import EvaluationContext, NotScored
from dhs.evaluate.figures import rates_figure
from dhs.evaluate.gallery import caption
from dhs.evaluate.intervals import Estimate, proportion
from dhs.evaluate.metrics import HALF_LOGIT
from dhs.evaluate.negatives_list import OwnList, list_html, own_list
from dhs.evaluate.pictures import Pictures, pictures_html, pictures_table, read_pictures
from dhs.evaluate.rows import Row
from dhs.evaluate.section import Section, figure_slot
from dhs.evaluate.table import column
from dhs.evaluate.targets import contamination_verdict
from dhs.evaluate.wording import CLASS_NAMES, rate
from dhs.page import table as html_table
from dhs.rng import Purpose

HARD_CLASSES = tuple(name for name in CLASSES if name != "lrg")
"""Look-alikes: what is not a plain luminous red galaxy."""

N_WORST = 6
"""Pictures of each class: a row of the report."""

RAW, CALIBRATED = "p > 0.5, raw", "p > 0.5, calibrated"

CAPTION = (
    "False-positive rate of every class of negatives, Clopper-Pearson 95% intervals: at the thresholds that the "
    "calibration sky gives, and at p > 0.5."
)


def run(context: EvaluationContext) -> Section:
    """The section, from the negatives of the test sky."""
    table = context.test_scores
    negatives = table.filter(pa.array(column(table, "label") == 0))
    made = section(
        negatives,
        calibration=context.calibration,
        pictures=_pictures(context, negatives),
        simulated=isinstance(context.config.sky, MockSky),
    )
    own = own_list(context)
    return made if own is None else with_list(made, own, calibration=context.calibration)


def section(
    negatives: pa.Table, *, calibration: Calibration, pictures: Sequence[Pictures] | str, simulated: bool = False
) -> Section:
    """The section of the score table of negatives: pure. ``pictures`` is a sentence where there are none.

    ``simulated``: the galaxies are drawn, and the verdict says so."""
    cuts = flagged(column(negatives, "logit"), calibration=calibration)
    kind = np.asarray(negatives.column("kind").to_pylist(), dtype=str)
    groups = {name: kind == name for name in CLASSES}
    groups |= {"all hard classes": np.isin(kind, HARD_CLASSES), "all": np.ones(len(kind), dtype=bool)}
    rates = {group: {cut: _rate(passed[rows]) for cut, passed in cuts.items()} for group, rows in groups.items()}
    data: dict[str, Any] = {
        "lens_share": calibration.lens_share,
        "rates": {group: {cut: one.as_dict() for cut, one in cells.items()} for group, cells in rates.items()},
    }
    worst = rates["all hard classes"]
    words = f"{rate(worst[RAW].as_dict())} raw ({worst[RAW].k} of {worst[RAW].n:,}); calibrated "
    words += rate(worst[CALIBRATED].as_dict())
    return Section(
        "negatives",
        "Hard negatives",
        _html(data, pictures),
        rows=_rows(rates),
        data=data,
        figures={"fpr_by_class": rates_figure(data["rates"], names=_names())},
        captions={"fpr_by_class": CAPTION},
        verdicts=[contamination_verdict(worst[RAW], words=words, simulated=simulated)],
        warnings=_warnings(rates),
    )


def with_list(made: Section, own: OwnList, *, calibration: Calibration) -> Section:
    """The section with the user's own list, which then is what the target is put to."""
    rates = own.rates(calibration=calibration)
    together = rates["all of the list"]["raw"]
    words = f"{rate(together.as_dict())} raw ({together.k} of {together.n:,} of your list)"
    rows = [
        Row(f"fpr_at_p > 0.5, {cut}", f"own list: {group}", one.value, one.low, one.high, one.n, one.note)
        for group, cells in rates.items()
        for cut, one in cells.items()
    ]
    listed = {group: {cut: one.as_dict() for cut, one in cells.items()} for group, cells in rates.items()}
    return replace(
        made,
        html=made.html + list_html(own, rates),
        rows=made.rows + rows,
        data=made.data | {"own_list": listed, "own_list_left_out": own.left_out},
        verdicts=[contamination_verdict(together, words=words)],
    )


def flagged(logit: np.ndarray, *, calibration: Calibration) -> dict[str, np.ndarray]:
    """(N,) bool by cut: the calibrated thresholds, and p > 0.5 of the raw and of the calibrated probability."""
    cuts = {f"FPR {threshold.fpr:g}": logit > threshold.logit for threshold in calibration.thresholds}
    return cuts | {RAW: logit > HALF_LOGIT, CALIBRATED: calibration.probability(logit) > 0.5}


def _rate(passed: np.ndarray) -> Estimate:
    note = "" if len(passed) else "none"
    return proportion(int(passed.sum()), n=len(passed), method="clopper-pearson", note=note)


def _names() -> dict[str, str]:
    return CLASS_NAMES | {"all hard classes": "all hard classes", "all": "all"}


def _html(data: dict[str, Any], pictures: Sequence[Pictures] | str) -> str:
    cuts = list(next(iter(data["rates"].values())))
    rows = [
        (_names()[group], f"{cells[RAW]['n']:,}", *(rate(cells[cut]) for cut in cuts))
        for group, cells in data["rates"].items()
    ]
    words = (
        f"Hard: {', '.join(CLASS_NAMES[name] for name in HARD_CLASSES)}. Thresholds at a stated FPR come from the "
        "calibration sky's own mix of classes, so no class needs to have that rate. Raw: the network's sigmoid above "
        f"0.5; calibrated: a probability above 0.5 where {data['lens_share']:.1%} of the stamps are lenses. These are "
        "rates among negatives, not the share of negatives in a candidate list."
    )
    shown = f"<p class=note>{escape(pictures)}</p>" if isinstance(pictures, str) else pictures_html(pictures)
    return (
        f"<p>{escape(words)}</p>{html_table(('negatives', 'N', *cuts), rows)}"
        f"<div class=figures>{figure_slot('fpr_by_class')}</div>{shown}"
    )


def _rows(rates: dict[str, dict[str, Estimate]]) -> list[Row]:
    return [
        Row(f"fpr_at_{cut}", f"negatives {group}", one.value, one.low, one.high, one.n, one.note)
        for group, cells in rates.items()
        for cut, one in cells.items()
    ]


def _warnings(rates: dict[str, dict[str, Estimate]]) -> list[str]:
    empty = [CLASS_NAMES[name] for name in CLASSES if rates[name][RAW].n == 0]
    return [f"no negatives of class {', '.join(empty)}: contamination by them is unknown"] if empty else []


def _pictures(context: EvaluationContext, negatives: pa.Table) -> Sequence[Pictures] | str:
    """The worst of every class, kept beside the scores; why there are none, where they cannot be made here."""
    chosen = worst_of_each_class(negatives)
    index = negatives.column("index").to_numpy()

    def make() -> pa.Table:
        galleries = []
        for name, rows in chosen.items():
            images = context.supply.stamps(index[rows], purpose=Purpose.TEST).images.numpy()
            cells = [(stamp_png(image), caption(negatives, int(row))) for row, image in zip(rows, images, strict=True)]
            galleries.append(Pictures(f"Worst: {CLASS_NAMES[name]}", "Highest scores first; p is the raw one.", cells))
        return pictures_table(galleries)

    identity = f"negatives {[index[rows].tolist() for rows in chosen.values()]}"
    try:
        return read_pictures(context.table("pictures_negatives", make, identity=identity))
    except NotScored as error:
        return f"No pictures: {error}"


def worst_of_each_class(negatives: pa.Table) -> dict[str, np.ndarray]:
    """Rows of the highest scores of every class that there is."""
    logit = column(negatives, "logit")
    kind = np.asarray(negatives.column("kind").to_pylist(), dtype=str)
    chosen = {}
    for name in CLASSES:
        rows = np.flatnonzero(kind == name)
        if len(rows):
            chosen[name] = rows[np.argsort(-logit[rows], kind="stable")][:N_WORST]
    return chosen
