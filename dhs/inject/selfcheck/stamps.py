"""Checks of finished stamps: nothing but the arc is added, one recipe gives one stamp, S/N is what it says."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

from dhs.constants import BANDS
from dhs.inject.injector import StampBatch
from dhs.inject.recipe import RecipeBatch
from dhs.inject.selfcheck.light import painted
from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.rows import Check, at_most, close
from dhs.inject.stream import InjectionStream
from dhs.rng import Purpose
from dhs.sky.cutouts import good_pixels

N_ALONE = 6
STREAM_BATCH = 8
BAD_STRIPE_PX = 9


def background(physics: Physics) -> list[Check]:
    """An injected stamp is its galaxy plus the arc of its recipe, bit for bit; a control is its galaxy."""
    expected = physics.galaxies_nmgy + painted(physics, physics.stamps.recipes)
    changed = physics.stamps.images != expected
    worst = float((physics.stamps.images.double() - expected.double()).abs().max())
    controls = _controls(physics)
    galaxies = torch.from_numpy(np.array(physics.cutouts.images[controls.recipes.row], dtype=np.float32))
    touched = int((controls.images != galaxies).sum())
    n = len(physics.stamps)
    return [
        at_most(
            "background",
            f"pixels of {n} injected stamps that are not galaxy + arc of the recipe",
            expected=0,
            got=float(changed.sum()),
            limit=0,
            why="something besides the arc marks a positive: a network finds that instead of lenses",
        ),
        at_most(
            "background",
            "largest difference there",
            expected=0,
            got=worst,
            limit=0,
            unit="nMgy",
            why="the same, as brightness",
        ),
        at_most(
            "background",
            f"pixels of {len(controls)} controls that are not their galaxy's",
            expected=0,
            got=float(touched),
            limit=0,
            why="controls were resampled, smoothed or otherwise marked",
        ),
    ]


def _controls(physics: Physics) -> StampBatch:
    """Training stamps without an arc."""
    indices = np.setdiff1d(np.arange(4 * physics.n_stamps), physics.indices)
    stamps = physics.injector.stamps(indices, purpose=Purpose.TRAIN)
    plain = np.flatnonzero(~stamps.recipes.injected)[: physics.n_stamps]
    return replace(
        stamps,
        images=stamps.images[torch.from_numpy(plain)],
        good=stamps.good[torch.from_numpy(plain)],
        recipes=stamps.recipes.take(plain),
        magnification=stamps.magnification[plain],
        arc_snr=stamps.arc_snr[plain],
        arc_snr_sum=stamps.arc_snr_sum[plain],
        accepted=stamps.accepted[plain],
    )


def same_stamp(physics: Physics) -> list[Check]:
    """One recipe, one stamp, bit for bit: alone, in another order, through the training stream, from a table."""
    why = "a stamp depends on its batch or its caller: nothing can be reproduced, manifests differ from training"
    ways = {
        "alone": _alone(physics),
        "in another order": _other_order(physics),
        "through the training stream": _stream(physics),
        "from a table of recipes (CSV)": _from_table(physics),
    }
    return [
        at_most("same_stamp", f"largest difference, {way}", expected=0, got=difference, limit=0, unit="nMgy", why=why)
        for way, difference in ways.items()
    ]


def _alone(physics: Physics) -> float:
    differences = [
        _largest(physics.injector.stamps(physics.indices[i : i + 1], purpose=Purpose.TRAIN).images[0], image)
        for i, image in enumerate(physics.stamps.images[:N_ALONE])
    ]
    return max(differences)


def _other_order(physics: Physics) -> float:
    order = np.arange(len(physics.indices))[::-1]
    again = physics.injector.stamps(physics.indices[order], purpose=Purpose.TRAIN).images
    return _largest(again, physics.stamps.images[torch.from_numpy(order.copy())])


def _stream(physics: Physics) -> float:
    """Second batch of `InjectionStream`, the images as they reach the preprocessing, against the injector's."""
    if physics.injector.n_stamps(Purpose.TRAIN) < 2 * STREAM_BATCH:
        raise ValueError(f"inject.samples_per_epoch: the self-check needs at least {2 * STREAM_BATCH}")
    stream = InjectionStream(
        physics.injector,
        purpose=Purpose.TRAIN,
        epoch=0,
        batch_size=STREAM_BATCH,
        first_batch=1,
        transform=_untouched,
    )
    batch = next(iter(stream))
    indices = np.arange(STREAM_BATCH, 2 * STREAM_BATCH)
    longer = physics.injector.stamps(np.concatenate([indices, physics.indices]), purpose=Purpose.TRAIN)
    return _largest(batch["image"], longer.images[:STREAM_BATCH])


def _untouched(stamps: StampBatch) -> dict[str, Any]:
    return {"image": stamps.images}


def _from_table(physics: Physics) -> float:
    """Written as CSV, read back, rendered and added to the galaxy."""
    written = physics.stamps.recipes.columns()
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(pa.table({name: pa.array(column) for name, column in written.items()}), buffer)
    table = pyarrow.csv.read_csv(io.BytesIO(buffer.getvalue()))
    read = {name: np.asarray(table.column(name)).astype(column.dtype) for name, column in written.items()}
    recipes = RecipeBatch.from_columns(read)
    return _largest(physics.galaxies_nmgy + painted(physics, recipes), physics.stamps.images)


def snr(physics: Physics) -> list[Check]:
    """S/N of the table recomputed from the arc and the inverse variance, on a sky with a stripe of bad pixels."""
    masked = _with_bad_stripe(physics)
    stamps = physics.make_injector(physics, masked).stamps(physics.indices, purpose=Purpose.TRAIN)
    rows = stamps.recipes.row
    invvar = np.asarray(masked.invvar[rows], dtype=np.float64)
    good = good_pixels(invvar, np.asarray(masked.maskbits[rows])) & ~_stripe(physics)
    arcs = painted(physics, stamps.recipes).double().numpy()
    per_pixel = np.where(good, arcs * np.sqrt(invvar), 0)
    footprint = per_pixel > 1
    variance = np.where(footprint, 1 / np.maximum(invvar, 1e-30), 0).sum(axis=(-2, -1))
    signal = np.where(footprint, arcs, 0).sum(axis=(-2, -1))
    peak = per_pixel.max(axis=(-2, -1))
    total = np.where(variance > 0, signal / np.sqrt(np.maximum(variance, 1e-30)), peak)
    why = {
        "arc_snr": "not the largest S/N of one good pixel",
        "arc_snr_sum": "not sum(signal) / sqrt(sum(1 / invvar)) over good pixels above 1 sigma: "
        "the peak reported as integrated, or bad pixels counted",
    }
    return [
        close(
            "snr",
            f"{name} in the table / recomputed, a stripe of pixels masked (farthest off)",
            expected=1,
            got=_farthest_ratio(said, computed),
            allowed=2e-3,
            why=why[name],
        )
        for name, said, computed in (("arc_snr", stamps.arc_snr, peak), ("arc_snr_sum", stamps.arc_snr_sum, total))
    ]


def _farthest_ratio(said: np.ndarray, computed: np.ndarray) -> float:
    ratio = np.asarray(said, dtype=np.float64) / np.maximum(computed, 1e-12)
    return float(ratio.ravel()[np.abs(ratio - 1).argmax()])


def _stripe(physics: Physics) -> np.ndarray:
    """(N, N) bool: columns right of the centre, where arcs are."""
    columns = np.arange(physics.size_px) - physics.size_px // 2
    return np.broadcast_to((columns >= 0) & (columns < BAD_STRIPE_PX), (physics.size_px, physics.size_px))


def _with_bad_stripe(physics: Physics) -> Any:
    """The sky with ALLMASK_G (bit 5) set in a stripe."""
    maskbits = np.array(physics.cutouts.maskbits)
    maskbits[:, _stripe(physics)] |= 1 << 5
    return replace(physics.cutouts, maskbits=maskbits)


def noise(physics: Physics) -> list[Check]:
    """What injection adds beside the noise-free arc: nothing unless the configuration asks for the arc's own noise."""
    residual = physics.arcs_nmgy - painted(physics, physics.stamps.recipes).double().numpy()
    sigma = 1 / np.sqrt(np.median(np.asarray(physics.cutouts.invvar[physics.stamps.recipes.row]), axis=(-2, -1)))
    why = "noise that controls do not have marks the positives"
    return [
        at_most(
            "noise",
            f"rms of what is added beside the arc / noise of the coadd, {band}",
            expected=0,
            got=float((np.sqrt((residual[:, i] ** 2).mean(axis=(-2, -1))) / sigma[:, i]).max()),
            limit=1e-3,
            why=why,
        )
        for i, band in enumerate(BANDS)
    ]


def _largest(left: torch.Tensor, right: torch.Tensor) -> float:
    """Largest |difference|; infinite where shapes differ."""
    if left.shape != right.shape:
        return float("inf")
    return float((left.double() - right.double()).abs().max())
