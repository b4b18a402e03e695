"""The galaxies of a manifest: a sky's, or those of a list for which no cutout exists yet.

Both come as a `CutoutSet` without pixels, so that recipes are drawn by the same functions as in training.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dhs.config.manifest import ManifestTask
from dhs.config.root import InjectionRoot
from dhs.constants import BANDS, SPLITS
from dhs.inject.psf_model import with_psf_ellipticity
from dhs.sky.build import load_sky
from dhs.sky.cutouts import CutoutSet
from dhs.sky.store import catalogue_columns
from dhs.sky.target_list import read_target_list

log = logging.getLogger("dhs")


class NoPixels:
    """Stands for the pixels of N galaxies that a manifest does not need."""

    def __init__(self, n_galaxies: int) -> None:
        self.shape = (n_galaxies, len(BANDS), 0, 0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> "NoPixels":
        return NoPixels(len(np.arange(len(self))[rows]))


def load_targets(config: InjectionRoot, task: ManifestTask, *, progress: Callable[[int, int], None]) -> CutoutSet:
    """The galaxies of ``task.targets``, else of ``config.sky``, without pixels, checked.

    Raises:
        ValueError: (one line) unreadable, missing columns, duplicate ids, galaxies without a seeing or a split.
    """
    if task.targets is not None:
        where = str(task.targets)
        galaxies = listed_galaxies(task.targets, task=task, max_galaxies=config.max_galaxies)
    else:
        where = f"sky = {config.sky.name}"
        sky = load_sky(
            config.sky, cache_dir=config.paths.cache_dir, max_galaxies=config.max_galaxies, progress=progress
        )
        none = NoPixels(len(sky))
        galaxies = replace(sky, images=none, invvar=none, maskbits=none, psf_images=None)
    _check(galaxies, where=where)
    return with_psf_ellipticity(galaxies, psf=config.psf)


def listed_galaxies(path: Path, *, task: ManifestTask, max_galaxies: int | None = None) -> CutoutSet:
    """The galaxies of a list; the centre of each is taken to be its position, in the middle of the stamp."""
    table = read_target_list(path, kind=task.kind, split=task.split)
    missing = [f"psfsize_{band}_arcsec" for band in BANDS if f"psfsize_{band}_arcsec" not in table.column_names]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; needed: the seeing of each target (task=targets)")
    if max_galaxies is not None:
        table = table.slice(0, max_galaxies)
    lost = table["split"].null_count
    if lost:
        raise ValueError(
            f"{path}: {lost} of {table.num_rows} targets have no split (no position, and no column split); "
            "allowed: train, val, test"
        )
    log.info("%s: %d targets; their centres are taken to be the middle of the stamp", path, table.num_rows)
    split = pc.index_in(table["split"], value_set=pa.array(SPLITS)).to_numpy().astype(np.int8)
    none = NoPixels(table.num_rows)
    return CutoutSet(
        images=none,
        invvar=none,
        maskbits=none,
        split=split,
        **catalogue_columns(table),
    )


def require_r_mag(galaxies: CutoutSet, *, hosts: np.ndarray) -> None:
    """ValueError when some of the ``hosts`` (rows) have no r magnitude, which an axis `dmag` adds to."""
    unknown = ~np.isfinite(galaxies.mag[hosts, BANDS.index("r")])
    if unknown.any():
        first = galaxies.target_id[hosts[unknown.argmax()]]
        raise ValueError(
            f"task.design.axes.dmag: {unknown.sum()} of {len(hosts)} hosts have no r magnitude (first target_id "
            f"{first}); give flux_r_nmgy, or use an axis source_r_mag"
        )


def _check(galaxies: CutoutSet, *, where: str) -> None:
    ids, counts = np.unique(galaxies.target_id, return_counts=True)
    if len(ids) < len(galaxies):
        raise ValueError(
            f"{where}: {int((counts > 1).sum())} duplicate ids, first target_id {ids[counts.argmax()]}, "
            f"{counts.max()} times; allowed: every id once"
        )
    wrong = ~(np.isfinite(galaxies.psf_fwhm_arcsec) & (galaxies.psf_fwhm_arcsec > 0)).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{where}: {int(wrong.sum())} of {len(wrong)} galaxies have no seeing (psfsize_g, r, z "
            f"{galaxies.psf_fwhm_arcsec[row].tolist()} arcsec, first target_id {galaxies.target_id[row]}); "
            "leave them out, or give their psfsize"
        )
