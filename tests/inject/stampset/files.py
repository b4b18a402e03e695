"""What is in a set: for comparing two of them byte for byte."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dhs.inject.stampset.schema import Stamps, read_stamps


def parts(folder: Path) -> list[Path]:
    """The set's parts in the order of their numbers."""
    return sorted(folder.glob("split=*/part-*.parquet"), key=lambda path: path.name)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every part, and the totals: equal for equal sets."""
    found = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in parts(folder)}
    return found | {"totals": (folder / "_SUCCESS.json").read_text(), "job": (folder / "job.json").read_text()}


def ledger(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((folder / "_ledger").glob("*.json"))]


def table_of(folder: Path) -> pa.Table:
    """All rows, in the order of the manifest."""
    return pa.concat_tables([pq.ParquetFile(path).read() for path in parts(folder)])


def stamps_of(folder: Path) -> Stamps:
    return read_stamps(table_of(folder).combine_chunks())
