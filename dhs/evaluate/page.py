"""The report as one HTML page that needs nothing else: no network, no script, images inside as base64.

Pure: numbers and pictures in, text out. `dhs.evaluate.report` gathers them and writes the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from dhs.evaluate.gallery import Gallery, Stamp
from dhs.evaluate.rows import summary_rows
from dhs.evaluate.wording import (
    CLASS_NAMES,
    FOOTNOTES,
    LIMITS,
    cannot_show,
    headline,
    rate,
    sky_statement,
    threshold_words,
    verdict,
)
from dhs.page import document, picture, section, stamp_grid, table

Summary = dict[str, Any]

FIGURE_CAPTIONS = {
    "roc": "Recall against false-positive rate. Bands: 95%, bootstrap over galaxies. Shaded: what this number of "
    "negatives resolves weakly or not at all.",
    "scores": "Scores of every population, each scaled to its own peak. Right: share above the threshold.",
    "recall_theta_e": "Recall against Einstein radius in units of the r-band seeing, Wilson 95% intervals.",
    "recall_arc_snr": "Recall against the integrated S/N of the arc in its best band, Wilson 95% intervals.",
    "fpr_by_class": "False-positive rate of every negative class, Clopper-Pearson 95% intervals.",
}


@dataclass(frozen=True)
class PageParts:
    """What a page is made of."""

    summary: Summary
    figures_png: dict[str, bytes]
    galleries: Sequence[tuple[Gallery, list[Stamp]]]
    run_info: dict[str, Any]


def render_page(parts: PageParts) -> str:
    """The whole document as ASCII text."""
    body = "\n".join(
        (
            _headline_section(parts.summary),
            _figure_section(parts.figures_png),
            _threshold_section(parts.summary),
            _gallery_section(parts),
            _limits_section(),
            _run_section(parts.run_info),
            _appendix(parts.summary),
        )
    )
    return document(
        f"{parts.run_info['name']}: lens finder report",
        eyebrow="Dark Halo Scope",
        verdict=(verdict(parts.summary), cannot_show(parts.summary), sky_statement(parts.run_info["sky"])),
        body=body,
    )


def _headline_section(summary: Summary) -> str:
    counts, settings = summary["counts"], summary["settings"]
    head = ("", f"visible lenses (N = {counts['visible']:,})", f"all injected lenses (N = {counts['positives']:,})")
    visible = (
        f"Visible: theta_E &gt; {settings['visible_min_theta_e_over_psf']:g} x the r-band seeing and integrated g-band "
        f"arc S/N &gt; {settings['visible_min_arc_snr_sum_g']:g} (Rojas+2023). Both columns are against all "
        f"{counts['negatives']:,} negatives. Brackets: 95% intervals, from "
        f"{settings['bootstrap_resamples']:,} bootstrap resamples of galaxies for AUROC and TPR at fixed "
        "FPR, Wilson for the counted rest."
    )
    warnings = "".join(f"<li>{escape(text)}</li>" for text in summary["warnings"])
    return (
        f"<section><h2>Held-out split</h2>{table(head, headline(summary), css='headline')}"
        f"<p class=note>{visible} {escape(FOOTNOTES)}</p>"
        + (f"<ul class=warnings>{warnings}</ul>" if warnings else "")
        + "</section>"
    )


def _figure_section(figures_png: dict[str, bytes]) -> str:
    cards = "".join(picture(png, caption=FIGURE_CAPTIONS[name]) for name, png in figures_png.items())
    return section("Figures", f"<div class=figures>{cards}</div>")


def _threshold_section(summary: Summary) -> str:
    calibration, point = summary["calibration"], summary["operating_point"]
    origin = f"{calibration['n_negatives']:,} negatives: " if calibration["n_negatives"] is not None else ""
    rows = [_calibration_row(rate_entry) for rate_entry in calibration["rates"]]
    used = (
        f"Bins, classes and galleries use the threshold {point['threshold_logit']:.2f} in logit "
        f"({threshold_words(summary)}; from {point['threshold_from']}). On the test negatives it lets through "
        f"{rate(point['fpr_on_test'])}."
    )
    head = ("stated FPR", "threshold (logit)", "FPR reached on the test split")
    thresholds = table(head, rows) if rows else ""
    classes = [
        (CLASS_NAMES[cell["name"]], f"{cell['n']:,}", rate(cell), rate(half))
        for cell, half in zip(summary["by_class"]["at_operating_point"], summary["by_class"]["at_half"], strict=True)
    ]
    class_head = ("negative class", "N", f"FPR, threshold: {threshold_words(summary)}", "FPR, threshold: p > 0.5")
    return (
        f"<section><h2>Thresholds and contamination</h2><p>{escape(used)}</p>{thresholds}"
        f"<p class=note>{escape(origin + calibration['note'])}. Clopper-Pearson 95% intervals.</p>"
        f"{table(class_head, classes)}</section>"
    )


def _calibration_row(entry: Summary) -> tuple[str, str, str]:
    reached, threshold = entry["fpr_on_test"], entry["threshold_logit"]
    if threshold is None:
        return f"{entry['fpr']:g}", "", reached["note"]
    weak = f" ({reached['note']} in the calibration set)" if reached["note"] else ""
    return f"{entry['fpr']:g}", f"{threshold:.2f}", f"{rate(reached)}{weak}"


def _gallery_section(parts: PageParts) -> str:
    blocks = []
    for gallery, stamps in parts.galleries:
        grid = stamp_grid((stamp.png, stamp.caption) for stamp in stamps)
        shown = grid if stamps else "<p class=note>None.</p>"
        blocks.append(f"<h3>{escape(gallery.title)}</h3><p class=note>{escape(gallery.explanation)}</p>{shown}")
    return (
        "<section><h2>Stamps</h2><p class=note>g, r, z as blue, green, red with the Legacy Survey viewer's asinh "
        f"stretch, one stretch for all. Threshold: {escape(threshold_words(parts.summary))}. p is the network's "
        f"output, not a calibrated probability.</p>{''.join(blocks)}</section>"
    )


def _limits_section() -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in LIMITS)
    return section("Limits", f"<ul>{items}</ul>")


def _run_section(run_info: dict[str, Any]) -> str:
    rows = [(key, value if isinstance(value, str) else repr(value)) for key, value in run_info.items()]
    return section("Run", table(("", ""), rows, css="run"))


def _appendix(summary: Summary) -> str:
    rows = [
        (row.quantity, row.subset, _plain(row.value), _plain(row.low), _plain(row.high), f"{row.n:,}", row.note)
        for row in summary_rows(summary)
    ]
    head = ("quantity", "subset", "value", "low", "high", "N", "note")
    return f"<section><details><summary>Every number</summary>{table(head, rows, css='long')}</details></section>"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
