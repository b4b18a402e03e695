"""Checks of finished stamps: nothing but the arc is added, one recipe gives one stamp, S/N is what it says."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.inject.recipe import RecipeBatch
from dhs.inject.selfcheck.light import ZERO_POINT_MAG, painted
from dhs.inject.selfcheck.noise import arc_noise
from dhs.inject.selfcheck.physics import Physics
from dhs.inject.selfcheck.rows import Check, at_most, close
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.stream import InjectionStream
from dhs.rng import Purpose
from dhs.sky.cutouts import good_pixels
from dhs.source.measure import half_light_radius_arcsec

N_ALONE = 6
STREAM_BATCH = 8
BAD_STRIPE_PX = 9

ROUNDING = 2e-7
"""Of a float32 pixel."""


def background(physics: Physics) -> list[Check]:
    """An injected stamp is its galaxy plus the arc of its recipe, bit for bit; a control is its galaxy.

    With `inject.arc_noise` on, bit for bit becomes: within six sigma of the arc's own noise.
    """
    expected = physics.galaxies_nmgy + painted(physics, physics.stamps.recipes)
    difference = (physics.stamps.images.double() - expected.double()).abs()
    allowed = torch.zeros_like(difference)
    noisy = physics.config.inject.arc_noise != "none"
    if noisy:
        allowed = 6 * torch.from_numpy(arc_noise(physics).sigma_nmgy) + ROUNDING * expected.double().abs()
    controls = _controls(physics)
    galaxies = torch.from_numpy(np.array(physics.cutouts.images[controls.recipes.row], dtype=np.float32))
    label = " within 6 sigma of its noise" if noisy else ""
    return [
        at_most(
            "background",
            f"pixels of {len(physics.stamps)} injected stamps that are not galaxy + arc of the recipe{label}",
            expected=0,
            got=float((difference > allowed).sum()),
            limit=0,
            why="something besides the arc marks a positive: a network finds that instead of lenses",
        ),
        at_most(
            "background",
            f"pixels of {len(controls)} controls that are not their galaxy's",
            expected=0,
            got=float((controls.images != galaxies).sum()),
            limit=0,
            why="controls were resampled, smoothed or otherwise marked",
        ),
    ]


def _controls(physics: Physics) -> StampBatch:
    """Training stamps without an arc."""
    indices = np.setdiff1d(np.arange(4 * physics.n_stamps), physics.indices)
    stamps = physics.injector.stamps(indices, purpose=Purpose.TRAIN)
    plain = np.flatnonzero(~stamps.recipes.injected)[: physics.n_stamps]
    return stamps.take(plain)


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
    """Written as CSV, read back; the arc rendered and added to the galaxy. An arc with noise is drawn from its key."""
    written = physics.stamps.recipes.columns()
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(pa.table({name: pa.array(column) for name, column in written.items()}), buffer)
    table = pyarrow.csv.read_csv(io.BytesIO(buffer.getvalue()))
    read = {name: np.asarray(table.column(name)).astype(column.dtype) for name, column in written.items()}
    recipes = RecipeBatch.from_columns(read)
    if physics.config.inject.arc_noise != "none":
        keyed = physics.injector.stamps(recipes.key[:, 3], purpose=Purpose(int(recipes.key[0, 1])))
        return _largest(keyed.images, physics.stamps.images)
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


def measures(physics: Physics) -> list[Check]:
    """The table's magnitudes and half-light radii of arcs and sources, measured again."""
    quiet = physics.without_noise
    said = quiet.injector.stamps(quiet.indices, purpose=Purpose.TRAIN, measure=True).measures
    assert said is not None
    mag = ZERO_POINT_MAG - 2.5 * np.log10(quiet.arcs_nmgy.sum(axis=(-2, -1)))
    scale = quiet.source.pixel_scale_arcsec
    templates = quiet.source.templates(quiet.stamps.recipes.source_index).each().double().mean(dim=1).numpy()
    source = np.array([half_light_radius_arcsec(image, pixel_scale_arcsec=scale) for image in templates])
    arcs = quiet.arcs_nmgy[:, BANDS.index("r")]
    lensed = np.array([_half_light_area_radius_arcsec(arc) for arc in arcs])
    n = f"{len(mag)} arcs"
    return [
        at_most(
            "measures",
            f"|arc magnitude in the table - measured|, worst of {n} and bands",
            expected=0,
            got=float(np.abs(said.arc_mag - mag).max()),
            limit=2e-3,
            unit="mag",
            why="magnitudes of another arc, of the source, or with the galaxy's light",
        ),
        close(
            "measures",
            f"source_hlr_arcsec in the table / measured on the template, median of {n}",
            expected=1,
            got=float(np.median(said.source_hlr_arcsec / source)),
            allowed=0.05,
            why="the lensed arc's radius is given as the source's",
        ),
        close(
            "measures",
            f"lensed_hlr_arcsec in the table / measured on the arc, median of {n}",
            expected=1,
            got=float(np.median(said.lensed_hlr_arcsec / lensed)),
            allowed=0.02,
            why="the source's radius is given as the lensed arc's",
        ),
    ]


def _half_light_area_radius_arcsec(image: np.ndarray) -> float:
    """``sqrt(area / pi)`` of the brightest pixels that hold half of the light."""
    ordered = np.sort(image, axis=None)[::-1]
    growth = np.concatenate([[0.0], np.cumsum(ordered)])
    rising = int(np.argmax(growth)) + 1
    n_pixels = np.interp(0.5 * growth[-1], growth[:rising], np.arange(rising))
    return float(np.sqrt(n_pixels / np.pi) * PIXEL_SCALE_ARCSEC)


def _largest(left: torch.Tensor, right: torch.Tensor) -> float:
    """Largest |difference|; infinite where shapes differ."""
    if left.shape != right.shape:
        return float("inf")
    return float((left.double() - right.double()).abs().max())
