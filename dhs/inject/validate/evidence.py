"""`Evidence`: everything the gates and the tables look at, as numpy columns.

``keys`` hold the identities of every row, ``rows`` all figures of the rows that were kept (all of them, unless the set
has more than `task.max_rows_kept`). A column that the set does not have is not there: a gate asks, and says so.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dhs.config.validate import ValidateLimits, ValidateTask
from dhs.constants import SPLITS
from dhs.inject.validate.files import Fault, StampFiles
from dhs.inject.validate.measure import NOT_READ, Shown

WORDS = ("split", "kind", "source_kind", "reason")
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Evidence:
    """A measured set."""

    files: StampFiles
    task: ValidateTask
    size_px: int | None
    keys: Columns
    rows: Columns
    names: dict[str, tuple[str, ...]]
    """Of each column of words: what its codes mean. ``split``: train, val, test first; empty words have code -1."""
    reasons: Counter[str]
    examples: list[Fault]
    shown: list[Shown]
    checksums: dict[str, str]

    @classmethod
    def of(
        cls,
        files: StampFiles,
        *,
        task: ValidateTask,
        size_px: int | None,
        keys: pa.Table,
        rows: pa.Table,
        reasons: Counter[str],
        examples: list[Fault],
        shown: list[Shown],
        checksums: dict[str, str],
    ) -> "Evidence":
        """From Arrow tables."""
        names = {name: _names(keys, rows, name) for name in WORDS}
        return cls(
            files,
            task,
            size_px,
            keys=_columns(keys, names),
            rows=_columns(rows, names),
            names=names,
            reasons=reasons,
            examples=examples,
            shown=shown,
            checksums=checksums,
        )

    @property
    def limits(self) -> ValidateLimits:
        return self.task.limits

    @property
    def n_rows(self) -> int:
        """Rows that could be read."""
        return len(self.keys["row"]) if "row" in self.keys else 0

    @property
    def n_pixel_rows(self) -> int:
        """Rows whose pixels were looked at."""
        return int((self.keys["pixel_state"] != NOT_READ).sum()) if self.n_rows else 0

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that the set has."""
        return tuple(name for code, name in enumerate(self.names["split"]) if (self.split_codes == code).any())

    @property
    def split_codes(self) -> np.ndarray:
        """(n_rows,) index into ``names["split"]``; -1 where the row names none."""
        return self.keys.get("split", np.full(self.n_rows, -1, np.int32))

    def has(self, *names: str) -> bool:
        """True when the set has all these columns, with at least one value each."""
        return all(name in self.rows and _known(self.rows[name]).any() for name in names)

    def lacking(self, *names: str) -> list[str]:
        """Those of the columns that the set does not have."""
        return [name for name in names if not self.has(name)]

    def in_split(self, split: str | None) -> np.ndarray:
        """Kept rows of a split; None: all."""
        everything = np.ones(len(self.rows["row"]), bool) if "row" in self.rows else np.zeros(0, bool)
        if split is None or "split" not in self.rows:
            return everything
        return self.rows["split"] == self.names["split"].index(split)

    @property
    def injections(self) -> np.ndarray:
        """Kept rows with a good cutout and an arc; none where the set does not say."""
        return self._labelled(1)

    @property
    def controls(self) -> np.ndarray:
        """Kept rows with a good cutout and no arc."""
        return self._labelled(0)

    def _labelled(self, label: int) -> np.ndarray:
        if "injected" not in self.rows:
            return np.zeros(len(self.rows["row"]), bool)
        return (self.rows["injected"] == label) & self.rows["cutout_ok"]


def _known(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values) if values.dtype.kind == "f" else np.ones(len(values), bool)


def _names(keys: pa.Table, rows: pa.Table, name: str) -> tuple[str, ...]:
    table = rows if name in rows.column_names else keys
    if name not in table.column_names:
        return ()
    found = {word for word in table[name].unique().to_pylist() if word}
    first = [split for split in SPLITS if split in found] if name == "split" else []
    return (*first, *sorted(found - set(first)))


def _columns(table: pa.Table, names: dict[str, tuple[str, ...]]) -> Columns:
    out: Columns = {}
    for name in table.column_names:
        column: Any = table[name]
        if name in names:
            column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
            place = {word: code for code, word in enumerate(names[name])}
            codes = np.array([place.get(word, -1) for word in column.dictionary.to_pylist()] or [-1], np.int32)
            index = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            out[name] = np.where(index < 0, -1, codes[np.maximum(index, 0)])
        elif pa.types.is_integer(column.type) and column.null_count:  # a part without the column
            out[name] = column.fill_null(-1 if name == "injected" else 0).to_numpy()
        else:
            out[name] = column.to_numpy()
    return out
