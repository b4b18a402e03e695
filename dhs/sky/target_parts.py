"""One part a sweep file: Parquet plus a ledger entry, so a job killed at any moment goes on where it was.

`parts/<name>.parquet` is written to a temporary name, fsynced and renamed; then `parts/<name>.json` says what it holds:
checksum, counts, and a fingerprint of the input and the settings. A part without a matching entry is made again.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pyarrow.parquet as pq

from dhs.config.run_dir import write_text
from dhs.config.sky import Dr10Sky
from dhs.config.targets import TargetsTask
from dhs.sky.sweeps import FITS_SUFFIXES, DamagedFile, Rows, SweepTable, open_sweep
from dhs.sky.target_select import CUTS, Selector
from dhs.sky.target_table import NEEDED_COLUMNS, SCHEMA

SWEEP_NAME = re.compile(r"(sweep|tractor)-[^/]*?(?<!-pz)(?<!-lc)(?<!-ex)\.fits(\.gz)?$")
"""Catalogue files of a DR10 tree; -pz, -lc and -ex are photo-z, light curves and extra columns."""

PHOTOZ_COLUMN = "Z_PHOT_MEDIAN"

FREE_KEYS = {"output_dir", "on_damaged_file", "rows_per_block"}
"""Settings that do not change a part."""


class SourceFile(NamedTuple):
    """A catalogue file and what tells that it has changed."""

    path: str
    size: int
    stamp: str

    @property
    def part_name(self) -> str:
        """Name of its part: the file's own, and a hash of the whole path."""
        stem = re.sub(r"\.fits(\.gz)?$", "", self.path.rsplit("/", 1)[-1])
        return f"{stem}-{hashlib.sha256(self.path.encode()).hexdigest()[:8]}"


def find_sweeps(location: str) -> list[SourceFile]:
    """Catalogue files under a folder or fsspec URL (or the one file), sorted by path.

    FileNotFoundError, or ValueError where there is none; both one line.
    """
    filesystem, root = fsspec.core.url_to_fs(location)
    local = isinstance(filesystem, fsspec.get_filesystem_class("file"))
    # Over HTTP every address that answers is a file, a listing too: there the name decides.
    if filesystem.isfile(root) if local else root.endswith(FITS_SUFFIXES):
        entries = {root: filesystem.info(root)}
    elif filesystem.exists(root):
        entries = filesystem.find(root, detail=True)
    else:
        raise FileNotFoundError(f"sky.sweep_dir = {location}: no such folder or file")
    single = root in entries
    chosen = {path: info for path, info in entries.items() if single or SWEEP_NAME.search(path)}
    if not chosen:
        names = sorted(path.rsplit("/", 1)[-1] for path in entries)
        raise ValueError(
            f"sky.sweep_dir = {location}: no sweep-*.fits[.gz] or tractor-*.fits[.gz] among {len(names)} files"
            f"{' (' + ', '.join(names[:3]) + ', ...)' if names else ''}"
        )
    return [
        SourceFile(
            path if local else filesystem.unstrip_protocol(path),
            int(info.get("size") or 0),
            str(info.get("mtime", info.get("ETag", ""))),
        )
        for path, info in sorted(chosen.items())
    ]


def settings_fingerprint(task: TargetsTask, sky: Dr10Sky) -> str:
    """Hash of everything but the catalogue file that decides a part."""
    plain: dict[str, Any] = task.model_dump(mode="json", exclude=FREE_KEYS)
    plain["negatives"].pop("match")  # applied after the parts
    lists = [*task.exclusion.csv, *(catalogue.path for catalogue in task.negatives.morphology)]
    plain["lists"] = [[str(path), _stat(path)] for path in lists]
    plain["sky"] = sky.model_dump(mode="json", exclude={"sweep_dir"})
    plain["lenscat"] = metadata.version("lenscat") if task.exclusion.lenscat else None
    plain["schema"] = [str(field) for field in SCHEMA]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _stat(path: Path) -> list[float]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file (task.exclusion.csv or task.negatives.morphology)")
    return [path.stat().st_size, path.stat().st_mtime]


class Parts:
    """The parts of one output folder."""

    def __init__(self, folder: Path, *, fingerprint: str) -> None:
        self.folder = folder
        self._fingerprint = fingerprint
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, source: SourceFile) -> Path:
        return self.folder / f"{source.part_name}.parquet"

    def entry(self, source: SourceFile) -> dict[str, Any] | None:
        """The ledger entry of a finished, undamaged part of these settings, or None."""
        ledger = self.folder / f"{source.part_name}.json"
        try:
            entry = json.loads(ledger.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        wanted = {"fingerprint": self._fingerprint, "size": source.size, "stamp": source.stamp}
        if {key: entry.get(key) for key in wanted} != wanted or not self.path(source).is_file():
            return None
        return entry if entry["sha256"] == sha256_of(self.path(source)) else None

    def make(
        self,
        source: SourceFile,
        *,
        selector: Selector,
        photoz: str | None,
        rows_per_block: int,
        on_rows: Callable[[float], None],
    ) -> dict[str, Any]:
        """Select from one file, write its part and its ledger entry; ``on_rows(fraction)`` after every block."""
        table = open_sweep(source.path)
        table.require(NEEDED_COLUMNS)
        lost: Counter[str] = Counter()
        n_targets = 0
        temporary = self.folder / f".{source.part_name}.tmp"
        done = 0
        with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
            for rows, z_phot in _with_photoz(table, photoz=photoz, rows_per_block=rows_per_block):
                targets, block_lost = selector.select(rows, z_phot=z_phot, where=source.path)
                lost += block_lost
                n_targets += len(targets)
                if len(targets):
                    writer.write_table(targets)
                done += len(rows)
                on_rows(done / table.n_rows)
        _sync_and_rename(temporary, self.path(source))
        entry = {
            "file": source.path,
            "size": source.size,
            "stamp": source.stamp,
            "fingerprint": self._fingerprint,
            "rows": table.n_rows,
            "lost": {name: lost[name] for name in CUTS},
            "known_lens_hosts": lost["known_lens_hosts"],
            "targets": n_targets,
            "sha256": sha256_of(self.path(source)),
        }
        write_text(self.folder / f"{source.part_name}.json", json.dumps(entry, indent=1))
        return entry


def _with_photoz(table: SweepTable, *, photoz: str | None, rows_per_block: int) -> Iterator[tuple[Rows, np.ndarray]]:
    """Blocks with their photometric redshifts; NaN where there is none (-99 in the files, or no file)."""
    blocks = table.blocks(rows_per_block=rows_per_block)
    if photoz is None:
        for rows in blocks:
            own = rows[PHOTOZ_COLUMN] if PHOTOZ_COLUMN in rows else np.full(len(rows), np.nan, np.float32)
            yield rows, np.where(own >= 0, own, np.nan).astype(np.float32)
        return
    other = open_sweep(photoz)
    other.require((PHOTOZ_COLUMN,))
    if other.n_rows != table.n_rows:
        raise ValueError(f"{photoz}: {other.n_rows} rows, {table.path} has {table.n_rows}: not its photo-z file")
    for rows, redshifts in zip(blocks, other.blocks(rows_per_block=rows_per_block), strict=True):
        for name in ("BRICKID", "OBJID"):
            if name in redshifts and not np.array_equal(redshifts[name], rows[name]):
                raise ValueError(f"{photoz}: column {name} differs from that of {table.path}: not its photo-z file")
        values = redshifts[PHOTOZ_COLUMN]
        yield rows, np.where(values >= 0, values, np.nan).astype(np.float32)


def photoz_of(source: SourceFile, *, photoz_dir: str | None) -> str | None:
    """Path of the photo-z file of a sweep: <photoz_dir>/<name>-pz.fits; DamagedFile where it is missing."""
    if photoz_dir is None:
        return None
    name = source.path.rsplit("/", 1)[-1]
    path = f"{photoz_dir.rstrip('/')}/{re.sub(r'[.]fits([.]gz)?$', '', name)}-pz.fits"
    filesystem, root = fsspec.core.url_to_fs(path)
    if not filesystem.exists(root):
        raise DamagedFile(f"{path}: no such file: {name} has no photometric redshifts; fetch it or sky.photoz_dir=null")
    return path


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_and_rename(temporary: Path, final: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)
