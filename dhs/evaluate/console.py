"""`print_summary`: the table a user sees at the end of `make train`."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dhs.evaluate.wording import FOOTNOTES, Summary, cannot_show, headline, rate, threshold_words, verdict


def print_summary(summary: Summary, console: Console) -> None:
    """Print verdict, headline table, false positives per class and warnings; nothing is read as rich markup."""
    counts = summary["counts"]
    console.print()
    console.print(Text(verdict(summary), style="bold"))
    console.print(Text(cannot_show(summary)))
    console.print(_headline_table(summary))
    console.print(_class_table(summary))
    console.print(
        Text(f"{FOOTNOTES} Intervals are 95%. {counts['stamps']:,} stamps of {counts['galaxies']:,} galaxies.")
    )
    for warning in summary["warnings"]:
        console.print(Text(f"! {warning}", style="yellow"))


def _headline_table(summary: Summary) -> Table:
    counts = summary["counts"]
    table = Table(title="Held-out split", title_justify="left", header_style="bold")
    table.add_column("quantity")
    table.add_column(f"visible lenses ({counts['visible']:,})", justify="right")
    table.add_column(f"all injected lenses ({counts['positives']:,})", justify="right")
    for row in headline(summary):
        table.add_row(*(Text(cell) for cell in row))
    return table


def _class_table(summary: Summary) -> Table:
    table = Table(title="False positives by class", title_justify="left", header_style="bold")
    table.add_column("class")
    table.add_column("negatives", justify="right")
    table.add_column(threshold_words(summary), justify="right")
    table.add_column("p > 0.5", justify="right")
    at_half = {cell["name"]: cell for cell in summary["by_class"]["at_half"]}
    present = [cell for cell in summary["by_class"]["at_operating_point"] if cell["n"]]  # a warning names the others
    for cell in present:
        row = (cell["name"], f"{cell['n']:,}", rate(cell), rate(at_half[cell["name"]]))
        table.add_row(*(Text(text) for text in row))
    return table
