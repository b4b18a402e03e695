"""One piece of a set (some row groups of one file) -> a table of figures. Runs in a worker process; keeps no pixels.

Every row gives its columns; rows of the row groups chosen for it give their pixels' figures as well. A fraction of the
galaxies (all of them, up to `task.max_rows_kept` rows) keeps all figures; the others keep the identities that
duplicates and overlaps are found by, so memory is bounded and no overlap is missed.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from dhs.constants import BANDS
from dhs.inject.validate.files import Fault, Part, open_parquet
from dhs.inject.validate.names import canonical, columns_read
from dhs.inject.validate.pixels import PixelFigures, measure_pixels
from dhs.inject.validate.read import PixelBlock, pixel_blocks

KEY_COLUMNS = (
    "split",
    "injected",
    "cutout_ok",
    "task_id",
    "galaxy",
    "target_id",
    "ra_deg",
    "dec_deg",
    "image_hash",
    "pixel_state",
    "source_index",
    "source_kind",
    "reason",
    "part",
    "row",
)
"""Kept of every row."""

NOT_READ, UNREADABLE = -1, 4
"""States beside those of `dhs.inject.validate.pixels`: pixels not looked at; looked at, and no stamp."""

MAX_EXAMPLES = 5
"""Faults named for each reason."""
SHEET_EACH = 50
"""Stamps shown of each split and label."""
POSITION_STEP_DEG = 1e-5
"""Galaxies without an id are told apart by their position rounded to this (0.036 arcsec)."""


class Piece(NamedTuple):
    """Row groups of one part."""

    part: Part
    number: int
    """Of the part, in the set."""
    groups: tuple[int, ...]
    with_pixels: tuple[bool, ...]


class Shown(NamedTuple):
    """A stamp for the contact sheet."""

    rank: int
    split: str
    injected: int
    image: np.ndarray
    """(3, N, N) nMgy."""
    theta_e_arcsec: float
    arc_snr: float


@dataclass
class PieceFacts:
    """What a piece comes to."""

    keys: pa.Table
    """KEY_COLUMNS of every row, those that the set has."""
    rows: pa.Table
    """All figures of the rows that are kept."""
    n_rows: int
    reasons: Counter[str] = field(default_factory=Counter)
    """Why pixels, or whole files, cannot be read: rows by reason."""
    examples: list[Fault] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)


def measure_piece(
    piece: Piece, *, url: str, size_px: int | None, keep_fraction: float, seed: int, verify: bool
) -> PieceFacts:
    """Figures of ``piece`` of the set at ``url``; a part that cannot be read becomes a fault of all its rows."""
    fs, _ = fsspec.core.url_to_fs(url)
    try:
        with open_parquet(fs, piece.part.path) as file:
            return _measured(fs, file, piece, size_px=size_px, keep_fraction=keep_fraction, seed=seed, verify=verify)
    except (pa.ArrowException, OSError) as error:
        reason = f"part cannot be read ({str(error).splitlines()[0][:80]})"
        n = sum(piece.part.group_rows[group] for group in piece.groups)
        empty = pa.table({})
        return PieceFacts(empty, empty, 0, Counter({reason: n}), [Fault(piece.part.name, -1, reason)])


def _measured(
    fs: Any,
    file: pq.ParquetFile,
    piece: Piece,
    *,
    size_px: int | None,
    keep_fraction: float,
    seed: int,
    verify: bool,
) -> PieceFacts:
    part = piece.part
    table = file.read_row_groups(list(piece.groups), columns=columns_read(part.columns), use_threads=False)
    columns = canonical(table, split=part.split)
    row = np.concatenate([_rows_of(part, group) for group in piece.groups])
    columns["row"] = pa.array(row.astype(np.int32))
    columns["part"] = pa.array(np.full(len(row), piece.number, np.int32))
    if (galaxy := _galaxy(columns)) is not None:
        columns["galaxy"] = pa.array(galaxy)
    facts = PieceFacts(pa.table({}), pa.table({}), len(row))
    pixels = _Pixels(len(row), columns, facts, part.name, rank=mixed(row + (piece.number << 32), seed=seed))
    start = 0
    for group, with_pixels in zip(piece.groups, piece.with_pixels, strict=True):
        n = part.group_rows[group]
        if with_pixels and size_px is not None:
            wanted = pixels.ok[start : start + n]
            blocks = pixel_blocks(fs, file, part=part, group=group, size_px=size_px, wanted=wanted, verify=verify)
            for block in blocks:
                pixels.add(block, start=start)
        start += n
    table = pa.table(columns | pixels.columns())
    facts.shown = pixels.shown
    facts.keys = table.select([name for name in KEY_COLUMNS if name in table.column_names])
    kept = mixed(galaxy if galaxy is not None else row, seed=seed) / 2.0**64 < keep_fraction
    facts.rows = table if keep_fraction >= 1 else table.filter(pa.array(kept))
    return facts


class _Pixels:
    """Figures of the rows of a piece, filled block by block."""

    def __init__(self, n: int, columns: dict[str, pa.Array], facts: PieceFacts, name: str, *, rank: np.ndarray) -> None:
        self._facts, self._name, self._rank = facts, name, rank
        self.ok = _numpy(columns["cutout_ok"])
        self._row = _numpy(columns["row"])
        self._split = np.array(columns["split"].to_pylist(), object) if "split" in columns else np.full(n, "")
        self._injected = _numpy(columns["injected"]) if "injected" in columns else np.full(n, -1, np.int8)
        self._theta = _float(columns, "theta_e_arcsec", n)
        self._snr = _float(columns, "arc_snr", n)
        self._state = np.full(n, NOT_READ, np.int8)
        self._hash = np.zeros(n, np.int64)
        self._arc_peak = np.full(n, np.nan, np.float32)
        self._per_band = {
            name: np.full((n, len(BANDS)), np.nan) for name in PixelFigures._fields[1:] if name != "arc_peak"
        }
        self.shown: list[Shown] = []

    def add(self, block: PixelBlock, *, start: int) -> None:
        """Measure ``block``, whose row group begins at row ``start`` of the piece."""
        rows = slice(start + block.first, start + block.first + len(block))
        injected, theta = self._injected[rows], self._theta[rows]
        looked_for, partner = assign(injected, theta_e_arcsec=theta, usable=block.present)
        figures = measure_pixels(block.images, bad=block.bad, theta_e_arcsec=looked_for, partner=partner)
        state = np.where(block.present, figures.state, NOT_READ).astype(np.int8)
        wrong = self.ok[rows] & ~block.present
        state[wrong] = UNREADABLE
        self._state[rows] = state
        measured = state == 0
        self._arc_peak[rows] = np.where(measured, figures.arc_peak, np.nan)
        for name, out in self._per_band.items():
            out[rows] = np.where(measured[:, None], getattr(figures, name), np.nan)
        for i in np.flatnonzero(block.present):
            self._hash[rows.start + i] = np.uint64(xxhash.xxh3_64_intdigest(block.images[i])).view(np.int64)
        self._report(block, wrong, first=rows.start)
        self._show(block, measured, first=rows.start)

    def columns(self) -> dict[str, pa.Array]:
        """As columns of the table."""
        out = {"pixel_state": pa.array(self._state), "image_hash": pa.array(self._hash)}
        out["arc_peak"] = pa.array(self._arc_peak)
        for name, values in self._per_band.items():
            for i, band in enumerate(BANDS):
                # Sums are subtracted from one another: float32 would lose the arc.
                kind = np.float64 if name == "total" else np.float32
                out[f"{name}_{band}"] = pa.array(values[:, i].astype(kind))
        return out

    def _report(self, block: PixelBlock, wrong: np.ndarray, *, first: int) -> None:
        for i in np.flatnonzero(wrong):
            reason = block.faults.get(int(i), "no pixels though cutout_ok is true")
            self._facts.reasons[reason] += 1
            if self._facts.reasons[reason] <= MAX_EXAMPLES:
                self._facts.examples.append(Fault(self._name, int(self._row[first + i]), reason))

    def _show(self, block: PixelBlock, usable: np.ndarray, *, first: int) -> None:
        rank = self._rank[first : first + len(block)]
        for split in np.unique(self._split[first : first + len(block)].astype(str)):
            for label in (-1, 0, 1):
                here = usable & (self._split[first : first + len(block)] == split)
                here &= self._injected[first : first + len(block)] == label
                chosen = np.flatnonzero(here)
                for i in chosen[np.argsort(rank[chosen])[:SHEET_EACH]]:
                    theta, snr = float(self._theta[first + i]), float(self._snr[first + i])
                    self.shown.append(Shown(int(rank[i]), split, label, block.images[i].copy(), theta, snr))
        self.shown = thinned(self.shown)


def thinned(shown: list[Shown]) -> list[Shown]:
    """The SHEET_EACH lowest ranks of each split and label, sorted."""
    counts: Counter[tuple[str, int]] = Counter()
    kept = []
    for stamp in sorted(shown, key=lambda stamp: (stamp.split, stamp.injected, stamp.rank)):
        counts[stamp.split, stamp.injected] += 1
        if counts[stamp.split, stamp.injected] <= SHEET_EACH:
            kept.append(stamp)
    return kept


def assign(injected: np.ndarray, *, theta_e_arcsec: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a stamp's arc is looked for (arcsec, NaN: nowhere), and the control its null is measured on (-1: none).

    Controls borrow the theta_E of the block's injections in turn, and lend them their pixels.
    """
    theta = np.where((injected == 1) & usable, theta_e_arcsec, np.nan)
    partner = np.full(len(injected), -1)
    controls = np.flatnonzero((injected == 0) & usable)
    arcs = np.flatnonzero(np.isfinite(theta))
    if len(arcs):
        theta[controls] = theta[arcs[np.arange(len(controls)) % len(arcs)]]
    if len(controls):
        partner[arcs] = controls[np.arange(len(arcs)) % len(controls)]
    return theta, partner


def mixed(values: np.ndarray, *, seed: int) -> np.ndarray:
    """(n,) uint64 hashes of integers: splitmix64 (Steele, Lea & Flood 2014), started at ``seed``."""
    with np.errstate(over="ignore"):
        z = np.asarray(values, np.int64).view(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _galaxy(columns: dict[str, pa.Array]) -> np.ndarray | None:
    """(n,) int64 that is one number a galaxy: its id, else its rounded position; None where neither is known."""
    if "target_id" in columns:
        return _numpy(columns["target_id"])
    if "ra_deg" not in columns or "dec_deg" not in columns:
        return None
    ra, dec = (np.nan_to_num(_numpy(columns[name]), nan=-999.0) for name in ("ra_deg", "dec_deg"))
    step = np.rint(ra / POSITION_STEP_DEG).astype(np.int64), np.rint(dec / POSITION_STEP_DEG).astype(np.int64)
    return step[0] * (1 << 32) + step[1]


def _rows_of(part: Part, group: int) -> np.ndarray:
    first = sum(part.group_rows[:group])
    return np.arange(first, first + part.group_rows[group])


def _numpy(column: Any) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)


def _float(columns: dict[str, pa.Array], name: str, n: int) -> np.ndarray:
    return _numpy(columns[name]).astype(np.float64) if name in columns else np.full(n, np.nan)
