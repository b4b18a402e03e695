"""Stage `calibration`: where thresholds and probabilities come from, whether they hold on the test sky, what is odd."""

from html import escape
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from scipy.special import expit

from dhs.evaluate.calibration import Calibration
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.drift import drift_p_value
from dhs.evaluate.figures import BLUE, INK, MUTED, ORANGE, new_figure
from dhs.evaluate.intervals import CONFIDENCE, Estimate, proportion
from dhs.evaluate.metrics import allowed_false_positives
from dhs.evaluate.reliability import ReliabilityBin, ece_estimate, perfect_error, reliability
from dhs.evaluate.rows import Row
from dhs.evaluate.score_faults import score_faults
from dhs.evaluate.section import Section, figure_slot
from dhs.evaluate.table import column
from dhs.evaluate.wording import number, rate
from dhs.page import table as html_table
from dhs.rng import Purpose, keyed_rng

ECE_RESAMPLES = 400
"""Of the interval of the calibration error, and of what a perfect forecast would have."""

SOURCES = {
    "val": "Thresholds and probabilities come from the validation sky: none of its galaxies is in the test set, but it "
    "chose the checkpoint, and the best of several checkpoints looks a little better on it than on new sky. The "
    "column p tests whether that shows: the test negatives that pass are compared with those expected, with the noise "
    "of both samples. evaluate.calibration.source=test_part calibrates on galaxies that chose nothing.",
    "test_part": "Thresholds and probabilities come from a part of the test galaxies, chosen by the hash of their ids; "
    "they count in no claim. They chose nothing, but may be neighbours of the galaxies that are claimed on.",
}


def run(context: EvaluationContext) -> Section:
    """The section, from the scores of test and calibration sky."""
    return section(
        context.calibration,
        calibration_scores=context.calibration_scores,
        test_scores=context.test_scores,
        source=context.settings.calibration.source,
        bins=context.settings.calibration.bins,
        seed=context.seed,
    )


def section(
    calibration: Calibration,
    *,
    calibration_scores: pa.Table,
    test_scores: pa.Table,
    source: str,
    bins: int,
    seed: int,
) -> Section:
    """The section: pure."""
    rates = [_reached(calibration, t.fpr, test_scores) for t in calibration.thresholds]
    forecasts = _forecasts(calibration, test_scores, bins=bins, seed=seed)
    data = {
        "source": source,
        "n_positives": calibration.n_positives,
        "n_negatives": calibration.n_negatives,
        "lens_share": calibration.lens_share,
        "calibrator": calibration.calibrator.words,
        "only_accepted": calibration.only_accepted,
        "thresholds": rates,
        "unresolved": {f"{fpr:g}": why for fpr, why in calibration.unresolved.items()},
        **forecasts,
    }
    return Section(
        "calibration",
        "Thresholds and calibration",
        _html(data),
        rows=_rows(data),
        data=data,
        figures={"reliability": reliability_figure(data)},
        captions={"reliability": RELIABILITY_CAPTION},
        warnings=_warnings(data, calibration_scores, test_scores),
    )


def _reached(calibration: Calibration, fpr: float, test_scores: pa.Table) -> dict[str, Any]:
    threshold = calibration.threshold(fpr)
    assert threshold is not None
    negative = column(test_scores, "logit")[column(test_scores, "label") == 0]
    passed, n = int((negative > threshold.logit).sum()), threshold.n_negatives
    drift = drift_p_value(allowed_false_positives(fpr, n_negatives=n), n, passed=passed, n_test=len(negative))
    reached = proportion(passed, n=len(negative), method="clopper-pearson", note=threshold.note)
    return {
        "fpr": fpr,
        "threshold_logit": threshold.logit,
        "n_negatives": n,
        "fpr_on_test": reached.as_dict(),
        "drift_p": drift,
    }


def _forecasts(calibration: Calibration, test_scores: pa.Table, *, bins: int, seed: int) -> dict[str, Any]:
    """Raw and calibrated probabilities of the test stamps that the calibration is for, at their own mix."""
    label = column(test_scores, "label")
    counts = (label == 0) | test_scores.column("accepted").to_numpy() | (not calibration.only_accepted)
    logit, label = column(test_scores, "logit")[counts], label[counts]
    if not label.any():
        return {"n_reliability": 0}
    galaxy = column(test_scores, "target_id")[counts]
    share = float(label.mean())
    out: dict[str, Any] = {"n_reliability": len(label), "test_share": share}
    forecasts = {"raw": expit(logit), "calibrated": calibration.probability_at(logit, lens_share=share)}
    for index, (name, p) in enumerate(forecasts.items()):
        rng = keyed_rng(seed, Purpose.BOOTSTRAP, 2, index)
        estimate = ece_estimate(p, label, galaxy_id=galaxy, bins=bins, resamples=ECE_RESAMPLES, rng=rng)
        perfect = perfect_error(p, bins=bins, draws=ECE_RESAMPLES, rng=rng)
        out[name] = {
            "ece": estimate.as_dict(),
            "perfect_mean": float(perfect.mean()),
            "perfect_high": float(np.quantile(perfect, CONFIDENCE)),
            "bins": [_plain(one) for one in reliability(p, label, bins=bins)],
        }
    return out


def _plain(one: ReliabilityBin) -> dict[str, Any]:
    return {"mean_p": one.mean_p, **one.observed.as_dict()}


def _html(data: dict[str, Any]) -> str:
    head = ("stated FPR", "threshold (logit)", "calibration negatives", "FPR reached on the test sky", "p of no drift")
    rows = [
        (
            f"{entry['fpr']:g}",
            f"{entry['threshold_logit']:.3f}",
            f"{entry['n_negatives']:,}",
            rate(entry["fpr_on_test"]),
            f"{entry['drift_p']:.2g}",
        )
        for entry in data["thresholds"]
    ]
    rows += [(fpr, "", f"{data['n_negatives']:,}", why, "") for fpr, why in data["unresolved"].items()]
    parts = [f"<p>{escape(SOURCES[data['source']])}</p>", html_table(head, rows), f"<p>{escape(_mix(data))}</p>"]
    if data["n_reliability"]:
        parts += [_ece_table(data), f"<div class=figures>{figure_slot('reliability')}</div>"]
    else:
        parts.append("<p class=note>No lens of the test sky is of the calibrated kind: reliability not measured.</p>")
    return "".join(parts)


def _mix(data: dict[str, Any]) -> str:
    kind = "lenses that pass the cuts of training" if data["only_accepted"] else "lenses as the priors give them"
    return (
        f"Probabilities: {data['calibrator']} ({data['n_positives']:,} {kind}, {data['n_negatives']:,} negatives). "
        f"They are for a share of {data['lens_share']:.1%} lenses among the stamps; in a survey lenses are rarer than "
        "1 in 1,000 and every probability is lower (evaluate.calibration.lens_share)."
    )


def _ece_table(data: dict[str, Any]) -> str:
    rows = [
        (name, _ece_words(data[name]["ece"]), f"{data[name]['perfect_mean']:.3f}", f"{data[name]['perfect_high']:.3f}")
        for name in ("raw", "calibrated")
    ]
    head = ("probability", "expected calibration error", "a perfect forecast's, mean", "its 95th percentile")
    note = (
        f"On {data['n_reliability']:,} test stamps ({data['test_share']:.1%} lenses, of the calibrated kind), in bins "
        "of equal number; the calibrated probability is for their mix. The error is above 0 for a perfect forecast "
        "too; its 95% interval is the bootstrap's over galaxies with that bias taken off and may lie "
        "below the value."
    )
    return f"{html_table(head, rows)}<p class=note>{escape(note)}</p>"


def _ece_words(entry: dict[str, Any]) -> str:
    return number(entry)


RELIABILITY_CAPTION = (
    "Share of lenses against the probability said, in bins of equal number, Wilson 95% intervals. On the dotted "
    "line a probability is what it says. The raw one is for the mix of lenses that the network was trained on."
)


def reliability_figure(data: dict[str, Any]) -> Figure:
    """Reliability of raw and calibrated probabilities of the test sky."""
    figure, axes = new_figure(5.2, 4.6)
    axes.plot([0, 1], [0, 1], color=MUTED, ls=":", lw=1)
    for name, colour, marker in (("raw", ORANGE, "s"), ("calibrated", BLUE, "o")):
        if name not in data:
            continue
        cells = data[name]["bins"]
        x, y = [cell["mean_p"] for cell in cells], [cell["value"] for cell in cells]
        below = [max(cell["value"] - cell["low"], 0) for cell in cells]
        above = [max(cell["high"] - cell["value"], 0) for cell in cells]
        label = f"{name}: ECE {data[name]['ece']['value']:.3f}"
        axes.errorbar(
            x, y, yerr=[below, above], fmt=marker, ms=4.5, lw=1.1, capsize=2.5, color=colour, label=label, clip_on=False
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability said", ylabel="share of lenses")
    axes.set_title(f"N = {data['n_reliability']:,} test stamps", fontsize=9, loc="left", color=INK)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _rows(data: dict[str, Any]) -> list[Row]:
    rows = []
    for entry in data["thresholds"]:
        reached = entry["fpr_on_test"]
        note = f"threshold {entry['threshold_logit']:.4f} from {entry['n_negatives']:,}; p of no drift "
        note += f"{entry['drift_p']:.2g}"
        rows.append(
            Row(
                f"fpr_reached_at_stated_fpr_{entry['fpr']:g}",
                "negatives",
                reached["value"],
                reached["low"],
                reached["high"],
                reached["n"],
                note,
            )
        )
    for name in ("raw", "calibrated"):
        if name in data:
            ece = Estimate(**data[name]["ece"])
            rows.append(Row("ece", name, ece.value, ece.low, ece.high, ece.n, ece.note))
    return rows


def _warnings(data: dict[str, Any], calibration_scores: pa.Table, test_scores: pa.Table) -> list[str]:
    found = score_faults(column(calibration_scores, "logit"), what="calibration scores")
    found += score_faults(column(test_scores, "logit"), what="test scores")
    found += [f"no threshold at FPR {fpr}: {why}" for fpr, why in data["unresolved"].items()]
    for entry in data["thresholds"]:
        if note := entry["fpr_on_test"]["note"]:
            found.append(f"threshold at FPR {entry['fpr']:g}: {note} in the calibration set")
        if entry["drift_p"] < 1 - CONFIDENCE:
            found.append(
                f"the threshold for FPR {entry['fpr']:g} reaches {rate(entry['fpr_on_test'])} on the test sky "
                f"(p = {entry['drift_p']:.2g}): quote the rate that was reached, not the stated one"
            )
    if data["source"] == "val":
        found.append("the calibration sky chose the checkpoint; see the column p of no drift")
    return found
