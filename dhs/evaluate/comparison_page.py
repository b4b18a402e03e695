"""A comparison as people read it: sentences, tables (console, Markdown, HTML), a figure of every arm and seed."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from dhs.display import figure_png, write_atomically
from dhs.evaluate.comparison import MIN_SEEDS, ArmValue
from dhs.evaluate.comparison_table import ROW_FIELDS, Comparison, Difference, as_json, rows
from dhs.page import document, picture, section, table

FIGURE_DPI = 150
BLUE, GREY, INK = "#0072B2", "#8a8f98", "#1a1a1a"

SUBSET_WORDS = {"visible": "visible lenses", "all": "all injected lenses"}

HEAD = ("arm", "seeds", "value")
DIFFERENCE_HEAD = ("difference", "", "p", "p (Holm)", "McNemar, exact: found by one alone", "verdict")


def write_comparison(
    comparisons: Sequence[Comparison], *, output: Path, name: str, title: str, notes: Sequence[str]
) -> None:
    """`<name>.json`, `.csv`, `.md`, `.html` and `.png` in ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    payload = {"notes": list(notes), "comparisons": as_json(comparisons)}
    write_atomically(output / f"{name}.json", json.dumps(payload, indent=1).encode())
    write_atomically(output / f"{name}.csv", _csv(comparisons).encode())
    write_atomically(output / f"{name}.md", markdown(comparisons, title=title, notes=notes).encode())
    png = figure_png(forest_figure(headlines(comparisons)), dpi=FIGURE_DPI)
    write_atomically(output / f"{name}.png", png)
    page = _html(comparisons, title=title, notes=notes, png=png)
    write_atomically(output / f"{name}.html", page.encode("ascii"))


def headlines(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """What stands on top: recall of the visible lenses at the first calibrated FPR, and AUROC, of each test set."""
    subset = "visible" if any(c.subset == "visible" for c in comparisons) else "all"
    own = [c for c in comparisons if c.subset == subset]
    recall = next((c.statistic for c in own if c.statistic.startswith("recall_at_calibrated")), None)
    return [c for c in own if c.statistic in (recall, "auroc")]


def sentence(comparison: Comparison, difference: Difference) -> str:
    """`clumpy 35.0% [31.0, 39.0], sersic 8.0% [6.0, 10.0], difference +27.0 [22.0, 32.0], p = 0.001 (Holm): clumpy`."""
    first, second = comparison.arms[difference.first], comparison.arms[difference.second]
    return (
        f"{difference.first} {percent(first)}, {difference.second} {percent(second)}, difference "
        f"{points(difference)} points, {p_equals(difference.holm_p)} (Holm): {verdict_words(difference)}"
    )


def verdict_words(difference: Difference) -> str:
    """The verdict, as a reader needs it."""
    if difference.verdict in (difference.first, difference.second):
        return f"{difference.verdict} is better"
    return difference.verdict


def percent(value: ArmValue) -> str:
    """`35.0% [31.0, 39.0]`"""
    return f"{100 * value.value:.1f}% [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def mcnemar_words(difference: Difference) -> str:
    """`31 : 4, p < 0.0001`, of each pair of trainings; a dash for what is no recall at a threshold."""
    tests = [f"{test.only_first} : {test.only_second}, {p_equals(test.p_value)}" for test in difference.mcnemar]
    return "; ".join(tests) or "-"


def points(difference: Difference) -> str:
    """`+27.0 [22.0, 32.0]`, in percentage points."""
    r = difference.result
    return f"{100 * r.difference:+.1f} [{100 * r.low:+.1f}, {100 * r.high:+.1f}]"


def p_words(p: float) -> str:
    """`0.012`, or `< 0.0001`."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def p_equals(p: float) -> str:
    """`p = 0.012`, or `p < 0.0001`."""
    return f"p {'' if p < 1e-4 else '= '}{p_words(p)}"


def statistic_words(name: str) -> str:
    """`recall_at_calibrated_fpr_0.01` -> `recall at FPR 0.01 (calibrated)`."""
    stem, _, fpr = name.rpartition("_fpr_")
    words = {"recall_at_calibrated": f"recall at FPR {fpr} (calibrated)", "tpr_at": f"TPR at FPR {fpr}"}
    return words.get(stem, {"auroc": "AUROC", "partial_auroc": "partial AUROC, FPR < 0.1"}.get(name, name))


def heading(comparison: Comparison) -> str:
    """What the numbers under it are of."""
    return (
        f"{statistic_words(comparison.statistic)}, {comparison.n_lenses:,} {SUBSET_WORDS[comparison.subset]} against "
        f"{comparison.n_negatives:,} negatives"
    )


def print_comparison(comparisons: Sequence[Comparison], console: Console) -> None:
    """The headlines as tables, and every difference of them as a sentence."""
    for comparison in headlines(comparisons):
        shown = Table(title=f"{comparison.test_set}\n{heading(comparison)}", title_justify="left", show_edge=False)
        for name in HEAD:
            shown.add_column(name)
        for row in _arm_rows(comparison):
            shown.add_row(*row)
        console.print(shown)
        for difference in comparison.differences:
            console.print(f"  {sentence(comparison, difference)}", highlight=False)
            if difference.mcnemar:
                console.print(f"    McNemar, exact (found by one alone): {mcnemar_words(difference)}", highlight=False)
        console.print()


def markdown(comparisons: Sequence[Comparison], *, title: str, notes: Sequence[str]) -> str:
    """The headlines, for a README or a paper's draft."""
    lines = [f"# {title}", ""]
    for c in headlines(comparisons):
        lines += [f"**{c.test_set}**: {heading(c)}", "", f"| {' | '.join(HEAD)} |", "|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in _arm_rows(c)]
        lines += ["", f"| {' | '.join(DIFFERENCE_HEAD)} |", "|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in _difference_rows(c)] + [""]
    return "\n".join([*lines, *(f"* {note}" for note in notes), ""])


def forest_figure(comparisons: Sequence[Comparison]) -> Figure:
    """One panel a comparison: each arm's mean with its 95% interval, each training a small ring."""
    statistics = list(dict.fromkeys(c.statistic for c in comparisons))
    sets = list(dict.fromkeys(c.test_set for c in comparisons))
    n_arms = max(len(c.arms) for c in comparisons)
    figure = Figure(
        figsize=(2.2 + 3.6 * len(statistics), (0.9 + 0.36 * n_arms) * len(sets) + 0.5), layout="constrained"
    )
    grid = figure.subplots(len(sets), len(statistics), squeeze=False, sharex="col")
    for c in comparisons:
        row, col = sets.index(c.test_set), statistics.index(c.statistic)
        axes = grid[row, col]
        for y, value in enumerate(c.arms.values()):
            error = [[100 * (value.value - value.low)], [100 * (value.high - value.value)]]
            axes.errorbar(100 * value.value, y, xerr=error, fmt="o", color=BLUE, capsize=3, markersize=5)
            axes.plot(
                [100 * v for v in value.per_seed], [y + 0.22] * value.n_seeds, "o", mfc="none", color=GREY, markersize=4
            )
        axes.set_yticks(range(len(c.arms)), list(c.arms) if col == 0 else [""] * len(c.arms))
        axes.set_ylim(len(c.arms) - 0.4, -0.6)
        axes.set_title(f"tested on {c.test_set}\n{SUBSET_WORDS[c.subset]}, n = {c.n_lenses:,}", fontsize=9, color=INK)
        axes.grid(axis="x", color="#e4e4e4")
        axes.set_axisbelow(True)
        if row == len(sets) - 1:
            axes.set_xlabel(f"{statistic_words(c.statistic)}  [%]")
    return figure


def _arm_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    return [(arm, str(value.n_seeds), percent(value)) for arm, value in comparison.arms.items()]


def _difference_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    return [
        (
            f"{d.first} minus {d.second}",
            f"{points(d)} points",
            p_words(d.result.p_value),
            p_words(d.holm_p),
            mcnemar_words(d),
            verdict_words(d),
        )
        for d in comparison.differences
    ]


def _html(comparisons: Sequence[Comparison], *, title: str, notes: Sequence[str], png: bytes) -> str:
    top = headlines(comparisons)
    claims = [f"{c.test_set}: {sentence(c, d)}" for c in top if c.statistic != "auroc" for d in c.differences]
    caption = (
        f"Mean of each arm with its 95% interval (test set and seeds); rings: single trainings. Fewer than {MIN_SEEDS} "
        "trainings make no claim about a recipe."
    )
    body = picture(png, caption=caption)
    for c in comparisons:
        inner = table(HEAD, _arm_rows(c)) + table(DIFFERENCE_HEAD, _difference_rows(c))
        body += section(f"{c.test_set}: {heading(c)}", inner)
    body += section("How to read this", "<ul>" + "".join(f"<li>{note}</li>" for note in notes) + "</ul>")
    return document(title, eyebrow="Dark Halo Scope", verdict=claims or ["No difference can be stated."], body=body)


def _csv(comparisons: Sequence[Comparison]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(ROW_FIELDS)
    writer.writerows(rows(comparisons))
    return buffer.getvalue()
