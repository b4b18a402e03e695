"""Numbers and claims in words, said the same way on the terminal and in the report."""

from typing import Any

Summary = dict[str, Any]

CLASS_NAMES = {
    "lrg": "LRG",
    "lrg_companion": "LRG + companion",
    "spiral": "spiral",
    "ring": "ring",
    "merger": "merger",
    "edge_on": "edge-on",
}
"""constants.CLASSES as printed."""

SKY_STATEMENTS = {
    "mock": "Mock sky: the galaxies are simulated and the arcs are injected. Nothing was measured on the real sky.",
    "files": "Real galaxy cutouts, injected arcs: the galaxies are real, no lens in this test is.",
    "store": "Real galaxy cutouts, injected arcs: the galaxies are real, no lens in this test is.",
    "stamps": "A set of finished stamps that does not say where its galaxies come from. The arcs in it are injected.",
}
"""What a reader must know of the pixels first, by `sky.name` of the configuration."""

LIMITS = (
    "Recall here is of injected arcs. On real lenses, a section of its own, it is lower as a rule: a finder trained on "
    "simulations that recovered 92% of simulated lenses at 100% purity reached 50% completeness on real ones "
    "(Lines+2025, Euclid).",
    "False-positive rates hold for this mix of galaxy classes, which is not nature's; they are not the contamination "
    "of a candidate list, in which lenses are rarer than 1 in 1,000.",
    "Recall over all injected lenses depends on the prior they were drawn from; compare bins, or the visible lenses.",
    "Intervals hold the trained network fixed. The scatter between training seeds is not in them: compare "
    "configurations with at least three seeds each.",
    "Intervals of recall at a calibrated threshold hold the threshold fixed; the false-positive rate it reaches on the "
    "test set is stated with its own interval.",
)


def sky_statement(sky: str) -> str:
    """The sentence on mock or real sky; ValueError for a sky nobody has described."""
    if sky not in SKY_STATEMENTS:
        raise ValueError(f"run_info['sky'] = {sky!r}: allowed are {', '.join(SKY_STATEMENTS)}")
    return SKY_STATEMENTS[sky]


def threshold_words(summary: Summary) -> str:
    """The threshold of the by-bin figures: ``FPR 0.01 (calibrated)``, or the logit itself."""
    point = summary["operating_point"]
    return (
        f"FPR {point['fpr']:g} (calibrated)" if point["fpr"] is not None else f"logit > {point['threshold_logit']:.2f}"
    )


def number(entry: Summary) -> str:
    """``0.946 [0.937, 0.955]``, or what keeps it from being measured."""
    if entry["value"] is None:
        return entry["note"]
    if entry["low"] is None:
        return f"{entry['value']:.3f} (no interval)"
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


def rate(entry: Summary) -> str:
    """``44.7% [40.1, 49.9]``, or what keeps it from being measured."""
    if entry["value"] is None:
        return entry["note"]
    digits = 1 if entry["value"] >= 0.01 or entry["value"] == 0 else 2
    text = f"{100 * entry['value']:.{digits}f}%"
    if entry["low"] is None:
        return f"{text} (no interval)"
    return f"{text} [{100 * entry['low']:.{digits}f}, {100 * entry['high']:.{digits}f}]"


def verdict(summary: Summary) -> str:
    """The first sentence of the report: AUROC of the visible lenses with interval and both N."""
    visible, counts = summary["visible"], summary["counts"]
    if not visible["n_positives"]:
        return f"No visible lens among {counts['positives']:,} injected ones: the headline was not measured."
    return (
        f"Visible lenses: AUROC {number(visible['auroc'])}, {visible['n_positives']:,} injected lenses "
        f"against {counts['negatives']:,} negatives of {_n_classes(counts)} classes (95% interval)."
    )


def cannot_show(summary: Summary) -> str:
    """What the number of negatives leaves open."""
    entries = summary["all"]["tpr_at_fpr"]
    n = summary["counts"]["negatives"]
    unresolved = [f"{entry['fpr']:g}" for entry in entries if entry["status"] == "not resolvable"]
    weak = [f"{entry['fpr']:g}" for entry in entries if entry["status"] == "weak"]
    parts = []
    if unresolved:
        parts.append(f"says nothing of FPR {', '.join(unresolved)}")
    if weak:
        parts.append(f"gives FPR {', '.join(weak)} only weakly (fewer than 10 false positives)")
    if not parts:
        return f"{n:,} negatives resolve every stated false-positive rate. Real lenses were not tested."
    return f"What it cannot show: a sample of {n:,} negatives {' and '.join(parts)}. Real lenses were not tested."


def headline(summary: Summary) -> list[tuple[str, str, str]]:
    """(quantity, visible lenses, all injected lenses) in words, the rows of the headline table."""
    visible, everything = summary["visible"], summary["all"]
    top = summary["settings"]["partial_auroc_max_fpr"]
    rows = [
        ("AUROC", number(visible["auroc"]), number(everything["auroc"])),
        (f"partial AUROC, FPR < {top:g} *", number(visible["partial_auroc"]), number(everything["partial_auroc"])),
    ]
    for a, b in zip(visible["tpr_at_fpr"], everything["tpr_at_fpr"], strict=True):
        rows.append((f"TPR at FPR {a['fpr']:g}{_mark(b['status'])}", _short_rate(a), _short_rate(b)))
    rows += [(label, rate(visible[key]), rate(everything[key])) for key, label in COUNT_LABELS.items()]
    rows.append(("recall at p > 0.5", rate(visible["recall_at_half"]), rate(everything["recall_at_half"])))
    calibrated = {entry["fpr"]: rate(entry) for entry in visible["recall_calibrated"]}
    for entry in everything["recall_calibrated"]:
        first = calibrated.get(entry["fpr"], visible["recall_at_half"]["note"])
        rows.append((f"recall, threshold calibrated to FPR {entry['fpr']:g} +", first, rate(entry)))
    return rows


COUNT_LABELS = {"tpr0": "TPR0 (no false positive) +", "tpr10": "TPR10 (fewer than 10) +"}

FOOTNOTES = (
    "* McClish-standardised: 0.5 is chance, 1 is perfect. + Interval at the threshold as it fell; "
    "other negatives would move it, so it is wider in truth."
)


def _mark(status: str) -> str:
    return " (weak)" if status == "weak" else ""


def _short_rate(entry: Summary) -> str:
    return "not resolvable" if entry["status"] == "not resolvable" else rate(entry)


def _n_classes(counts: Summary) -> int:
    return sum(1 for n in counts["negatives_by_class"].values() if n)
