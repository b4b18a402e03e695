"""Scores the held-out split with a trained finder: one row a stamp, everything later figures need."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from torch.utils.data import DataLoader

from dhs.constants import BANDS, CLASSES
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.stream import InjectionStream
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose
from dhs.train.finder import Finder, Maker


def score_split(
    finder: Finder, *, injector: StampSupply, purpose: Purpose, batch_size: int, num_workers: int
) -> pa.Table:
    """The score table (dhs.evaluate.table) of the VAL or TEST set of ``injector``; row i is sample i of the set."""
    maker = finder.maker(injector.cutouts)
    stream = InjectionStream(
        injector, purpose=purpose, epoch=0, batch_size=batch_size, transform=_WithColumns(injector, maker)
    )
    loader: DataLoader[dict[str, Any]] = DataLoader(
        stream, batch_size=None, num_workers=num_workers, multiprocessing_context="fork" if num_workers else None
    )
    return pa.concat_tables(_score_batches(finder, loader))


class _WithColumns:
    """Stamps -> network batch plus table columns, in the worker."""

    def __init__(self, injector: StampSupply, maker: Maker) -> None:
        self._injector, self._maker = injector, maker

    def __call__(self, stamps: StampBatch) -> dict[str, Any]:
        # An Arrow table, because the loader turns arrays into tensors.
        return {"batch": self._maker(stamps), "columns": pa.table(score_columns(stamps, injector=self._injector))}


def _score_batches(finder: Finder, loader: DataLoader[dict[str, Any]]) -> Iterator[pa.Table]:
    for item in loader:
        logits = finder.logits(item["batch"]).astype(np.float32)
        yield item["columns"].append_column("logit", pa.array(logits))


def score_columns(stamps: StampBatch, *, injector: StampSupply) -> dict[str, np.ndarray]:
    """Columns of the score table but the logit; NaN where a control has no such quantity."""
    recipes, cutouts = stamps.recipes, injector.cutouts
    g, r = BANDS.index("g"), BANDS.index("r")
    columns: dict[str, np.ndarray] = {
        "target_id": recipes.target_id,
        "label": recipes.injected.astype(np.int8),
        "kind": np.array(CLASSES)[cutouts.kind[recipes.row]],
        "theta_e_arcsec": recipes.theta_e_arcsec.astype(np.float32),
        "magnification": stamps.magnification,
        "source_mag_r": recipes.source_mag[:, r].astype(np.float32),
        "arc_snr": stamps.arc_snr.max(axis=1),
        "arc_snr_sum": stamps.arc_snr_sum.max(axis=1),
        "arc_snr_sum_g": stamps.arc_snr_sum[:, g],
    }
    for i, band in enumerate(BANDS):
        columns[f"psf_fwhm_{band}_arcsec"] = cutouts.psf_fwhm_arcsec[recipes.row, i].astype(np.float32)
        columns[f"psf_depth_{band}_mag"] = cutouts.psf_depth_mag[recipes.row, i].astype(np.float32)
    return columns
