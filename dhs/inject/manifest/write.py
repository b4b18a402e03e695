"""Streaming and atomic: row groups of 4,096 rows go to a temporary file, which gets its name when it is complete."""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dhs.inject.manifest.table import ROWS_PER_GROUP

COMPRESSION_LEVEL = 3
"""Of zstd: higher levels take longer than drawing and save little, as most columns are random numbers."""


def write_manifest(path: Path, blocks: Iterable[pa.Table], *, schema: pa.Schema) -> None:
    """Write ``blocks``, each one row group, to ``path``.

    Raises:
        ValueError: the folder cannot be written to, or the disk is full; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, blocks, schema=schema)
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"task.output = {path}: cannot be written ({error}); give a folder with room") from None
    finally:
        if temporary.exists():
            temporary.unlink()


def _write(temporary: Path, blocks: Iterable[pa.Table], *, schema: pa.Schema) -> None:
    with open(temporary, "wb") as file:
        with pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=_repetitive(schema),
        ) as writer:
            for block in blocks:
                writer.write_table(block, row_group_size=ROWS_PER_GROUP)
        file.flush()
        os.fsync(file.fileno())


def _repetitive(schema: pa.Schema) -> list[str]:
    """Columns of few values; a dictionary of random numbers would only cost time and room."""
    few = {"split", "design", "cell", "replicate", "kind", "pair_id", "key_seed", "key_purpose", "key_epoch"}
    return [name for name in schema.names if name in few or name.startswith("asked_")]
