"""Parts to one table: duplicates out (the first is kept), negatives matched, everything counted in a manifest."""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dhs.config.run_dir import write_text
from dhs.config.targets import Matching
from dhs.sky.matching import REPORTED, Columns, MatchReport, match_negatives
from dhs.sky.target_parts import sha256_of
from dhs.sky.target_select import CUTS
from dhs.sky.target_table import SCHEMA

_DECIDING = ("target_id", "kind", "subclass", "split", "role", "type", *REPORTED)


def merge_parts(
    parts: Sequence[Path],
    *,
    entries: Sequence[dict[str, Any]],
    damaged: dict[str, str],
    output_dir: Path,
    matching: Matching,
    settings: dict[str, Any],
) -> tuple[dict[str, Any], MatchReport]:
    """Write ``targets.parquet`` and then ``manifest.json``, both atomically; returns the manifest and the match table.

    ValueError (one line) where no target was selected at all.
    """
    columns = _deciding_columns(parts)
    n = len(columns["target_id"])
    if n == 0:
        raise ValueError(f"no target among {sum(e['rows'] for e in entries):,} rows: {_largest_losses(entries)}")
    first = first_of_each(columns["target_id"])
    kept_columns = {name: values[first] for name, values in columns.items()}
    matched, report = match_negatives(kept_columns, config=matching)
    keep = first.copy()
    keep[first] = matched
    path = output_dir / "targets.parquet"
    _write(parts, keep=keep, path=path)
    final = {name: values[keep] for name, values in columns.items()}
    manifest = {
        "schema": "targets/1",
        "created_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rows_read": sum(entry["rows"] for entry in entries),
        "lost": {name: sum(entry["lost"][name] for entry in entries) for name in CUTS},
        "known_lens_hosts": sum(entry["known_lens_hosts"] for entry in entries),
        "duplicates": int(n - first.sum()),
        "unmatched_negatives": int((~matched).sum()),
        "targets": int(keep.sum()),
        **{name: _counts(final[name]) for name in ("kind", "subclass", "role", "split", "type")},
        "match": report.as_json(),
        "files_read": len(entries),
        "files_damaged": damaged,
        "files": [{k: v for k, v in entry.items() if k not in ("fingerprint", "stamp")} for entry in entries],
        "settings": settings,
        "sha256": sha256_of(path),
    }
    write_text(output_dir / "manifest.json", json.dumps(_plain(manifest), indent=1))
    return manifest, report


def first_of_each(target_ids: np.ndarray) -> np.ndarray:
    """(N,) bool: the first of the rows with one BRICKID and OBJID (sweeps overlap; releases may differ)."""
    _, index = np.unique(target_ids & ((1 << 42) - 1), return_index=True)
    first = np.zeros(len(target_ids), bool)
    first[index] = True
    return first


def _deciding_columns(parts: Sequence[Path]) -> Columns:
    tables = [pq.read_table(path, columns=list(_DECIDING)) for path in parts]
    return {name: np.concatenate([_numpy(table[name]) for table in tables]) for name in _DECIDING}


def _numpy(column: Any) -> np.ndarray:
    values = column.to_numpy()
    return values.astype("U32") if values.dtype == object else values


def _write(parts: Sequence[Path], *, keep: np.ndarray, path: Path) -> None:
    """The kept rows of all parts, a row group at a time."""
    temporary = path.with_name(f".{path.name}.tmp")
    start = 0
    with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for part in parts:
            file = pq.ParquetFile(part)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                chosen = table.filter(keep[start : start + len(table)])
                start += len(table)
                if len(chosen):
                    writer.write_table(chosen)
    assert start == len(keep), "parts changed while they were merged"
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(temporary, path)


def _counts(values: np.ndarray) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values.tolist() if str(value)).items()))


def _largest_losses(entries: Sequence[dict[str, Any]]) -> str:
    total: Counter[str] = Counter()
    for entry in entries:
        total.update(entry["lost"])
    worst = [f"{count:,} lost to {name}" for name, count in total.most_common(3) if count]
    return f"{', '.join(worst) or 'the files are empty'}; loosen task.quality, task.lrg.cut or task.negatives.rules"


def _plain(value: Any) -> Any:
    """JSON without NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
