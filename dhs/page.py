"""Self-contained HTML pages: one style, tables, images as base64; no network, no script, light and dark, printable.

    body = section("Result", table(("quantity", "value"), rows)) + picture(png, alt="the ring")
    path.write_text(document("bank check", eyebrow="Dark Halo Scope", verdict=("PASS: galaxies",), body=body))

Text given to these functions is escaped by them; what they return is HTML.
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """\
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #1b1d21; --muted: #62666d; --line: #dcdee2;
  --soft: #f2f3f5; --accent: #0072b2; --warn: #a24a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171b; --ink: #e6e7e9; --muted: #9da2aa; --line: #33373e;
  --soft: #1e2126; --accent: #56b4e9; --warn: #e69f00; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 20px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 44px 0 12px; padding-bottom: 6px; border-bottom: 1px solid var(--line); }
h3 { font-size: 16px; margin: 28px 0 2px; }
p { margin: 0 0 10px; max-width: 78ch; }
li { max-width: 78ch; margin-bottom: 6px; }
.eyebrow { color: var(--muted); font-size: 13px; letter-spacing: 0.04em; margin-bottom: 4px; }
.verdict { border-left: 4px solid var(--accent); background: var(--soft); padding: 16px 20px 8px;
  border-radius: 0 6px 6px 0; }
.verdict .claim { font-size: 19px; line-height: 1.4; font-weight: 600; }
.note { color: var(--muted); font-size: 14px; }
.warnings { color: var(--warn); font-size: 14px; padding-left: 20px; }
.scroll { overflow-x: auto; margin: 8px 0 12px; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 22px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--muted); font-weight: 600; font-size: 13px; vertical-align: bottom; }
table.headline { width: 100%; }
table.headline td:first-child { font-weight: 500; }
table.headline tbody tr:first-child td { font-weight: 700; }
table.run td:first-child { color: var(--muted); white-space: nowrap; }
table.run td { overflow-wrap: anywhere; }
table.long { font-size: 12.5px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 20px;
  align-items: start; }
.figures .card:only-child { max-width: 720px; }
.card { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: 12px; }
.card img { width: 100%; height: auto; display: block; }
.card figcaption { color: #55595f; font-size: 13.5px; line-height: 1.45; margin-top: 8px; }
.stamps { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px 12px;
  margin-top: 10px; }
.stamps figure { margin: 0; }
.stamps img { width: 100%; aspect-ratio: 1; display: block; image-rendering: pixelated; border-radius: 3px;
  background: #000; }
.stamps figcaption { font-size: 12px; line-height: 1.35; color: var(--muted); margin-top: 4px;
  font-variant-numeric: tabular-nums; }
details summary { cursor: pointer; font-weight: 600; margin-top: 32px; }
@media (max-width: 560px) { .figures { grid-template-columns: 1fr; } main { padding: 24px 14px 60px; } }
@media print { main { max-width: none; } section { break-inside: avoid-page; } }
"""


def document(title: str, *, eyebrow: str, verdict: Sequence[str], body: str) -> str:
    """A whole page as ASCII text: heading, the ``verdict`` (first line large, the others under it), then ``body``."""
    claim, *rest = verdict
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n"
        f"<header><p class=eyebrow>{escape(eyebrow)}</p><h1>{escape(title)}</h1>"
        f"<div class=verdict><p class=claim>{escape(claim)}</p>{''.join(f'<p>{escape(line)}</p>' for line in rest)}"
        f"</div></header>\n{body}\n</main></body></html>\n"
    )
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def section(heading: str, body: str) -> str:
    """``body`` (HTML) under a heading."""
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, css: str = "") -> str:
    """Rows of text; no head line when all of ``head`` is empty."""
    header = "".join(f"<th>{escape(text)}</th>" for text in head)
    top = f"<thead><tr>{header}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class=scroll><table class="{css}">{top}<tbody>{body}</tbody></table></div>'


def picture(png: bytes, *, caption: str) -> str:
    """A figure on a card with its caption, which is the alternative text too."""
    return (
        f'<figure class=card><img alt="{escape(caption)}" src="{data_uri(png)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def stamp_grid(
    cells: Iterable[tuple[bytes, Sequence[str]]], *, links: Sequence[str] | None = None, columns: int | None = None
) -> str:
    """Small pictures (PNG) side by side, caption lines under each; with ``links``, each opens its own address.

    ``columns`` a row; None: as many as fit.
    """
    figures = []
    for i, (png, lines) in enumerate(cells):
        image = f'<img alt="" src="{data_uri(png)}">'
        if links is not None:
            image = f'<a href="{escape(links[i])}">{image}</a>'
        figures.append(f"<figure>{image}<figcaption>{'<br>'.join(map(escape, lines))}</figcaption></figure>")
    style = "" if columns is None else f' style="grid-template-columns:repeat({columns},1fr);gap:8px 6px"'
    return f"<div class=stamps{style}>{''.join(figures)}</div>"


def data_uri(png: bytes) -> str:
    """A PNG as a base64 `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
