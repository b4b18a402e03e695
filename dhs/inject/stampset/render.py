"""Renders the rows of one part. A row that cannot be rendered stays in the table and says why.

Reasons: `not_in_sky`; `cutout_<fault>` of `dhs.sky.cutout_quality`; `render_error: <what>`, an exception of this row
alone; `not_finite`, a stamp with NaN. What stands before the colon is counted in the ledger.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dhs.inject.stamp_batch import StampBatch
from dhs.inject.stampset.context import RenderContext
from dhs.inject.stampset.manifest_file import recipes_of
from dhs.inject.stampset.plan import PlannedPart
from dhs.inject.stampset.schema import part_table
from dhs.sky.cutout_quality import faults

RENDER_ROWS = 128
"""Stamps rendered at once: their pixels stay in the processor's cache."""

NOT_IN_SKY = "not_in_sky"
MAX_REASON_CHARS = 200


def render_part(part: PlannedPart, context: RenderContext) -> pa.Table:
    """All rows of ``part``, in order; about 51 kB each at 64 px."""
    return pa.concat_tables(render_groups(part, context))


def render_groups(part: PlannedPart, context: RenderContext) -> Iterator[pa.Table]:
    """The rows of ``part`` a row group at a time: memory does not grow with the part."""
    rows = context.manifest.rows(part.first_row, part.n_rows)
    size = context.task.row_group_size
    for first in range(0, rows.num_rows, size):
        group = rows.slice(first, size)
        pieces = (group.slice(start, RENDER_ROWS) for start in range(0, group.num_rows, RENDER_ROWS))
        yield pa.concat_tables([render_rows(piece, context) for piece in pieces]).combine_chunks()


def render_rows(rows: pa.Table, context: RenderContext) -> pa.Table:
    """Manifest ``rows`` with their stamps."""
    recipes = recipes_of(rows, context.targets)
    reason = _unusable(recipes.row, context)
    where = np.flatnonzero(reason == "")
    stamps: StampBatch | None = None
    try:
        if len(where):
            stamps = context.painter.stamps(recipes.take(where), measure=context.task.measure)
    except (MemoryError, OSError):
        raise  # of the machine, not of a row
    except Exception as error:
        if rows.num_rows > 1:
            half = rows.num_rows // 2
            return pa.concat_tables([render_rows(part, context) for part in (rows.slice(0, half), rows.slice(half))])
        reason[where] = f"render_error: {type(error).__name__}: {' '.join(str(error).split())}"[:MAX_REASON_CHARS]
        where = where[:0]
    if stamps is not None:
        finite = np.isfinite(stamps.images.numpy()).all(axis=(1, 2, 3))
        reason[where[~finite]] = "not_finite"
        stamps, where = (stamps if finite.all() else stamps.take(np.flatnonzero(finite))), where[finite]
    return part_table(
        rows,
        stamps=stamps if len(where) else None,
        where=where,
        reason=reason,
        sky_row=recipes.row,
        cutouts=context.painter.cutouts,
        source=context.painter.source,
        schema=context.schema,
    )


def _unusable(sky_row: np.ndarray, context: RenderContext) -> np.ndarray:
    """(n,) object: why a row's cutout cannot serve, "" where it can."""
    reason = np.full(len(sky_row), NOT_IN_SKY, object)
    there = np.flatnonzero(sky_row >= 0)
    if len(there):
        cutouts, rows = context.painter.cutouts, sky_row[there]
        pixels = np.asarray(cutouts.images[rows]), np.asarray(cutouts.invvar[rows]), np.asarray(cutouts.maskbits[rows])
        found, _ = faults(*pixels, quality=context.task.quality)
        reason[there] = [f"cutout_{fault}" if fault else "" for fault in found]
    return reason
