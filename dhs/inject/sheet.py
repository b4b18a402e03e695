"""Contact sheets of injected stamps: galaxy, arc alone, both. The cheapest defence against a wrong injection."""

import csv
import logging
from pathlib import Path

import numpy as np

from dhs.constants import BANDS, CLASSES
from dhs.display import comparison_sheet, contact_sheet
from dhs.inject.acceptance import CUTS
from dhs.inject.injector import Injector
from dhs.inject.mix import HARD_NEGATIVE, NEGATIVE, PAIRED_CONTROL, REAL_LENS
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose
from dhs.source.base import Source
from dhs.source.task_choice import kind_and_index

log = logging.getLogger("dhs")

COLUMNS = 8
MAX_POOL = 4096
"""Samples looked through to find enough injections for a sheet."""

UNINJECTED = {
    NEGATIVE: "no arc",
    REAL_LENS: "known lens, nothing injected",
    HARD_NEGATIVE: "hard negative",
    PAIRED_CONTROL: "same galaxy, no arc",
}
"""What the caption says of a stamp without an injected arc."""


def injection_sheet(injector: Injector, *, n_stamps: int, path: Path) -> Path:
    """PNG of ``n_stamps`` training injections before, alone and after; a CSV of their recipes beside it."""
    stamps = injector.stamps(_injected_indices(injector, n_stamps), purpose=Purpose.SHEET, measure=True)
    background = np.array(injector.cutouts.images[stamps.recipes.row])
    after = stamps.images.numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    comparison_sheet(
        {"galaxy": background, "arc": after - background, "both": after},
        captions=[_arc_caption(stamps, i) for i in range(len(stamps))],
        path=path,
        columns=COLUMNS,
        title="Injected training stamps (g, r, z; 16.8 arcsec)",
    )
    _write_recipes(stamps, path.with_suffix(".csv"), source=injector.source)
    log.info(acceptance_line(stamps))
    return path


def acceptance_line(stamps: StampBatch) -> str:
    """One line: how many injections pass the cuts, and how many draws each cut threw away on the way."""
    injected = stamps.recipes.injected
    thrown = stamps.rejected.sum(axis=0, dtype=np.int64)
    by_cut = ", ".join(f"{CUTS[i]} {thrown[i]}" for i in range(1, len(CUTS)) if thrown[i]) or "none"
    return (
        f"{stamps.accepted.sum()} of {injected.sum()} injections pass the acceptance cuts, "
        f"{stamps.n_tries.sum()} draws; thrown away: {by_cut}"
    )


def first_batch_sheet(injector: StampSupply, *, path: Path, batch_size: int) -> Path:
    """PNG of the first training batch as it is: lenses and negatives, in nanomaggies before preprocessing."""
    indices = np.arange(min(batch_size, 64, injector.n_stamps(Purpose.TRAIN)))
    stamps = injector.stamps(indices, purpose=Purpose.TRAIN, epoch=0)
    order = np.argsort(stamps.origin == NEGATIVE, kind="stable")
    order = order[np.argsort(~stamps.label[order], kind="stable")]
    captions = [stamp_caption(stamps, i, kinds=injector.cutouts.kind) for i in order]
    return contact_sheet(
        stamps.images.numpy()[order],
        captions=captions,
        path=path,
        columns=COLUMNS,
        title="First training batch: lenses, then negatives",
    )


def _injected_indices(injector: Injector, n_stamps: int) -> np.ndarray:
    found: list[int] = []
    for start in range(0, MAX_POOL, 64):
        found += injector.injected_indices(np.arange(start, start + 64), purpose=Purpose.SHEET)
        if len(found) >= n_stamps:
            break
    return np.array(found[:n_stamps])


def stamp_caption(stamps: StampBatch, i: int, *, kinds: np.ndarray) -> str:
    """Two lines: Einstein radius, magnification, source magnitude and integrated S/N in g of an injected arc; the class
    of anything else (``kinds``: `Galaxies.kind`) and how it came to be there."""
    if not stamps.recipes.injected[i]:
        return f"{CLASSES[kinds[stamps.recipes.row[i]]].replace('_', ' ')}\n{UNINJECTED[stamps.origin[i]]}"
    return _arc_caption(stamps, i)


def _arc_caption(stamps: StampBatch, i: int) -> str:
    recipes = stamps.recipes
    snr = stamps.arc_snr_sum[i, BANDS.index("g")]
    return (
        f'$\\theta_E$ {recipes.theta_e_arcsec[i]:.2f}"  $\\mu$ {stamps.magnification[i]:.1f}\n'
        f"r {recipes.source_mag[i, BANDS.index('r')]:.1f}  S/N$_g$ {snr:.0f}"
    )


def _write_recipes(stamps: StampBatch, path: Path, *, source: Source) -> None:
    kind, own_index = kind_and_index(source, stamps.recipes.source_index)
    columns = stamps.columns() | {"source_kind": kind, "source_own_index": own_index}
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
