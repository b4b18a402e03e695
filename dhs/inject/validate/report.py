"""What is told of a validated set: JSON, tables in the terminal, and a page that needs nothing beside itself."""

import json
from html import escape
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dhs import page
from dhs.display import figure_png, stamp_png
from dhs.inject.check_state import STATE_STYLE
from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.figures import FIGURE_DPI, figures
from dhs.inject.validate.gate import OUTCOMES, Gate, exit_code, verdict, with_outcome
from dhs.inject.validate.names import column_names_used
from dhs.inject.validate.tables import DISTRIBUTION_HEAD, distribution_rows, distributions, overview, overview_rows

GATE_HEAD = ("", "gate", "measured", "allowed")
SHEET_COLUMNS = 10
FORMS = {
    "stamps": "stamp set of dhs",
    "shards": "stamp set of dhs, tar shards",
    "gen5": "Gen5 Parquet (stamp_npz)",
}
ROW_STYLE = "color:var(--warn);font-weight:600"
TABLE_WIDTH = 140
"""Columns of the terminal's tables at least."""


def as_json(e: Evidence, gates: list[Gate], *, run_info: dict[str, Any]) -> str:
    """Everything as JSON text; numbers that are not finite are null."""
    content = {
        "passed": exit_code(gates) == 0,
        "exit_code": exit_code(gates),
        "claim": verdict(gates)[0],
        "input": e.files.url,
        "form": e.files.form,
        "coverage": coverage(e),
        "gates": [gate.as_json() for gate in gates],
        "splits": overview(e),
        "distributions": distributions(e),
        "columns_under_other_names": dict(column_names_used(e.files.parts[0].columns)),
        "written_by": e.files.metadata,
        "run": run_info,
    }
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


def coverage(e: Evidence) -> dict[str, int]:
    """How much of the set was looked at."""
    return {
        "n_parts": len(e.files.parts),
        "n_rows": e.n_rows,
        "n_rows_kept": len(e.rows.get("row", ())),
        "n_pixel_rows": e.n_pixel_rows,
        "n_checksums": len(e.checksums),
    }


def said_of_coverage(e: Evidence) -> str:
    """The same in a sentence."""
    found = coverage(e)
    text = f"{found['n_rows']:,} rows in {found['n_parts']:,} files: the identities of all"
    text += f", all columns of {found['n_rows_kept']:,}" if found["n_rows_kept"] < found["n_rows"] else " and columns"
    return text + f", the pixels of {found['n_pixel_rows']:,} ({found['n_pixel_rows'] / max(e.n_rows, 1):.1%})."


def print_report(e: Evidence, gates: list[Gate], console: Console) -> None:
    """Tables and verdict; nothing is read as rich markup."""
    console.width = max(console.width, TABLE_WIDTH)
    found = overview(e)
    console.print(_rich("Splits", ("", *found), overview_rows(found)))
    console.print(_rich("Distributions", DISTRIBUTION_HEAD, distribution_rows(distributions(e))))
    table = Table(title="Gates", title_justify="left", box=box.SIMPLE_HEAD)
    for head in GATE_HEAD:
        table.add_column(head, overflow="fold", no_wrap=head in ("", "gate"))
    for gate in gates:
        style = STATE_STYLE[gate.outcome]
        table.add_row(Text(gate.outcome, style=style), Text(gate.key), Text(gate.measured), Text(gate.allowed))
    console.print(table)
    for line in (said_of_coverage(e), *verdict(gates)):
        console.print(Text(line))


def _rich(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def render_page(e: Evidence, gates: list[Gate], *, run_info: dict[str, Any]) -> str:
    """The whole document as ASCII text."""
    found = overview(e)
    body = "\n".join(
        (
            page.section("Gates", _gates(gates)),
            page.section("Splits", page.table(("", *found), overview_rows(found))),
            page.section(
                "Distributions", page.table(DISTRIBUTION_HEAD, distribution_rows(distributions(e)), css="long")
            ),
            page.section("Histograms", _figures(e)),
            *(_sheet(e, split) for split in sorted({stamp.split for stamp in e.shown}, key=_place_of(e))),
            page.section("What was looked at", _looked_at(e, run_info)),
        )
    )
    return page.document(
        f"Stamps: {e.files.url.rstrip('/').rsplit('/', 1)[-1]}",
        eyebrow="Dark Halo Scope - quality of a set of stamps",
        verdict=(*verdict(gates), said_of_coverage(e)),
        body=body,
    )


def _gates(gates: list[Gate]) -> str:
    """Every gate, worst first; what did not pass says what it means and what to do."""
    lines = []
    for outcome in OUTCOMES:
        for gate in with_outcome(gates, outcome):
            told = f"<b>{escape(gate.question.title)}</b><br>{escape(gate.question.meaning)}"
            if outcome in ("FAIL", "not checked", "warning"):
                told += f"<br><i>{escape(gate.question.remedy)}</i>"
            marked = f' style="{ROW_STYLE}"' if outcome in ("FAIL", "not checked", "warning") else ""
            cells = f"<td{marked}>{escape(outcome)}</td><td>{told}</td>"
            lines.append(f"<tr>{cells}<td>{escape(gate.measured)}</td><td>{escape(gate.allowed)}</td></tr>")
    head = "".join(
        f"<th>{name}</th>" for name in ("", "what is asked, and what a failure would mean", "measured", "allowed")
    )
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class=scroll><table class="long">{body}</table></div>'


def _figures(e: Evidence) -> str:
    cards = [
        page.picture(figure_png(figure, dpi=FIGURE_DPI), caption=caption) for figure, caption in figures(e).values()
    ]
    return f"<div class=figures>{''.join(cards)}</div>"


def _sheet(e: Evidence, split: str) -> str:
    """Ten by ten stamps of a split, injections first."""
    order = {1: 0, 0: 1, -1: 2}
    shown = sorted((s for s in e.shown if s.split == split), key=lambda s: (order[s.injected], s.rank))
    names = {1: "injected", 0: "control", -1: "label unknown"}
    cells = []
    for stamp in shown[: SHEET_COLUMNS**2]:
        lines = [names[stamp.injected]]
        if stamp.injected == 1:
            theta = f"{stamp.theta_e_arcsec:.2f}\u2033" if np.isfinite(stamp.theta_e_arcsec) else "?"
            snr = f"{stamp.arc_snr:.1f}" if np.isfinite(stamp.arc_snr) else "?"
            lines += [f"\u03b8_E {theta}", f"S/N {snr}"]
        cells.append((stamp_png(stamp.image), lines))
    note = (
        "<p class=note>Chosen by a hash; the Legacy Survey viewer's colours (Lupton+2004). North up if the stamps are; "
        "\u03b8_E and S/N of the brightest pixel as the columns have them.</p>"
    )
    return page.section(f"Stamps: {split or 'all'}", note + page.stamp_grid(cells, columns=SHEET_COLUMNS))


def _place_of(e: Evidence) -> Any:
    names = e.names["split"]
    return lambda split: names.index(split) if split in names else len(names)


def _looked_at(e: Evidence, run_info: dict[str, Any]) -> str:
    rows = [
        ("set", e.files.url),
        ("form", FORMS[e.files.form]),
        ("coverage", said_of_coverage(e)),
        ("stamp size", f"{e.size_px} px"),
        ("columns", ", ".join(e.files.parts[0].columns)),
    ]
    other = column_names_used(e.files.parts[0].columns)
    if other:
        rows.append(("read as", ", ".join(f"{theirs} = {ours}" for ours, theirs in other.items())))
    rows += [(f"written with: {key}", str(value)) for key, value in e.files.metadata.items()]
    rows += [(key, str(value)) for key, value in run_info.items()]
    return page.table(("", ""), rows, css="run")


def _plain(value: Any) -> Any:
    """JSON has no NaN, no infinity and no numpy."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
