"""Two sets of cutouts as one: what a labelled store adds to a sky.

The rows of the first keep their numbers; those of the second follow, with the split ``NO_SPLIT``, so that no pool of
hosts, negatives, validation or test ever holds them: whoever joins them names their rows. Pixels stay where they are.
"""

from dataclasses import fields
from typing import Any

import numpy as np

from dhs.constants import BANDS
from dhs.sky.cutouts import CutoutSet, PixelRows

NO_SPLIT = -1
"""Neither train, val nor test."""


class JoinedRows:
    """Pixels of the rows of several sets, gathered when they are asked for; behaves as the (N, ...) array of all."""

    def __init__(self, parts: list[tuple[PixelRows, np.ndarray]]) -> None:
        """``parts``: pixels of a set, and which of its rows (n,) are here, in order."""
        self._pixels = [pixels for pixels, _ in parts]
        self._part = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])
        self._row = np.concatenate([rows for _, rows in parts]).astype(np.int64)
        self.shape = (len(self._row), *parts[0][0].shape[1:])
        self.dtype = np.asarray(parts[0][0][:0]).dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """A copy of the asked rows, as numpy would index the whole array along its first axis."""
        if isinstance(rows, tuple):
            return self[rows[0]][rows[1:] if isinstance(rows[0], int | np.integer) else (slice(None), *rows[1:])]
        if isinstance(rows, int | np.integer):
            return np.array(self._pixels[self._part[rows]][int(self._row[rows])])
        part, row = self._part[rows], self._row[rows]
        out = np.empty((len(part), *self.shape[1:]), self.dtype)
        for number in np.unique(part).tolist():
            out[part == number] = self._pixels[number][row[part == number]]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory."""
        if copy is False:
            raise ValueError("joined rows are gathered: an array of them is always a copy")
        return self[:].astype(dtype or self.dtype, copy=False)


def joined(sky: CutoutSet, *, extra: CutoutSet, rows: np.ndarray, where: str) -> CutoutSet:
    """``sky`` with the ``rows`` (n,) of ``extra`` behind its own.

    ValueError naming ``where`` the extra cutouts come from when their stamps have another size.
    """
    if extra.stamp_size_px != sky.stamp_size_px:
        raise ValueError(
            f"{where}: stamps of {extra.stamp_size_px} px, the sky's have {sky.stamp_size_px}; make it again with "
            f"task.stamp_size_px={sky.stamp_size_px}"
        )
    values: dict[str, Any] = {}
    for field in fields(CutoutSet):
        name = field.name
        mine, theirs = getattr(sky, name), getattr(extra, name)
        if name == "split":
            values[name] = np.concatenate([mine, np.full(len(rows), NO_SPLIT, np.int8)])
        elif name == "psf_images":
            # nothing is injected into the extra rows; NaN, were it ever done
            values[name] = (
                None if mine is None else np.concatenate([mine, np.full_like(mine[:1], np.nan)[[0] * len(rows)]])
            )
        elif name in ("images", "invvar", "maskbits"):
            values[name] = JoinedRows([(mine, np.arange(len(sky))), (theirs, rows)])
        elif mine is None and theirs is None:
            values[name] = None
        else:
            mine = _unknown(name, len(sky)) if mine is None else mine
            theirs = _unknown(name, len(rows)) if theirs is None else theirs[rows]
            values[name] = np.concatenate([mine, theirs])
    return CutoutSet(**values)


def _unknown(name: str, n: int) -> np.ndarray:
    """(n, ...) of an optional column, as its absence is meant."""
    if name == "origin":
        return np.full(n, "", object)
    if name in ("psf_e1", "psf_e2"):
        return np.zeros((n, len(BANDS)), np.float32)
    return np.full(n, np.nan, np.float32)
