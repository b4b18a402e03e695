"""Which galaxy gets which cell: the rows of a split, counted beforehand and written out a block at a time.

Every choice is a hash of the galaxy's id (and of seed and cell): it depends neither on the order of the list nor on
how many rows are asked for, so that a larger manifest contains the smaller one.

A galaxy design gives every host some cells; only a few numbers a galaxy are held in memory. A cell design gives every
cell ``per_cell`` hosts; where it has fewer, they serve again, each as often as another (replicate 1, 2, ...).
"""

from typing import NamedTuple, Protocol

import numpy as np

from dhs.config.manifest import CellDesign, Controls, GridDesign, ManifestTask
from dhs.constants import BANDS, CLASSES, SPLITS
from dhs.inject.injector import HOST_CLASSES
from dhs.inject.manifest.design import Design
from dhs.rng import stable_hash
from dhs.sky.cutouts import CutoutSet
from dhs.sky.target_table import gets_arc


class Rows(NamedTuple):
    """P rows of a manifest before anything is drawn; (P,) each."""

    row: np.ndarray
    """int64, of the galaxy in its CutoutSet."""
    cell: np.ndarray
    """int64; -1 for controls."""
    replicate: np.ndarray
    """int64."""

    @property
    def injected(self) -> np.ndarray:
        return self.cell >= 0


class Plan(Protocol):
    """The rows of one split."""

    n_rows: int
    galaxies: np.ndarray
    """(G,) rows of the CutoutSet that come in the plan, ascending."""
    n_cells: int
    cell_hosts: np.ndarray | None
    """(n_cells,) different galaxies that each cell can choose from; None where every host gets cells of its own."""

    def rows(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` (exclusive)."""
        ...


class Pool(NamedTuple):
    """Rows of the CutoutSet, ascending."""

    hosts: np.ndarray
    controls: np.ndarray


def build_plan(galaxies: CutoutSet, *, split: str, task: ManifestTask, design: Design, seed: int) -> Plan:
    """The rows of ``split``.

    Raises:
        ValueError: the split has fewer galaxies than asked for, or none to inject into.
    """
    pool = pool_of(galaxies, split=split, task=task)
    if isinstance(task.design, CellDesign):
        return CellPlan(galaxies, pool, design=design, per_cell=task.design.per_cell, controls=task.controls, seed=seed)
    if isinstance(task.design, GridDesign):
        each = design.n_cells if task.design.cells_per_galaxy == "all" else task.design.cells_per_galaxy
    else:
        each = 1
    return GalaxyPlan(
        galaxies,
        pool,
        n_cells=design.n_cells,
        cells_each=each,
        replicates=task.design.replicates,
        controls=task.controls,
        seed=seed,
    )


def pool_of(galaxies: CutoutSet, *, split: str, task: ManifestTask) -> Pool:
    """Hosts and controls of ``split``: the galaxies of lowest hash where fewer than all are wanted."""
    in_split = galaxies.rows(split=split)
    wanted = getattr(task.n_galaxies, split)
    if wanted is not None and wanted > len(in_split):
        raise ValueError(
            f"task.n_galaxies.{split} = {wanted}: the split has {len(in_split)} galaxies; allowed: at most so many "
            "(null: all)"
        )
    if wanted is not None and wanted < len(in_split):
        rank = hashes(galaxies.target_id[in_split], salt="targets")
        in_split = np.sort(in_split[np.argsort(rank, kind="stable")[:wanted]])
    is_host = np.isin(galaxies.kind[in_split], [CLASSES.index(name) for name in HOST_CLASSES])
    hosts = in_split[is_host]
    pool = Pool(hosts, hosts[:0])
    if task.controls.mode == "unpaired":
        injected = gets_arc(galaxies.target_id[hosts], control_fraction=task.controls.fraction)
        kinds = CLASSES if task.controls.kinds is None else task.controls.kinds
        others = np.union1d(hosts[~injected], in_split[~is_host])
        allowed = np.isin(galaxies.kind[others], [CLASSES.index(name) for name in kinds])
        pool = Pool(hosts[injected], others[allowed])
    elif task.controls.mode == "paired":
        pool = Pool(hosts, hosts)
    if len(pool.hosts) == 0 or (task.controls.mode != "none" and len(pool.controls) == 0):
        raise ValueError(
            f"split {split!r} is empty: {len(in_split)} galaxies, {len(pool.hosts)} to inject into and "
            f"{len(pool.controls)} controls; give more galaxies, or leave it out with task.n_galaxies.{split}=0"
        )
    return pool


class GalaxyPlan:
    """Every host gets ``cells_each`` different cells, ``replicates`` times each; then its control rows."""

    cell_hosts: np.ndarray | None

    def __init__(
        self,
        galaxies: CutoutSet,
        pool: Pool,
        *,
        n_cells: int,
        cells_each: int,
        replicates: int,
        controls: Controls,
        seed: int,
    ) -> None:
        self.galaxies = np.union1d(pool.hosts, pool.controls)
        self.n_cells, self.cell_hosts, self._replicates = n_cells, None, replicates
        is_host = np.isin(self.galaxies, pool.hosts, assume_unique=True)
        is_control = np.isin(self.galaxies, pool.controls, assume_unique=True)
        self._n_injected = np.where(is_host, cells_each * replicates, 0)
        n_each = self._n_injected + np.where(is_control, controls.rows_per_galaxy, 0)
        self._ends = np.cumsum(n_each)
        self.n_rows = int(self._ends[-1])
        self._first, self._stride = self._walks(galaxies, is_host, whole=cells_each == n_cells, seed=seed)

    def rows(self, start: int, stop: int) -> Rows:
        """See `Plan.rows`."""
        index = np.arange(start, stop)
        galaxy = np.searchsorted(self._ends, index, side="right")
        within = index - np.where(galaxy > 0, self._ends[galaxy - 1], 0)
        step, replicate = np.divmod(within, self._replicates)
        injected = within < self._n_injected[galaxy]
        cell = (self._first[galaxy] + step * self._stride[galaxy]) % self.n_cells
        return Rows(
            self.galaxies[galaxy],
            np.where(injected, cell, -1),
            np.where(injected, replicate, within - self._n_injected[galaxy]),
        )

    def _walks(
        self, galaxies: CutoutSet, is_host: np.ndarray, *, whole: bool, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """First cell and stride of each galaxy: a walk with a stride coprime to n_cells visits every cell once."""
        first, stride = np.zeros(len(is_host), np.int64), np.ones(len(is_host), np.int64)
        if whole:
            return first, stride
        coprime = np.flatnonzero(np.gcd(np.arange(self.n_cells), self.n_cells) == 1)
        h = hashes(galaxies.target_id[self.galaxies[is_host]], salt=f"cells:{seed}")
        first[is_host] = h % np.uint64(self.n_cells)
        stride[is_host] = coprime[(mixed(h) % np.uint64(len(coprime))).astype(np.int64)]
        return first, stride


class CellPlan:
    """Every cell gets ``per_cell`` of the hosts whose conditions lie in it; then the controls."""

    def __init__(
        self, galaxies: CutoutSet, pool: Pool, *, design: Design, per_cell: int, controls: Controls, seed: int
    ) -> None:
        group = host_groups(galaxies, pool.hosts, design=design)
        key = hashes(galaxies.target_id[pool.hosts], salt=f"cells:{seed}")
        members = {int(number): np.flatnonzero(group == number) for number in np.unique(group[group >= 0])}
        group_of_cell = _group_of_cell(design)
        self.n_cells = design.n_cells
        self.cell_hosts: np.ndarray | None = np.array(
            [len(members.get(number, ())) for number in group_of_cell.tolist()], np.int64
        )
        rows, cells, replicates = [], [], []
        for cell in np.flatnonzero(self.cell_hosts):
            mine = members[int(group_of_cell[cell])]
            order = mine[np.argsort(mixed(key[mine] + np.uint64(cell)), kind="stable")][:per_cell]
            k = np.arange(per_cell)
            rows.append(pool.hosts[order[k % len(order)]])
            cells.append(np.full(per_cell, cell))
            replicates.append(k // len(order))
        used = np.unique(np.concatenate(rows)) if rows else pool.hosts[:0]
        plain = used if controls.mode == "paired" else pool.controls
        rows.append(np.repeat(plain, controls.rows_per_galaxy))
        cells.append(np.full(len(rows[-1]), -1))
        replicates.append(np.tile(np.arange(controls.rows_per_galaxy), len(plain)))
        self._rows = Rows(np.concatenate(rows), np.concatenate(cells), np.concatenate(replicates))
        self.galaxies = np.union1d(used, plain)
        self.n_rows = len(self._rows.row)

    def rows(self, start: int, stop: int) -> Rows:
        """See `Plan.rows`."""
        return Rows(*(column[start:stop] for column in self._rows))


def host_groups(galaxies: CutoutSet, hosts: np.ndarray, *, design: Design) -> np.ndarray:
    """(H,) number of the combination of host intervals that each host lies in; -1: in none. 0 without such axes."""
    band = BANDS.index("r")
    value_of = {
        "psfsize_r_arcsec": galaxies.psf_fwhm_arcsec[hosts, band],
        "psfdepth_r_mag": galaxies.psf_depth_mag[hosts, band],
    }
    group, outside = np.zeros(len(hosts), np.int64), np.zeros(len(hosts), bool)
    for axis in design.axes:
        if axis.of_host:
            value = np.asarray(value_of[axis.name], np.float64)
            place = np.searchsorted(axis.low, value, side="right") - 1
            outside |= ~((value >= axis.low[0]) & (value < axis.high[-1]))  # NaN too
            group = group * len(axis.low) + np.clip(place, 0, len(axis.low) - 1)
    return np.where(outside, -1, group)


def _group_of_cell(design: Design) -> np.ndarray:
    """(n_cells,) the same number for each cell."""
    group = np.zeros(design.n_cells, np.int64)
    for axis, place in zip(design.axes, design.places(np.arange(design.n_cells)).values(), strict=True):
        if axis.of_host:
            group = group * len(axis.low) + place
    return group


def hashes(target_ids: np.ndarray, *, salt: str) -> np.ndarray:
    """(N,) uint64 `dhs.rng.stable_hash` of each id."""
    return np.fromiter((stable_hash(str(i), salt=salt) for i in target_ids.tolist()), np.uint64, len(target_ids))


def mixed(values: np.ndarray) -> np.ndarray:
    """(N,) uint64 -> (N,) uint64, a bijection that looks random: the finaliser of SplitMix64 (Steele+2014)."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def wanted_splits(task: ManifestTask) -> list[str]:
    """Splits of the manifest, in its order."""
    return [split for split in SPLITS if getattr(task.n_galaxies, split) != 0]
