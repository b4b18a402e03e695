"""`write_part`: a part on disk or in a bucket, then its entry in the ledger. The entry is what makes it finished."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dhs.config.stamps import StampsTask
from dhs.inject.stampset.faults import faults_as_lines
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.plan import PlannedPart

N_EXAMPLES = 5
"""Failed rows that a ledger entry names."""

Record = dict[str, Any]


def write_part(
    part: PlannedPart, groups: Iterable[pa.Table], *, place: Place, schema: pa.Schema, task: StampsTask
) -> Record:
    """Write ``groups`` (a row group each) as ``part``, and its ledger entry, which is returned.

    Raises:
        ValueError: (one line) the disk is full, the folder cannot be written, ...
    """
    started = time.perf_counter()
    counts: Counter[str] = Counter()
    examples: list[str] = []
    n_rows = 0
    with faults_as_lines(place.show(part.path)), place.writing(part.path) as raw:
        file = _Hashed(raw)
        with _writer(file, schema=schema, task=task) as writer:
            for table in groups:
                writer.write_table(table, row_group_size=max(table.num_rows, 1))
                n_rows += table.num_rows
                _count(table, counts, examples)
    assert n_rows == part.n_rows, (n_rows, part)
    record = {
        "path": part.path,
        "split": part.split,
        "first_row": part.first_row,
        "n_rows": n_rows,
        "n_ok": n_rows - counts.total(),
        "failures": dict(sorted(counts.items())),
        "failed": examples,
        "n_bytes": file.n_bytes,
        "sha256": file.digest.hexdigest(),
        "seconds": round(time.perf_counter() - started, 3),
    }
    with faults_as_lines(place.show(part.ledger_path)):
        place.write_json(part.ledger_path, record)
    return record


def _writer(file: "_Hashed", *, schema: pa.Schema, task: StampsTask) -> pq.ParquetWriter:
    leaf = "image.list.element"
    return pq.ParquetWriter(
        file,
        schema,
        compression=task.compression,
        compression_level=None if task.compression == "none" else task.compression_level,
        # Pixels are all different: a dictionary of them is tried in vain; their bytes in four streams shrink better.
        use_dictionary=[field.name for field in schema if pa.types.is_string(field.type)],
        use_byte_stream_split=[leaf],
        write_statistics=[field.name for field in schema if field.name not in ("image", "bad_pixels")],
    )


def _count(table: pa.Table, counts: Counter[str], examples: list[str]) -> None:
    reasons = table["reason"].to_numpy()
    for row in np.flatnonzero(reasons != "").tolist():
        counts[reasons[row].partition(":")[0]] += 1
        if len(examples) < N_EXAMPLES:
            examples.append(f"{table['task_id'][row].as_py()}: {reasons[row]}")


class _Hashed:
    """A file that is hashed and counted as it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest, self.n_bytes, self.closed = file, hashlib.sha256(), 0, False

    def write(self, data: Any) -> int:
        block = memoryview(data)
        self.digest.update(block)
        self._file.write(block)
        self.n_bytes += block.nbytes
        return block.nbytes

    def tell(self) -> int:
        return self.n_bytes

    def flush(self) -> None:
        pass

    def close(self) -> None:
        """The file is its owner's to close."""
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
