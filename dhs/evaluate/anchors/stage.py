"""Stage `anchors`: recall on the lenses that `anchors=` names, found and missed ones shown.

python evaluate.py checkpoint=RUN task=all anchors=slacs_bells "anchors.cutouts=[anchor_store]"
python evaluate.py checkpoint=RUN task=all anchors=degraded "anchors.cutouts=[degraded.npz]"
python evaluate.py checkpoint=RUN task=all anchors=simulated
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dhs.config.anchors import SimulatedAnchors
from dhs.display import stamp_png
from dhs.evaluate.anchors.figures import recall_figure
from dhs.evaluate.anchors.listed import Listed, published_table, read_listed, sample_table
from dhs.evaluate.anchors.recall import Flagged, Lenses, cells, flag, recall, strata
from dhs.evaluate.anchors.sample import LABELS, AnchorSample, open_sample, read_list
from dhs.evaluate.anchors.simulate import published, simulated_items
from dhs.evaluate.anchors.words import (
    CutResult,
    banner,
    data,
    headline_table,
    left_out_table,
    limits_html,
    probability_words,
    rows,
    strata_tables,
    verdicts,
)
from dhs.evaluate.calibration import Calibration
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.cutout_items import CutoutItems
from dhs.evaluate.pictures import Pictures, pictures_html, pictures_table, read_pictures
from dhs.evaluate.scored_set import StampItems
from dhs.evaluate.section import Section, figure_slot, said
from dhs.evaluate.targets import MIN_RECALL_REAL
from dhs.evaluate.visibility import grade_of
from dhs.inject.injector import Injector
from dhs.rng import Purpose, keyed_rng

KEY, TITLE = "anchors", "Real lenses"
SCORES, LIST = "anchors", "anchors_list"


def run(context: EvaluationContext) -> Section:
    """The section; where no lens counts it says so, and the verdict is "not measured"."""
    if isinstance(context.anchors, SimulatedAnchors) and context.config.sky.name == "stamps":
        return said(KEY, TITLE, why="Not done: anchors=simulated paints arcs, and a run on sky=stamps has no source.")
    items = _Items(context)
    listed = read_listed(context.table(LIST, items.listed, identity=items.identity))
    if listed.n_counting == 0:
        return _nothing(listed)
    scores = context.score(SCORES, items.scored)
    lenses = lenses_of(scores, calibration=context.calibration)
    flagged = flag(lenses, thresholds=[(cut.fpr, cut.logit, cut.note) for cut in context.calibration.thresholds])
    results = [analyse(lenses, one) for one in flagged]
    shown = next((one for one in flagged if one.name == f"fpr_{context.settings.bin_fpr:g}"), flagged[-1])
    pictures = _pictures(context, scores, lenses, shown, listed=listed, items=items)
    missing = [f"No recall at FPR {fpr:g}: {why}." for fpr, why in context.calibration.unresolved.items()]
    return _section(listed, results, pictures=pictures, missing=missing)


def lenses_of(scores: pa.Table, *, calibration: Calibration) -> Lenses:
    """Scores of anchors as arrays; the grade of simulated ones is that of their own arc."""
    logit = scores.column("logit").to_numpy().astype(np.float64)
    ratio = scores.column("theta_e_over_psf").to_numpy().astype(np.float64)
    if "grade" in scores.column_names:
        grade = _text(scores, "grade")
    else:
        snr = scores.column("arc_snr_sum_g").to_numpy()
        grade = np.array([grade_of(float(a), float(b)) for a, b in zip(ratio, snr, strict=True)])
    return Lenses(_text(scores, "lens"), _text(scores, "survey"), grade, ratio, logit, calibration.probability(logit))


def analyse(lenses: Lenses, flagged: Flagged) -> CutResult:
    """Recall at one threshold, all, visible and divided."""
    seen = lenses.visible
    return CutResult(
        flagged.name,
        flagged.words,
        flagged.note,
        recall(flagged.hit, lens=lenses.lens),
        recall(flagged.hit[seen], lens=lenses.lens[seen], empty="none is visible (grade A)"),
        {name: cells(flagged, masks=masks, lens=lenses.lens) for name, masks in strata(lenses).items()},
    )


class _Items:
    """What `anchors=` names, opened when it is first asked for: task=report asks for nothing."""

    def __init__(self, context: EvaluationContext) -> None:
        self._context = context
        self._sample: AnchorSample | None = None

    @property
    def identity(self) -> str:
        if not self._context.has_network:
            return ""
        chosen = self._context.anchors
        return chosen.model_dump_json() if isinstance(chosen, SimulatedAnchors) else self._audited().identity

    def listed(self) -> pa.Table:
        chosen = self._context.anchors
        if isinstance(chosen, SimulatedAnchors):
            return published_table(published(read_list(chosen.path)))
        return sample_table(self._audited())

    def scored(self) -> StampItems:
        chosen, context = self._context.anchors, self._context
        if not isinstance(chosen, SimulatedAnchors):
            return anchor_items(self._audited())
        assert isinstance(context.supply, Injector), "sky=stamps was refused before"
        return simulated_items(
            published(read_list(chosen.path)),
            chosen=chosen,
            config=context.config,
            source=context.supply.source,
            sky=context.supply.cutouts,
            stamp_size_px=context.supply.cutouts.stamp_size_px,
        )

    def _audited(self) -> AnchorSample:
        chosen = self._context.anchors
        assert chosen is not None and not isinstance(chosen, SimulatedAnchors)
        if self._sample is None:
            self._sample = open_sample(chosen, stamp_size_px=stamp_size_px(self._context))
        return self._sample


def anchor_items(sample: AnchorSample) -> CutoutItems:
    """The cutouts of the anchors that count."""
    assert sample.cutouts is not None, "an anchor counts with its pixels only"
    which = sample.counting
    anchors, graded = sample.anchors, sample.graded
    columns = {
        "lens": anchors.name[which],
        "survey": anchors.survey[which],
        "grade": graded.grade[which],
        "theta_e_arcsec": graded.theta_e_arcsec[which].astype(np.float32),
        "theta_e_over_psf": graded.theta_e_over_psf[which].astype(np.float32),
        "lens_r_mag": sample.found.r_mag[which].astype(np.float32),
        "ring_snr_g": graded.ring_snr_g[which].astype(np.float32),
    }
    rows_ = sample.found.cutout_row[which]
    return CutoutItems(sample.cutouts, rows=rows_, columns=columns, identity=sample.identity)


def stamp_size_px(context: EvaluationContext) -> int:
    """Side of the stamps that the network was trained on."""
    size = getattr(context.config.sky, "stamp_size_px", None)
    return int(size) if size is not None else int(context.supply.cutouts.stamp_size_px)  # type: ignore[attr-defined]


def _nothing(listed: Listed) -> Section:
    why = (
        f"Not measured: {listed.statement} Most often: {listed.commonest_reason}. Fetch cutouts with inject.py "
        "task=cutouts and give them as anchors.cutouts=[store]; anchors=degraded and anchors=simulated are stand-ins."
    )
    body = said(KEY, TITLE, why=why)
    return Section(
        KEY, TITLE, body.html + left_out_table(listed), data=data(listed, []) | body.data, verdicts=verdicts(listed, [])
    )


def _section(listed: Listed, results: list[CutResult], *, pictures: list[Pictures], missing: list[str]) -> Section:
    label = LABELS[listed.provenance]
    shown = list({result.name: result for result in (results[0], results[-1])}.values())
    divided = {name: [(f"at {result.words}", result.divided[name]) for result in shown] for name in shown[0].divided}
    caption = "Recall by Einstein radius over seeing, survey and visibility grade, 95% intervals."
    html = "".join(
        (
            banner(listed),
            f"<p>{listed.statement}</p>",
            headline_table(listed, results),
            f"<div class=figures>{figure_slot('recall')}</div>",
            strata_tables(listed, results),
            pictures_html(pictures),
            left_out_table(listed),
            limits_html(listed),
        )
    )
    return Section(
        KEY,
        TITLE if not label else f"{TITLE}: stand-ins ({label})",
        html,
        rows=rows(listed, results),
        data=data(listed, results),
        figures={"recall": recall_figure(divided, label=label, target=MIN_RECALL_REAL)},
        captions={"recall": f"{label}. {caption}" if label else caption},
        verdicts=verdicts(listed, results),
        warnings=missing,
    )


def _pictures(
    context: EvaluationContext, scores: pa.Table, lenses: Lenses, shown: Flagged, *, listed: Listed, items: _Items
) -> list[Pictures]:
    """Found ones drawn at random, missed ones the most visible first, chosen with the scores and kept beside them."""
    rng = keyed_rng(context.config.seed, Purpose.ANCHORS, 0, 0)
    n = context.settings.anchors.n_shown
    hits, misses = np.flatnonzero(shown.hit), np.flatnonzero(~shown.hit)
    some = np.sort(rng.permutation(hits)[:n])
    worst = misses[np.lexsort((lenses.logit[misses], lenses.grade[misses]))][:n]
    words = f"at {shown.words}"

    def make() -> pa.Table:
        made = items.scored()
        galleries = (
            ("Found lenses", f"{len(some)} of the {len(hits)} found {words}, drawn at random.", some),
            ("Missed lenses", f"{len(worst)} of the {len(misses)} missed {words}, the most visible first.", worst),
        )
        return pictures_table(
            [
                Pictures(title, text, _stamps(made, chosen, scores=scores, lenses=lenses, listed=listed))
                for title, text, chosen in galleries
            ]
        )

    identity = f"{items.identity} {words} {some.tolist()} {worst.tolist()}"
    return read_pictures(context.table("pictures_anchors", make, identity=identity))


def _stamps(
    items: StampItems, chosen: np.ndarray, *, scores: pa.Table, lenses: Lenses, listed: Listed
) -> list[tuple[bytes, Sequence[str]]]:
    if len(chosen) == 0:
        return []
    images = items.stamps(chosen).images.numpy()
    theta_e = scores.column("theta_e_arcsec").to_numpy()
    assumed = {row["name"]: row["assumed"] for row in listed.rows}
    found: list[tuple[bytes, Sequence[str]]] = []
    for image, i in zip(images, chosen.tolist(), strict=True):
        name, survey = str(lenses.lens[i]), str(lenses.survey[i])
        caption = [
            f"{name} ({survey})" if survey else name,
            f"p = {probability_words(float(lenses.probability[i]))}, grade {lenses.grade[i]}",
            f"\u03b8E {theta_e[i]:.2f}\u2033, {lenses.theta_e_over_psf[i]:.2f} of the seeing",
        ]
        if assumed.get(name):
            caption.append(f"assumed: {assumed[name]}")
        label = LABELS[listed.provenance]
        found.append((stamp_png(image), [label, *caption] if label else caption))
    return found


def _text(table: pa.Table, name: str) -> np.ndarray:
    return np.array(table.column(name).to_pylist(), dtype=str)
