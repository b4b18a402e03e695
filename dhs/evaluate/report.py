"""`write_report`: sections -> report.html (one file, no network), figures/ (PDF and PNG), metrics.json, metrics.csv.

Each file is written atomically; report.html comes last, so where it exists the rest is complete.
"""

import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dhs.display import figure_png, write_atomically
from dhs.evaluate.figures import FIGURE_DPI
from dhs.evaluate.rows import Row, rows_as_csv
from dhs.evaluate.section import Section, Verdict, figure_slot
from dhs.evaluate.targets import untested
from dhs.evaluate.wording import sky_statement
from dhs.inject.check_state import EXIT_FAILED
from dhs.page import document, picture, table
from dhs.page import section as page_section


def write_report(sections: Sequence[Section], *, run_info: dict[str, Any], out_dir: Path) -> Path:
    """Write the report of ``sections`` into ``out_dir`` and return the path of report.html.

    ``run_info`` needs ``name`` and ``sky`` (a key of wording.SKY_STATEMENTS); every other entry is printed as it is.
    Raises ValueError when one of the two is missing, or two sections have one key.
    """
    if missing := [key for key in ("name", "sky") if key not in run_info]:
        raise ValueError(f"run_info lacks {' and '.join(missing)}: the report must say what was run, on which sky")
    keys = [section.key for section in sections]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"two sections are called {twice[0]!r}: their numbers would overwrite each other")
    statement = sky_statement(run_info["sky"])
    verdicts = [*(verdict for section in sections for verdict in section.verdicts), *untested(sections)]
    _write_numbers(sections, verdicts=verdicts, run_info=run_info, out_dir=out_dir)
    body = "".join(_section_html(section, out_dir=out_dir) for section in sections)
    page = document(
        f"{run_info['name']}: lens finder report",
        eyebrow="Dark Halo Scope",
        verdict=(*_verdict_lines(verdicts), statement),
        body=f"{_verdict_table(verdicts)}{body}{_run_html(run_info)}{_appendix(sections)}",
    )
    path = out_dir / "report.html"
    write_atomically(path, page.encode("ascii"))
    return path


def exit_code(sections: Sequence[Section]) -> int:
    """That of the command: a failed gate's where there is one, else the highest of the sections'."""
    codes = [section.exit_code for section in sections]
    return EXIT_FAILED if EXIT_FAILED in codes else max(codes, default=0)


def _verdict_lines(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    targets = [verdict for verdict in verdicts if verdict.target]
    met, missed = (sum(verdict.passed is value for verdict in targets) for value in (True, False))
    claim = f"{met} of {len(targets)} targets proved, {missed} missed, {len(targets) - met - missed} undecided."
    return claim, *(f"{v.claim}: {v.estimate}; target {v.target}: {_decision(v)}." for v in targets)


def _decision(verdict: Verdict) -> str:
    return {True: "proved", False: "missed", None: "undecided"}[verdict.passed]


def _verdict_table(verdicts: Sequence[Verdict]) -> str:
    unbroken = "\u00a0"
    rows = [
        (v.claim, v.target.replace(" ", unbroken, 1), v.estimate, _decision(v), v.provable)
        if v.target
        else (v.claim, "none", v.estimate, "", v.provable)
        for v in verdicts
    ]
    note = (
        "Proved: the whole 95% interval lies on the target's side; missed: all of it lies on the other; undecided: it "
        "straddles the target, or nothing was measured."
    )
    head = ("claim", "target", "measured", "verdict", "can this sample prove it?")
    return page_section("Targets", f"{table(head, rows)}<p class=note>{note}</p>")


def _section_html(section: Section, *, out_dir: Path) -> str:
    body, rest = section.html, ""
    for name, figure in section.figures.items():
        png = figure_png(figure, dpi=FIGURE_DPI)
        stem = out_dir / "figures" / f"{section.key}_{name}"
        write_atomically(stem.with_suffix(".png"), png)
        write_atomically(stem.with_suffix(".pdf"), figure_pdf(figure))
        card = picture(png, caption=section.captions.get(name, name.replace("_", " ")))
        if figure_slot(name) in body:
            body = body.replace(figure_slot(name), card)
        else:
            rest += card
    warnings = "".join(f"<li>{escape(text)}</li>" for text in section.warnings)
    listed = f"<ul class=warnings>{warnings}</ul>" if warnings else ""
    return page_section(section.title, f"{listed}{body}<div class=figures>{rest}</div>" if rest else listed + body)


def figure_pdf(figure: Figure) -> bytes:
    """``figure`` as the bytes of a PDF without a date, so equal input gives equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def _write_numbers(
    sections: Sequence[Section], *, verdicts: Sequence[Verdict], run_info: dict[str, Any], out_dir: Path
) -> None:
    parts = {section.key: section.data for section in sections}
    content = {"run": run_info, "verdicts": [vars(verdict) for verdict in verdicts], **parts}
    text = json.dumps(content, indent=2, allow_nan=False)
    write_atomically(out_dir / "metrics.json", f"{text}\n".encode())
    write_atomically(out_dir / "metrics.csv", rows_as_csv(_rows(sections)).encode())


def _rows(sections: Sequence[Section]) -> list[Row]:
    return [row for section in sections for row in section.rows]


def _run_html(run_info: dict[str, Any]) -> str:
    rows = [(key, value if isinstance(value, str) else repr(value)) for key, value in run_info.items()]
    return page_section("Run", table(("", ""), rows, css="run"))


def _appendix(sections: Sequence[Section]) -> str:
    rows = [
        (row.quantity, row.subset, _plain(row.value), _plain(row.low), _plain(row.high), f"{row.n:,}", row.note)
        for row in _rows(sections)
    ]
    head = ("quantity", "subset", "value", "low", "high", "N", "note")
    return f"<section><details><summary>Every number</summary>{table(head, rows, css='long')}</details></section>"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
