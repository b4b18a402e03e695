"""`sky=stamps`: training and testing on stamps that were painted before, instead of injection on the fly.

The pixels stay in tar shards and are mapped (all workers of a machine share its page cache); the columns are in memory,
about 350 bytes a stamp. A set of Parquet parts, or one that is not on this machine's disks, is rewritten once as shards
under `paths.cache_dir`, keyed by its checksum, in its own order.

**Epochs.** The train stamps are walked through in passes, each an order of its own drawn from (seed, pass); epoch e
takes the samples [e n, (e + 1) n) of that walk, n = `inject.samples_per_epoch`. So no stamp comes twice before all came
once, whatever n is, and sample i of epoch e is a function of (seed, e, i) alone, as with injection on the fly.
Validation and test sets are whole, in the set's order. The balance of positives and negatives is the set's own.
"""

import functools
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dhs.config.compact import CompactTask
from dhs.config.sky import StampsSky
from dhs.constants import SPLITS
from dhs.inject.injector import SPLIT_OF_PURPOSE
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.stampset.compact_job import COMPACT_VERSION, compact
from dhs.inject.stampset.fixed_rows import (
    measures_of,
    read_rows,
    recipes_of,
    rejected_of,
    require_both_labels,
    snr_of,
    task_id_of,
)
from dhs.inject.stampset.pixels import good_of
from dhs.inject.stampset.read import REMEDY, SUCCESS, StampSet, open_stamp_set
from dhs.inject.stampset.tar_layout import StampLayout
from dhs.rng import Purpose, keyed_rng
from dhs.sky.file_lock import file_lock
from dhs.sky.mapped import MappedRows, ShardMaps

log = logging.getLogger("dhs")

Progress = Callable[[int, int], None]


class FixedStamps:
    """`dhs.inject.supply.StampSupply` of a finished set."""

    def __init__(
        self, shards: StampSet, *, seed: int, samples_per_epoch: int, verify: bool, max_galaxies: int | None = None
    ) -> None:
        """ValueError (one line) where a split has no positives or no negatives, or the columns are not a set's."""
        self._seed, self._samples_per_epoch, self._verify = seed, samples_per_epoch, verify
        assert shards.place.local is not None and shards.is_sharded
        self.shards = shards
        self.cutouts = read_rows(shards, max_galaxies=max_galaxies)
        require_both_labels(self.cutouts, where=shards.place.root)
        self._rows = {split: np.flatnonzero(self.cutouts.split == code) for code, split in enumerate(SPLITS)}
        tars = [shards.place.local / str(part.tar) for part in shards.parts]
        maps = ShardMaps(tars, layout=StampLayout(shards.size_px))
        where = {"shard": self.cutouts.shard, "sample": self.cutouts.columns["sample"]}
        self._images, self._bad = (MappedRows(maps, name, **where) for name in ("image", "bad_pixels"))
        self._order = functools.lru_cache(maxsize=2)(self._order_of_pass)

    def n_stamps(self, purpose: Purpose) -> int:
        """Length of the whole VAL or TEST set, or of one training epoch."""
        if purpose in (Purpose.VAL, Purpose.TEST):
            return len(self._rows[SPLIT_OF_PURPOSE[purpose]])
        return self._samples_per_epoch

    def assignments(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(B,) row of `cutouts` and (B,) bool label of each of ``indices``, without reading the stamps."""
        rows = self._row_of(np.asarray(indices, dtype=np.int64), purpose=purpose, epoch=epoch)
        return rows, self.cutouts.columns["injected"][rows]

    def stamps(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0, measure: bool = False) -> StampBatch:
        """The stamps of (B,) ``indices``; keys are those of injection on the fly, so augmentation is too.

        ValueError (one line) where a stamp's bytes are not those that were written.
        """
        rows = self._row_of(np.asarray(indices, dtype=np.int64), purpose=purpose, epoch=epoch)
        images, bad = self._images[rows], self._bad[rows]
        columns = {name: values[rows] for name, values in self.cutouts.columns.items()}
        if self._verify:
            self._require_intact(rows, images, bad, columns["crc32"])
        keys = np.array([(self._seed, int(purpose), epoch, int(i)) for i in indices], dtype=np.int64).reshape(-1, 4)
        return StampBatch(
            images=torch.from_numpy(images),
            good=torch.from_numpy(good_of(bad, size_px=self.shards.size_px)),
            recipes=recipes_of(columns, rows, keys=keys),
            magnification=columns["magnification"],
            arc_snr=snr_of(columns, "arc_snr"),
            arc_snr_sum=snr_of(columns, "arc_snr_sum"),
            reject_reason=columns["reject_reason"],
            rejected=rejected_of(columns),
            measures=measures_of(columns) if measure else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._order = functools.lru_cache(maxsize=2)(self._order_of_pass)

    def _row_of(self, indices: np.ndarray, *, purpose: Purpose, epoch: int) -> np.ndarray:
        rows = self._rows[SPLIT_OF_PURPOSE[purpose]]
        if purpose in (Purpose.VAL, Purpose.TEST):
            return rows[indices]
        number, place = np.divmod(epoch * self._samples_per_epoch + indices, len(rows))
        found = np.empty(len(indices), np.int64)
        for one in np.unique(number).tolist():
            found[number == one] = self._order(one)[place[number == one]]
        return rows[found]

    def _order_of_pass(self, number: int) -> np.ndarray:
        return keyed_rng(self._seed, Purpose.EPOCH, number, 0).permutation(len(self._rows["train"]))

    def _require_intact(self, rows: np.ndarray, images: np.ndarray, bad: np.ndarray, crc: np.ndarray) -> None:
        for place, (image, mask, wanted) in enumerate(zip(images, bad, crc.tolist(), strict=True)):
            if zlib.crc32(mask, zlib.crc32(image)) != wanted:
                row = int(rows[place])
                part = self.shards.parts[int(self.cutouts.shard[row])]
                sample = int(self.cutouts.columns["sample"][row])
                raise ValueError(
                    f"{self.shards.place.show(str(part.tar))}: stamp {sample} of it "
                    f"({task_id_of(self.shards, part, sample)}) has other bytes than were written; {REMEDY}"
                )


def load_fixed_stamps(
    config: StampsSky,
    *,
    seed: int,
    samples_per_epoch: int,
    cache_dir: Path,
    max_galaxies: int | None = None,
    progress: Progress | None = None,
) -> FixedStamps:
    """The set of ``config``, mapped; it is rewritten as shards first where it is none. ``progress(rows, of all)``.

    ``max_galaxies``: only the stamps of so many galaxies, chosen by the hash of their ids.
    ValueError (one line) where it cannot be used.
    """
    stamps = open_stamp_set(config.path, key="sky.path")
    if stamps.size_px != config.stamp_size_px:
        raise ValueError(
            f"sky.path = {config.path}: stamps of {stamps.size_px} px, sky.stamp_size_px = {config.stamp_size_px}; "
            f"give sky.stamp_size_px={stamps.size_px}, or another set"
        )
    shards = stamps if stamps.is_sharded and stamps.place.local else _as_shards(config, stamps, cache_dir, progress)
    return FixedStamps(
        shards, seed=seed, samples_per_epoch=samples_per_epoch, verify=config.verify, max_galaxies=max_galaxies
    )


def _as_shards(config: StampsSky, stamps: StampSet, cache_dir: Path, progress: Progress | None) -> StampSet:
    """The set as mapped shards in the cache, in its own order, made once."""
    folder = cache_dir / "stamp-sets" / f"{stamps.checksum[:16]}-{COMPACT_VERSION}"
    settings = {"input": config.path, "output": str(folder), "format": "webdataset", "failed_rows": "drop"}
    task = CompactTask.model_validate({"name": "compact", "shuffle": False, **settings})
    log.info("sky.path = %s is mapped from %s, which is made once (safe to delete)", config.path, folder)
    with file_lock(folder.with_suffix(".lock"), held_elsewhere=None):
        if not (folder / SUCCESS).is_file():
            compact(task, seed=0, cache_dir=cache_dir, progress=_only_counts(progress))
    return open_stamp_set(folder, key="sky.path")


def _only_counts(progress: Progress | None) -> Callable[[str, int, int], None]:
    def counted(_what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(done, total)

    return counted
