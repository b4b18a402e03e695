"""The section on realism in words, tables and one figure. Pure."""

from html import escape

from matplotlib.figure import Figure

from dhs.config.realism import RealismConfig
from dhs.evaluate.figures import BLUE, GRID, MUTED, SHADE, VERMILION
from dhs.evaluate.pictures import Pictures, pictures_html
from dhs.evaluate.realism.analysis import DECIDING, Realism
from dhs.evaluate.realism.matching import SUSPECT_DIFFERENCE
from dhs.evaluate.realism.probe import Probed, pairs_needed
from dhs.evaluate.rows import Row
from dhs.evaluate.section import Section, Verdict, figure_slot
from dhs.page import table

KEY, TITLE = "realism", "Realism of the injections"
CLAIM = "realism: AUC of a linear probe, real lenses against matched injections"
N_SHOWN = 12

NAMES = {
    "fixed": "fixed features",
    "model": "the finder's own features",
    "profile": "of the fixed: profile",
    "colour": "of the fixed: colours in rings",
    "arc": "of the fixed: arc (residual, asymmetry)",
    "noise": "of the fixed: noise",
}
LIMITS = (
    "A linear probe on these features can prove a difference, never its absence: samples that it cannot tell apart may "
    "differ in what the features do not hold, or in what needs more pairs.",
    "The real lenses are those that spectroscopic surveys found. A difference between their hosts and the injections' "
    "(nearer, brighter, larger) is found too: the families of features say whether it lies in the galaxy, the arc or "
    "the noise, and the balance table what was not matched.",
    "The interval is that of these pairs: the wider of bootstrap and permutation at each end.",
)


def section_of(result: Realism, *, settings: RealismConfig) -> Section:
    """The section of a result."""
    figures = {"auc": auc_figure(result, settings=settings)} if result.probes else {}
    caption = "AUC of linear probes, cross-validated by galaxy, with 95% intervals; shaded: 95% of chance."
    html = "".join(
        (
            f"<p class=warnings><strong>{escape(result.label)}.</strong></p>" if result.label else "",
            f"<p>{escape(conclusion_words(result, settings=settings))}</p>",
            _probe_table(result),
            f"<div class=figures>{figure_slot('auc')}</div>" if figures else "",
            _balance_table(result, settings=settings),
            _pictures(result),
            f"<h3>What this cannot show</h3><ul>{''.join(f'<li>{escape(text)}</li>' for text in LIMITS)}</ul>",
        )
    )
    return Section(
        KEY,
        f"{TITLE} ({result.label})" if result.label else TITLE,
        html,
        rows=_rows(result),
        data=_data(result),
        figures=figures,
        captions={"auc": f"{result.label}. {caption}" if result.label else caption},
        verdicts=[_verdict(result, settings=settings)],
        warnings=_warnings(result),
    )


def conclusion_words(result: Realism, *, settings: RealismConfig) -> str:
    """What may be concluded, and what it would take."""
    pairs = f"{result.n_pairs} of {result.n_real} real lenses have an injection like them"
    least = pairs_needed(settings.max_auc)
    if not result.probes:
        return (
            f"Cannot tell: {pairs}, and the gate asks for {settings.min_pairs} pairs. It takes {least} to tell an AUC "
            f"of {settings.max_auc:g} from 0.5 at 95% with 80% power, and a probe learns from four fifths of them."
        )
    if result.conclusion == "told apart":
        return f"Told apart: {pairs}, and a linear probe tells them from it better than chance."
    if result.conclusion == "alike":
        return f"Not told apart: {pairs}; every probe's interval lies below {settings.max_auc:g}."
    return (
        f"Cannot tell: {pairs}; no probe beats chance, but an interval reaches {settings.max_auc:g}. More pairs narrow "
        f"it; {least} are the least for an AUC of {settings.max_auc:g} against 0.5."
    )


def _verdict(result: Realism, *, settings: RealismConfig) -> Verdict:
    tested = {name: result.probes[name] for name in DECIDING if name in result.probes}
    words = "; ".join(f"{NAMES[name]} {_auc(one)}, p = {one.p_value:.3g}" for name, one in tested.items())
    provable = "yes" if tested else f"no: {result.n_pairs} pairs, {settings.min_pairs} are needed"
    passed = None
    if tested and all(one.high < settings.max_auc for one in tested.values()):
        passed = True
    elif any(one.low >= settings.max_auc for one in tested.values()):
        passed = False
    if result.label:
        return Verdict(f"{result.label}: {CLAIM}", "", words or "cannot tell", None, f"of stand-ins only; {provable}")
    return Verdict(CLAIM, f"< {settings.max_auc:g}", words or "cannot tell", passed, provable)


def _auc(one: Probed) -> str:
    return f"{one.auc:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _probe_table(result: Realism) -> str:
    if not result.probes:
        return ""
    rows = [
        (
            NAMES[name],
            _auc(one),
            f"{one.p_value:.3g}",
            f"{one.chance_low:.3f} - {one.chance_high:.3f}",
        )
        for name, one in result.probes.items()
    ]
    head = ("features", f"AUC (95%), {result.n_pairs} pairs", "p", "chance (95%)")
    label = f"<p class=note>{escape(result.label)}.</p>" if result.label else ""
    return table(head, rows, css="headline") + label


def _balance_table(result: Realism, *, settings: RealismConfig) -> str:
    rows = [
        (
            one.name + ("" if one.name in settings.match_on else " (not matched)"),
            _number(one.mean_real),
            _number(one.mean_matched),
            _number(one.before),
            _number(one.after),
        )
        for one in result.balance
    ]
    head = ("quantity", "mean, real", "mean, matched", "standardised difference, all injections", "after matching")
    label = f" {result.label}." if result.label else ""
    note = f"<p class=note>Below 0.1 is good, above {SUSPECT_DIFFERENCE:g} suspect (Austin 2009).{escape(label)}</p>"
    return f"<h3>Balance</h3>{table(head, rows)}{note}"


def _pictures(result: Realism) -> str:
    shown = result.pictures[:N_SHOWN]
    stamps = []
    for name, png, other, other_png in shown:
        stamps += [(png, [name, result.label or "real lens"]), (other_png, [other, "its match: an injection"])]
    return pictures_html([Pictures("Pairs", "Each real lens and its injection, the nearest pairs first.", stamps)])


def _rows(result: Realism) -> list[Row]:
    subset = "real lenses vs injections" if not result.label else f"{result.label} vs injections"
    rows = []
    for name, one in result.probes.items():
        note = f"permutation p = {one.p_value:.3g}"
        rows.append(Row(f"realism_auc_{name}", subset, one.auc, one.low, one.high, one.n_pairs, note))
    return rows


def _data(result: Realism) -> dict[str, object]:
    return {
        "label": result.label,
        "n_real": result.n_real,
        "n_pairs": result.n_pairs,
        "conclusion": result.conclusion,
        "probes": {name: vars(one) for name, one in result.probes.items()},
        "balance": [{key: _plain(value) for key, value in one._asdict().items()} for one in result.balance],
    }


def _warnings(result: Realism) -> list[str]:
    return [
        f"{one.name}: the match is off by {one.after:+.2f} standard deviations; the probes may see that."
        for one in result.balance
        if one.after == one.after and abs(one.after) > SUSPECT_DIFFERENCE
    ]


def _plain(value: object) -> object:
    return None if isinstance(value, float) and value != value else value


def _number(value: float) -> str:
    return "" if value != value else f"{value:.2f}"


def auc_figure(result: Realism, *, settings: RealismConfig) -> Figure:
    """AUC of every probe with its interval; the label of stand-ins across the top."""
    figure = Figure(figsize=(6.4, 0.5 * len(result.probes) + 1.5), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color=GRID, lw=0.6, axis="x")
    axes.set_axisbelow(True)
    for y, (name, one) in enumerate(reversed(result.probes.items())):
        colour = BLUE if name in DECIDING else MUTED
        axes.barh(y, one.chance_high - one.chance_low, left=one.chance_low, color=SHADE, height=0.7, lw=0)
        error = [[max(one.auc - one.low, 0)], [max(one.high - one.auc, 0)]]
        axes.errorbar(one.auc, y, xerr=error, fmt="o", color=colour, ms=5, lw=1.3, capsize=3, clip_on=False)
    axes.set_yticks(range(len(result.probes)), [NAMES[name] for name in reversed(result.probes)], fontsize=8.5)
    axes.axvline(0.5, color=MUTED, lw=0.9)
    axes.axvline(settings.max_auc, color=VERMILION, lw=0.9, ls=":")
    axes.set(xlim=(0.3, 1.02), xlabel=f"AUC of the linear probe, {result.n_pairs} pairs; dotted: {settings.max_auc:g}")
    if result.label:
        figure.suptitle(result.label, fontsize=10, color=VERMILION)
    return figure
