"""The words and tables of the held-out section, as HTML. Pure: numbers and pictures in, text out."""

from collections.abc import Sequence
from html import escape

from dhs.evaluate.pictures import Pictures, pictures_html
from dhs.evaluate.section import figure_slot
from dhs.evaluate.summary import Summary
from dhs.evaluate.wording import (
    FOOTNOTES,
    LIMITS,
    cannot_show,
    headline,
    rate,
    threshold_words,
    verdict,
)
from dhs.page import table

FIGURE_CAPTIONS = {
    "roc": "Recall against false-positive rate. Bands: 95%, bootstrap over galaxies. Shaded: what this number of "
    "negatives resolves weakly or not at all.",
    "scores": "Scores of every population, each scaled to its own peak. Right: share above the threshold.",
    "recall_theta_e": "Recall against Einstein radius in units of the r-band seeing, Wilson 95% intervals.",
    "recall_arc_snr": "Recall against the integrated S/N of the arc in its best band, Wilson 95% intervals.",
}


def heldout_html(summary: Summary, pictures: Sequence[Pictures] | str) -> str:
    """The body of the section: claim, headline table, figures, galleries, limits."""
    slots = "".join(figure_slot(name) for name in FIGURE_CAPTIONS)
    return "".join(
        (
            f"<p><strong>{escape(verdict(summary))}</strong></p><p>{escape(cannot_show(summary))}</p>",
            _headline(summary),
            _threshold(summary),
            f"<div class=figures>{slots}</div>",
            _galleries(summary, pictures),
            f"<h3>Limits</h3><ul>{''.join(f'<li>{escape(text)}</li>' for text in LIMITS)}</ul>",
        )
    )


def _headline(summary: Summary) -> str:
    counts, settings = summary["counts"], summary["settings"]
    head = ("", f"visible lenses (N = {counts['visible']:,})", f"all injected lenses (N = {counts['positives']:,})")
    visible = (
        f"Visible: theta_E &gt; {settings['visible_min_theta_e_over_psf']:g} x the r-band seeing and integrated g-band "
        f"arc S/N &gt; {settings['visible_min_arc_snr_sum_g']:g} (Rojas+2023). Both columns are against all "
        f"{counts['negatives']:,} negatives. Brackets: 95% intervals, from "
        f"{settings['bootstrap_resamples']:,} bootstrap resamples of galaxies for AUROC and TPR at fixed "
        "FPR, Wilson for the counted rest."
    )
    return f"{table(head, headline(summary), css='headline')}<p class=note>{visible} {escape(FOOTNOTES)}</p>"


def _threshold(summary: Summary) -> str:
    point = summary["operating_point"]
    used = (
        f"Bins and galleries use the threshold {point['threshold_logit']:.2f} in logit "
        f"({threshold_words(summary)}; from {point['threshold_from']}). On the test negatives it lets through "
        f"{rate(point['fpr_on_test'])} (Clopper-Pearson)."
    )
    return f"<p>{escape(used)}</p>"


def _galleries(summary: Summary, pictures: Sequence[Pictures] | str) -> str:
    shown = f"<p>{escape(pictures)}</p>" if isinstance(pictures, str) else pictures_html(pictures)
    return (
        "<h3>Stamps</h3><p class=note>g, r, z as blue, green, red with the Legacy Survey viewer's asinh "
        f"stretch, one stretch for all. Threshold: {escape(threshold_words(summary))}. p is the network's "
        f"output, not a calibrated probability.</p>{shown}"
    )
