"""Galleries kept beside the scores, so that a report is made again without sky: PNGs in a Parquet table."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pyarrow as pa

from dhs.page import stamp_grid

SCHEMA = pa.schema(
    [
        ("gallery", pa.string()),
        ("explanation", pa.string()),
        ("png", pa.binary()),
        ("caption", pa.list_(pa.string())),
    ]
)
"""One row a picture; an empty gallery is one row without picture."""


@dataclass(frozen=True)
class Pictures:
    """A gallery with its pictures."""

    title: str
    explanation: str
    stamps: Sequence[tuple[bytes, Sequence[str]]] = ()
    """PNG and caption lines of each."""


def pictures_table(galleries: Sequence[Pictures]) -> pa.Table:
    """The galleries as a table of SCHEMA."""
    rows: list[dict[str, object]] = []
    for gallery in galleries:
        head: dict[str, object] = {"gallery": gallery.title, "explanation": gallery.explanation}
        rows += [head | {"png": png, "caption": list(caption)} for png, caption in gallery.stamps]
        if not gallery.stamps:
            rows.append(head | {"png": None, "caption": []})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_pictures(table: pa.Table) -> list[Pictures]:
    """The galleries of a table, in their order."""
    found: dict[tuple[str, str], list[tuple[bytes, Sequence[str]]]] = {}
    for row in table.to_pylist():
        stamps = found.setdefault((row["gallery"], row["explanation"]), [])
        if row["png"] is not None:
            stamps.append((row["png"], row["caption"]))
    return [Pictures(title, explanation, stamps) for (title, explanation), stamps in found.items()]


def pictures_html(galleries: Sequence[Pictures]) -> str:
    """Every gallery with its heading and words."""
    blocks = []
    for gallery in galleries:
        shown = stamp_grid(gallery.stamps) if gallery.stamps else "<p class=note>None.</p>"
        blocks.append(f"<h3>{escape(gallery.title)}</h3><p class=note>{escape(gallery.explanation)}</p>{shown}")
    return "".join(blocks)
