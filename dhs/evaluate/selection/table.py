"""Writes the table that `SelectionFunction` reads: units and meaning in every column's metadata, provenance in the
file's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.display import write_atomically
from dhs.evaluate.selection.cells import Completeness
from dhs.evaluate.selection.function import COLUMNS, FORMAT_VERSION, METADATA_KEY
from dhs.evaluate.selection.grid import SelectionGrid


def selection_table(
    grid: SelectionGrid,
    cells: dict[str, Completeness],
    *,
    thresholds: dict[str, dict[str, Any]],
    main_threshold: str,
    provenance: dict[str, Any],
) -> pa.Table:
    """Rows of every threshold's ``cells``; ``thresholds`` says of each name what it is."""
    assert main_threshold in cells and list(cells) == list(thresholds)
    metadata = {
        "format_version": FORMAT_VERSION,
        "main_threshold": main_threshold,
        "thresholds": thresholds,
        "provenance": provenance,
    }
    fields = [
        pa.field(name, kind, metadata={"unit": unit, "description": meaning})
        for name, (kind, unit, meaning) in COLUMNS.items()
    ]
    schema = pa.schema(fields, metadata={METADATA_KEY: json.dumps(metadata, allow_nan=False).encode()})
    parts = [_rows(grid, one, threshold=name) for name, one in cells.items()]
    return pa.table({name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}, schema=schema)


def write_selection_table(table: pa.Table, *, path: Path) -> None:
    """Atomically, as Parquet."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def _rows(grid: SelectionGrid, cells: Completeness, *, threshold: str) -> dict[str, np.ndarray]:
    theta, psf, depth = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    flat = {
        "theta_e_arcsec": grid.theta_e_arcsec[theta],
        "psf_fwhm_r_low_arcsec": grid.psf_edges_arcsec[psf],
        "psf_fwhm_r_high_arcsec": grid.psf_edges_arcsec[psf + 1],
        "psf_depth_r_low_mag": grid.depth_edges_mag[depth],
        "psf_depth_r_high_mag": grid.depth_edges_mag[depth + 1],
        "n_injected": cells.n,
        "n_found": cells.k,
        "n_hosts": cells.n_hosts,
        "n_effective": cells.n_effective,
        "completeness": cells.value,
        "low": cells.low,
        "high": cells.high,
        "error": cells.error,
    }
    return {"threshold": np.full(grid.n_cells, threshold), **{name: values.ravel() for name, values in flat.items()}}
