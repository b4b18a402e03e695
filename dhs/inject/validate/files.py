"""Which files make up a set, what is in them, and what their writer said of them.

A set is any folder (local, or an fsspec URL such as ``s3://bucket/set``) of Parquet files; names that begin with ``_``
or ``.`` are not data. Its form is read off the columns: ``image`` (ours), ``sample`` (ours as tar shards) or
``stamp_npz`` (the user's Gen5).
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from dhs.inject.validate.names import split_of_path

Form = Literal["stamps", "shards", "gen5"]
PIXEL_COLUMNS: dict[Form, tuple[str, ...]] = {
    "stamps": ("image", "bad_pixels"),
    "shards": ("sample", "crc32"),
    "gen5": ("stamp_npz",),
}
"""The first tells the form. A shard's pixels are in the tar beside its Parquet file, at the places of ``sample``."""
METADATA_KEY = b"dhs_stamps"
N_THREADS = 8
"""Footers read at once: each is a round trip where the set is remote."""
LEDGER, SUCCESS, JOB = "_ledger", "_SUCCESS.json", "job.json"
INDEX = "index.parquet"
"""Of a compacted set: where each task id is; no stamps."""


class Fault(NamedTuple):
    """Something that cannot be read."""

    path: str
    row: int
    """Within the file; -1: the file itself."""
    reason: str
    """A few words that can be counted."""


@dataclass(frozen=True)
class Part:
    """One Parquet file."""

    path: str
    """On the file system."""
    name: str
    """Relative to the set."""
    split: str | None
    """Of its folder; None: the rows say so."""
    group_rows: tuple[int, ...]
    """Rows of each row group."""
    n_bytes: int
    form: Form
    columns: tuple[str, ...]
    metadata: str
    """JSON under ``dhs_stamps``; empty where there is none."""
    tar: str | None = None
    """Path of the shard that holds the pixels, where another file does."""
    tar_bytes: int | None = None

    @property
    def n_rows(self) -> int:
        return sum(self.group_rows)


@dataclass(frozen=True)
class StampFiles:
    """A set as it lies on disk."""

    url: str
    parts: list[Part]
    """Readable ones, in the order of their names; at least one."""
    unreadable: list[Fault]
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of a part -> its record; empty where the set has no ledger."""
    success: dict[str, Any] | None = None
    has_job: bool = False

    @property
    def form(self) -> Form:
        return self.parts[0].form

    @property
    def n_rows(self) -> int:
        return sum(part.n_rows for part in self.parts)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the writer says of the set, from its first part; {} for sets that are not ours."""
        return json.loads(self.parts[0].metadata) if self.parts[0].metadata else {}


def find_files(url: str) -> StampFiles:
    """The set at ``url``.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no Parquet file, no column of pixels, or parts of both forms.
    """
    fs, root = fsspec.core.url_to_fs(url)
    if not fs.exists(root):
        raise FileNotFoundError(f"task.input = {url}: nothing is there; give the folder of a set of stamps")
    found = [root] if fs.isfile(root) else sorted(fs.find(root))
    base = str(PurePosixPath(root).parent) if fs.isfile(root) else root
    names = {path: _relative(path, base) for path in found}
    data = [path for path in found if path.endswith(".parquet") and not _hidden(names[path]) and names[path] != INDEX]
    if not data:
        raise ValueError(f"task.input = {url}: holds no Parquet file; give the folder of a set of stamps")
    with ThreadPoolExecutor(N_THREADS) as pool:
        opened = list(pool.map(lambda path: _part(fs, path, names[path]), data))
    parts = [part for part in opened if isinstance(part, Part)]
    unreadable = [part for part in opened if isinstance(part, Fault)]
    if not parts:
        raise ValueError(f"task.input = {url}: {unreadable[0].path}: {unreadable[0].reason} (so are all other files)")
    forms = {part.form for part in parts}
    if len(forms) > 1:
        raise ValueError(
            f"task.input = {url}: parts of several forms ({', '.join(sorted(forms))}); validate them apart"
        )
    records = {names[path]: path for path in found if _hidden(names[path]) or names[path] == JOB}
    return StampFiles(
        url,
        parts,
        unreadable,
        ledger=_ledger(fs, records),
        success=_json(fs, records[SUCCESS]) if SUCCESS in records else None,
        has_job=JOB in records,
    )


@contextmanager
def open_parquet(fs: Any, path: str) -> Iterator[pq.ParquetFile]:
    """The file, memory-mapped where it is local; damaged pages are refused where their writer stored checksums."""
    if isinstance(fs, LocalFileSystem):
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            yield file
    else:
        with fs.open(path, "rb") as raw, pq.ParquetFile(raw, page_checksum_verification=True) as file:
            yield file


def _part(fs: Any, path: str, name: str) -> Part | Fault:
    try:
        with open_parquet(fs, path) as file:
            footer = file.metadata
            columns = tuple(file.schema_arrow.names)
            own = (file.schema_arrow.metadata or {}).get(METADATA_KEY, b"").decode()
    except (pa.ArrowException, OSError) as error:
        return Fault(name, -1, f"no readable Parquet file ({str(error).splitlines()[0][:80]})")
    form = next((form for form, pixels in PIXEL_COLUMNS.items() if pixels[0] in columns), None)
    if form is None:
        return Fault(name, -1, "no column `image`, `sample` or `stamp_npz`")
    groups = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
    part = Part(path, name, split_of_path(name), groups, int(fs.size(path)), form, columns, own)
    if form != "shards":
        return part
    tar = path.removesuffix(".parquet") + ".tar"
    if not fs.exists(tar):
        return Fault(name, -1, "no tar of the same name beside it")
    return replace(part, tar=tar, tar_bytes=int(fs.size(tar)))


def _relative(path: str, base: str) -> str:
    return path.removeprefix(base).lstrip("/")


def _hidden(name: str) -> bool:
    return any(step.startswith(("_", ".")) for step in name.split("/"))


def _ledger(fs: Any, records: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Records by the part they are about; one that is no JSON is left out (its part then counts as unfinished)."""
    found = {}
    for name, path in records.items():
        if name.startswith(f"{LEDGER}/") and name.endswith(".json"):
            record = _json(fs, path)
            if record is not None and "path" in record:
                found[str(record["path"])] = record
    return found


def _json(fs: Any, path: str) -> dict[str, Any] | None:
    try:
        content = json.loads(fs.cat_file(path))
    except (ValueError, OSError):
        return None
    return content if isinstance(content, dict) else None
