"""Arrays of a store's shards, mapped: rows are gathered on demand, pages are shared by all workers of a machine.

`MappedRows` behaves as the (N, ...) array of all cutouts for the three things a stream asks of it (`shape`, `len`,
`rows[index]`); pixels are copied when a row is asked for, and the operating system keeps hot pages in memory.
Pickling one (a spawned worker) sends file names, not pixels.
"""

import mmap
import resource
from pathlib import Path
from typing import Any

import numpy as np

from dhs.sky.shards import RecordLayout

SPARE_FILES = 256
"""Open files left for the rest of the program."""


class ShardMaps:
    """The shards of a store, each mapped when a row of it is first asked for."""

    def __init__(self, paths: list[Path], *, layout: RecordLayout) -> None:
        self.paths, self.layout = paths, layout
        self._views: list[dict[str, np.ndarray] | None] = [None] * len(paths)
        _allow_open_files(len(paths) + SPARE_FILES, n_shards=len(paths))

    def view(self, shard: int, name: str) -> np.ndarray:
        """(n, ...) array of member ``name`` of a shard's samples, without a copy; read-only."""
        views = self._views[shard]
        if views is None:
            views = self._views[shard] = self._map(self.paths[shard])
        return views[name]

    def _map(self, path: Path) -> dict[str, np.ndarray]:
        layout = self.layout
        with path.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        n = (len(buffer) - layout.shard_bytes(0)) // layout.record_bytes
        views = {}
        for name, offset in layout.offsets.items():
            dtype, shape = layout.dtypes[name], layout.shapes[name]
            inner = np.empty(shape, dtype).strides
            views[name] = np.ndarray((n, *shape), dtype, buffer, offset, (layout.record_bytes, *inner))
        return views

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "layout": self.layout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["paths"], layout=state["layout"])  # type: ignore[misc]


class MappedRows:
    """Member ``name`` of N cutouts; row i is sample ``sample[i]`` of shard ``shard[i]``."""

    def __init__(self, maps: ShardMaps, name: str, *, shard: np.ndarray, sample: np.ndarray) -> None:
        self._maps, self._name, self._shard, self._sample = maps, name, shard, sample
        self.shape = (len(shard), *maps.layout.shapes[name])
        self.dtype = maps.layout.dtypes[name]
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self._shard)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """A copy of the asked rows, as numpy would index the whole array along its first axis."""
        if isinstance(rows, tuple):
            return self[rows[0]][rows[1:] if isinstance(rows[0], int | np.integer) else (slice(None), *rows[1:])]
        if isinstance(rows, int | np.integer):
            return self._maps.view(int(self._shard[rows]), self._name)[self._sample[rows]].copy()
        shard, sample = self._shard[rows], self._sample[rows]
        out = np.empty((len(shard), *self.shape[1:]), self.dtype)
        for i, (one_shard, one_sample) in enumerate(zip(shard.tolist(), sample.tolist(), strict=True)):
            out[i] = self._maps.view(one_shard, self._name)[one_sample]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory: what `np.asarray` of this gives."""
        if copy is False:
            raise ValueError("the rows of a mapped store are gathered: an array of them is always a copy")
        return self[:].astype(dtype or self.dtype, copy=False)


def _allow_open_files(wanted: int, *, n_shards: int) -> None:
    """Raise this process's soft limit of open files where it is below ``wanted``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ValueError(
                f"sky.path: {n_shards} shards need {wanted} open files, the machine allows {hard}; "
                "make the store with a larger task.targets_per_shard, or use sky.resident=true"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
