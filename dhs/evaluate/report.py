"""`write_report`: metrics.json, metrics.csv, the figures and one self-contained report.html.

Everything is computed from the score table and its summary; pixels are asked for by row number, for the galleries only.
Each file is written atomically; report.html comes last, so where it exists the rest is complete.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from dhs.display import figure_png, write_atomically
from dhs.evaluate.figures import FIGURE_DPI, figures
from dhs.evaluate.gallery import StampImages, galleries, stamps
from dhs.evaluate.page import PageParts, render_page
from dhs.evaluate.rows import rows_as_csv, summary_rows
from dhs.evaluate.wording import sky_statement

Summary = dict[str, Any]


def write_report(
    summary: Summary, *, table: pa.Table, stamp_images: StampImages, run_info: dict[str, Any], out_dir: Path
) -> Path:
    """Write the report of ``table`` into ``out_dir`` and return the path of report.html.

    ``stamp_images`` maps row numbers of ``table`` (n,) to stamps (n, 3, H, W) in nMgy. ``run_info`` needs ``name`` and
    ``sky`` (a key of wording.SKY_STATEMENTS); every other entry is printed as it is. Raises ValueError when one of the
    two is missing.
    """
    if missing := [key for key in ("name", "sky") if key not in run_info]:
        raise ValueError(f"run_info lacks {' and '.join(missing)}: the report must say what was run, on which sky")
    sky_statement(run_info["sky"])
    _write_numbers(summary, run_info=run_info, out_dir=out_dir)
    pngs = {name: figure_png(figure, dpi=FIGURE_DPI) for name, figure in figures(table, summary).items()}
    for name, png in pngs.items():
        write_atomically(out_dir / f"{name}.png", png)
    shown = [
        (gallery, stamps(gallery, table=table, stamp_images=stamp_images)) for gallery in galleries(table, summary)
    ]
    page = render_page(PageParts(summary, pngs, shown, run_info))
    path = out_dir / "report.html"
    write_atomically(path, page.encode("ascii"))
    return path


def _write_numbers(summary: Summary, *, run_info: dict[str, Any], out_dir: Path) -> None:
    text = json.dumps({"run": run_info, **summary}, indent=2, allow_nan=False)
    write_atomically(out_dir / "metrics.json", f"{text}\n".encode())
    write_atomically(out_dir / "metrics.csv", rows_as_csv(summary_rows(summary)).encode())
