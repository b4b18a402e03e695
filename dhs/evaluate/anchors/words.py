"""The section on real lenses in words, tables, rows and verdicts. Pure: numbers in, text out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from dhs.evaluate.anchors.listed import Listed
from dhs.evaluate.anchors.recall import provable_words
from dhs.evaluate.anchors.sample import LABELS
from dhs.evaluate.binned import Cell
from dhs.evaluate.intervals import Estimate
from dhs.evaluate.rows import Row
from dhs.evaluate.section import Verdict
from dhs.evaluate.targets import MIN_RECALL_REAL, RECALL_CLAIM, decided
from dhs.page import table

REAL_CLAIM = f"{RECALL_CLAIM} (survey cutouts, audited)"

LIMITS = {
    "real": (
        "A recall of known lenses is that of the surveys that found them: SLACS, S4TM and BELLS were found in spectra, "
        "so four in five have arcs that no ground-based image shows. Compare the visible ones (grade A).",
        "An audit shows that a galaxy is there and that a second catalogue calls it a lens; it does not confirm the "
        "lens. The grade's S/N is measured in the ring at theta_E and is too low for complete rings.",
        "The training prior may have been chosen with these lenses in mind; then they are no independent test.",
    ),
    "degraded": (
        "HST images through a simulated telescope: the arcs' shapes are real, their colours are assumed (one HST "
        "band), seeing and noise are modelled. A recall here is no recall of real lenses in the survey.",
    ),
    "simulated": (
        "SIMULATED: only theta_E and redshifts are the published lenses'. Hosts, arcs and noise come from the same "
        "simulation as the training set, so what real lenses have and the simulation lacks is not tested.",
        "The sources follow the training prior, not what made these lenses stand out in spectra.",
    ),
}
"""What the numbers cannot show, by provenance."""


@dataclass(frozen=True)
class CutResult:
    """Recall at one threshold."""

    name: str
    words: str
    note: str
    all: Estimate
    visible: Estimate
    divided: Mapping[str, Sequence[Cell]]


def percent(rate: Estimate) -> str:
    """``34% [21, 50] of 41``, or why there is none."""
    if rate.value is None or rate.low is None or rate.high is None:
        return rate.note or "none"
    return f"{rate.value:.0%} [{100 * rate.low:.0f}, {100 * rate.high:.0f}] of {rate.n}"


def verdicts(listed: Listed, results: Sequence[CutResult]) -> list[Verdict]:
    """Against the user's target. Stand-ins get a line of their own, undecided, and never the real lenses' line."""
    if listed.provenance != "real":
        label = LABELS[listed.provenance]
        unmeasured = _not_measured(f"not measured (what was scored: {label})")
        if not results:
            return [unmeasured]
        words = "; ".join(f"{result.words}: {percent(result.all)}" for result in _main(results))
        stand_in = Verdict(f"{label}: recall", "", words, None, "no: it says nothing of real lenses")
        return [unmeasured, stand_in]
    if not results:
        return [_not_measured(f"not measured: no audited lens with a survey cutout ({listed.commonest_reason})")]
    return [_against_target(result) for result in _main(results)]


def _main(results: Sequence[CutResult]) -> list[CutResult]:
    """The first stated FPR and p > 0.5."""
    return list({result.name: result for result in (results[0], results[-1])}.values())


def _against_target(result: CutResult) -> Verdict:
    rate = result.all
    passed = decided(rate, above=MIN_RECALL_REAL)
    words = f"{percent(rate)}; visible (grade A): {percent(result.visible)}"
    return Verdict(f"{REAL_CLAIM} at {result.words}", f"> {MIN_RECALL_REAL:.0%}", words, passed, provable_words(rate.n))


def _not_measured(words: str) -> Verdict:
    return Verdict(REAL_CLAIM, f"> {MIN_RECALL_REAL:.0%}", words, None, provable_words(0))


def rows(listed: Listed, results: Sequence[CutResult]) -> list[Row]:
    """Every number; the quantity's name begins with the provenance."""
    found: list[Row] = []
    for result in results:
        quantity = f"{listed.provenance}_lens_recall_{result.name}"
        found += [_row(quantity, "all", result.all), _row(quantity, "visible", result.visible)]
        for division, cells in result.divided.items():
            found += [_row(quantity, f"{division} {cell.name}", cell.rate) for cell in cells]
    return found


def _row(quantity: str, subset: str, rate: Estimate) -> Row:
    return Row(quantity, subset, rate.value, rate.low, rate.high, rate.n, rate.note)


def data(listed: Listed, results: Sequence[CutResult]) -> dict[str, Any]:
    """For metrics.json."""
    return {
        "provenance": listed.provenance,
        "label": LABELS[listed.provenance],
        "list": listed.origin,
        "n_listed": len(listed.rows),
        "n_counting": listed.n_counting,
        "recall": {
            result.name: {
                "note": result.note,
                "all": result.all.as_dict(),
                "visible": result.visible.as_dict(),
                **{
                    division: {cell.name: cell.rate.as_dict() for cell in cells}
                    for division, cells in result.divided.items()
                },
            }
            for result in results
        },
        "left_out": [{"name": row["name"], "why": row["reason"]} for row in listed.left_out],
    }


def banner(listed: Listed) -> str:
    """HTML of the label of stand-ins; '' for survey cutouts."""
    label = LABELS[listed.provenance]
    return f"<p class=warnings><strong>{escape(label)}. This is no recall of real lenses.</strong></p>" if label else ""


def headline_table(listed: Listed, results: Sequence[CutResult]) -> str:
    """Recall by threshold, all and visible."""
    head = ("threshold", "all that count", "visible (grade A)", "")
    lines = [(result.words, percent(result.all), percent(result.visible), result.note) for result in results]
    caption = LABELS[listed.provenance] or "Clopper-Pearson 95% intervals"
    if listed.provenance == "simulated":
        caption += "; Korn-Graubard 95% intervals: realisations of one lens are not several lenses. N counts lenses"
    return f"{table(head, lines, css='headline')}<p class=note>{escape(caption)}.</p>"


def strata_tables(listed: Listed, results: Sequence[CutResult]) -> str:
    """Recall by theta_E/seeing, survey and grade."""
    shown = _main(results)
    html = ""
    for division in shown[0].divided:
        head = (division, *(f"at {result.words}" for result in shown))
        lines = [
            (cell.name, *(percent(result.divided[division][i].rate) for result in shown))
            for i, cell in enumerate(shown[0].divided[division])
        ]
        html += table(head, lines)
    label = LABELS[listed.provenance]
    return html + (f"<p class=note>{escape(label)}.</p>" if label else "")


def left_out_table(listed: Listed) -> str:
    """Every object that does not count, and why; failures first."""
    if not listed.left_out:
        return ""
    lines = [
        (row["name"], row["survey"], "failed" if row["failed"] else "does not count", row["reason"])
        for row in listed.left_out
    ]
    body = table(("name", "survey", "", "why"), lines, css="long")
    return f"<details><summary>In no denominator ({len(lines)})</summary>{body}</details>"


def limits_html(listed: Listed) -> str:
    """What the section cannot show."""
    items = "".join(f"<li>{escape(text)}</li>" for text in LIMITS[listed.provenance])
    return f"<h3>What this cannot show</h3><ul>{items}</ul>"


def probability_words(p: float) -> str:
    """Three digits that do not round to certainty."""
    if p > 0.9995:
        return ">0.999"
    return "<0.001" if p < 0.0005 else f"{p:.3f}"
