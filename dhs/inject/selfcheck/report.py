"""The self-check's page: verdict, pictures, every row. Self-contained HTML (`dhs.page`), images inside."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dhs import page
from dhs.inject.selfcheck.rows import Check, failed, unchecked
from dhs.inject.selfcheck.run import verdict

ROW_STYLE = "color:var(--warn);font-weight:600"
SUMMARY_HEAD = ("check", "passed", "closest to its limit", "allowance used")
WIDE = ("stamps", "rings", "images", "orientation", "point source")
"""Pictures as wide as the page; the others stand in pairs."""

HEAD = ("check", "quantity", "expected", "got", "allowed", "")


def render(rows: Sequence[Check], *, pictures: Mapping[str, tuple[bytes, str]], run_info: Mapping[str, Any]) -> str:
    """The whole document; ``pictures`` are PNGs with their captions by name."""
    config = run_info["config"]
    title = f"Self-check of {config['name']}"
    body = _attention(rows) + page.section("Checks", page.table(SUMMARY_HEAD, _summary(rows))) + _pictures(pictures)
    body += page.section("Every quantity", _table(rows)) + _run(run_info)
    return page.document(title, eyebrow="Dark Halo Scope - injection physics", verdict=verdict(rows), body=body)


def _attention(rows: Sequence[Check]) -> str:
    """Rows that failed or were not checked, with what they mean."""
    bad = [*failed(rows), *unchecked(rows)]
    if not bad:
        return ""
    head = ("check", "quantity", "expected", "got", "allowed", "what it means")
    cells = [(row.name, row.quantity, row.expected, row.got, row.allowed, row.why) for row in bad]
    return page.section("What did not pass", page.table(head, cells))


def _summary(rows: Sequence[Check]) -> list[tuple[str, ...]]:
    """One line a check: how many of its quantities passed, and the one nearest to its limit."""
    lines: list[tuple[str, ...]] = []
    for name in dict.fromkeys(row.name for row in rows):
        own = [row for row in rows if row.name == name]
        measured = [row for row in own if row.used is not None]
        nearest = max(measured, key=lambda row: row.used or 0.0, default=None)
        passed = sum(row.state == "pass" for row in own)
        quantity, share = (nearest.quantity, f"{nearest.used:.1%}") if nearest else ("bit for bit, or a range", "")
        lines.append((name, f"{passed}/{len(own)}", quantity, share))
    return lines


def _pictures(pictures: Mapping[str, tuple[bytes, str]]) -> str:
    """In the order given; consecutive narrow pictures side by side."""
    html, narrow = "", ""
    for name, (png, caption) in pictures.items():
        card = page.picture(png, caption=caption)
        if name in WIDE:
            html, narrow = html + _side_by_side(narrow) + f"<div style='margin:20px 0'>{card}</div>", ""
        else:
            narrow += card
    return page.section("Pictures", html + _side_by_side(narrow))


def _side_by_side(cards: str) -> str:
    return f"<div class=figures>{cards}</div>" if cards else ""


def _table(rows: Sequence[Check]) -> str:
    """All rows; the name of a check stands once, what did not pass is marked."""
    lines, last = [], ""
    for row in rows:
        name = "" if row.name == last else row.name
        last = row.name
        cells = (name, row.quantity, row.expected, row.got, row.allowed, row.state)
        style = "" if row.state == "pass" else f' style="{ROW_STYLE}"'
        lines.append(f"<tr{style}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{escape(cell)}</th>" for cell in HEAD)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _run(run_info: Mapping[str, Any]) -> str:
    """What was checked: the physics of the configuration, and the software."""
    config = run_info["config"]
    keys = ("seed", "sky", "source", "lens", "psf", "colour", "inject", "renderer")
    cells = [(key, _words(config[key])) for key in keys]
    cells += [(key, str(value)) for key, value in run_info["software"].items() if key != "packages"]
    cells.append(("packages", _words(run_info["software"]["packages"])))
    return page.section("What was checked", page.table(("", ""), cells, css="run"))


def _words(value: Any) -> str:
    """A section of the configuration on one line."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key}: ({_words(v)})" if isinstance(v, Mapping) else f"{key}: {v}" for key, v in value.items()
        )
    return str(value)
