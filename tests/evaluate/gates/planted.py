"""Injections with a planted mistake, and finders that read it: what each gate must find.

A plant changes injected stamps alone, in the painter, as a real mistake of a pipeline would: training, tests and nulls
all carry it. The oracles look at one thing each, without training, so a test says which gate sees what.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import avg_pool2d

from dhs.config.gates import GatesConfig
from dhs.config.root import TrainConfig
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.evaluate.gates.data_gates import core_brightness, normalisation, ring_table
from dhs.evaluate.gates.judge import Gate
from dhs.evaluate.gates.model_gates import PairScores, bands_of_channels, model_gates, separation_auc
from dhs.evaluate.gates.pairs import Pairs, find_pairs
from dhs.evaluate.gates.variants import PairItems
from dhs.inject.acceptance import ArcBatch
from dhs.inject.injector import Injector
from dhs.inject.painter import Painter, Pixels
from dhs.inject.recipe import RecipeBatch
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies
from dhs.rng import keyed_rng
from dhs.sky.depth import sigma_of_depth
from dhs.train.finder import Finder
from dhs.train.masked import radii_px, ring_level

Plant = Callable[[torch.Tensor, np.ndarray], torch.Tensor]
"""(P, bands, N, N) injected stamps and their (P, 4) keys -> the same with a mistake."""

SETTINGS = GatesConfig.model_validate(
    {
        "n_pairs": 150,
        "n_candidates": 1000,
        "resamples": 400,
        "null_injection": {"max_difference": 0.05},  # 100 galaxies prove no less
        "normalisation": {"n_stamps": 200},
    }
)


class PlantedPainter(Painter):
    """A painter that does something to every injection beside the arc."""

    plant: Plant
    one_sided: bool

    def finish(
        self, pixels: Pixels, recipes: RecipeBatch, *, arcs: ArcBatch, where: np.ndarray, measure: bool
    ) -> StampBatch:
        if self.one_sided:
            arcs = arcs._replace(images_nmgy=to_the_right(arcs.images_nmgy))
        stamps = super().finish(pixels, recipes, arcs=arcs, where=where, measure=measure)
        stamps.images[where] = self.plant(stamps.images[where], recipes.key[where])
        return stamps


def planted(injector: Injector, plant: Plant, *, one_sided: bool = False) -> Injector:
    """``injector``, every injection of which is treated by ``plant`` (and has its arc at the right)."""
    other = injector.with_test_positives(SETTINGS.n_candidates)
    painter = PlantedPainter.__new__(PlantedPainter)
    painter.__dict__.update(injector.painter.__dict__, plant=plant, one_sided=one_sided)
    other.painter = painter
    return other


def nothing(images: torch.Tensor, keys: np.ndarray) -> torch.Tensor:
    return images


def brighter_cores(images: torch.Tensor, keys: np.ndarray) -> torch.Tensor:
    """Half as much light again within 0.8 arcsec."""
    return torch.where(_radius(images) < 0.8 / PIXEL_SCALE_ARCSEC, 1.5 * images, images)


def blue_cores(images: torch.Tensor, keys: np.ndarray) -> torch.Tensor:
    """Light of 0.3 of the z-band core's in every band: unlensed source light that sits on the lens."""
    return images + 0.3 * images[:, 2:] * torch.exp(-0.5 * (_radius(images) / 2.0) ** 2)


def more_noise(images: torch.Tensor, keys: np.ndarray) -> torch.Tensor:
    """White noise of 0.8 of the sky's sigma."""
    white = np.array([keyed_rng(*key).standard_normal(images.shape[1:]) for key in (keys + [0, 90, 0, 0]).tolist()])
    sigma = ring_level(images, good=torch.ones_like(images, dtype=torch.bool), inner_fraction=0.5).sigma
    return images + 0.8 * sigma[..., None, None] * torch.from_numpy(white.astype(np.float32))


def to_the_right(arcs: torch.Tensor) -> torch.Tensor:
    """Arcs mirrored where more of their light is at the left."""
    half = arcs.shape[-1] // 2
    left = arcs[..., :half].sum((1, 2, 3)) > arcs[..., half:].sum((1, 2, 3))
    return torch.where(left[:, None, None, None], arcs.flip(-1), arcs)


class Reader:
    """A finder that reads one number off the stamps in sigmas: logit = slope (number - threshold)."""

    def __init__(
        self, config: TrainConfig, read: Callable[[StampBatch, Galaxies], torch.Tensor], *, slope: float, at: float
    ) -> None:
        self.config, self._read, self._slope, self._at = config, read, slope, at

    def maker(self, cutouts: Galaxies) -> Callable[[StampBatch], torch.Tensor]:
        return lambda stamps: self._read(stamps, cutouts)

    def logits(self, batch: torch.Tensor) -> np.ndarray:
        return (self._slope * (batch.double() - self._at)).clamp(-12, 12).numpy()


def blue_light(stamps: StampBatch, _: Galaxies) -> torch.Tensor:
    """What a clean finder sees: the highest mean of 3 x 3 pixels, 1 to 4 arcsec out, of light bluer than the core."""
    return _peak(_excess(stamps))


def one_colour(stamps: StampBatch, cutouts: Galaxies) -> torch.Tensor:
    """The same, but only of light with the g - r of all arcs of `colour=seed_sed`: within 0.075 of -0.325."""
    g, r = (_without_galaxy(stamps)[:, i] for i in (0, 1))
    ratio = g / r.clamp(min=1e-6)
    one = (ratio > 10**0.1) & (ratio < 10**0.16)
    return _peak(torch.where(one, _excess(stamps), 0.0))


def core_over_rest(stamps: StampBatch, _: Galaxies) -> torch.Tensor:
    """z-band light within 0.6 arcsec over that of 0.9 to 1.4 arcsec."""
    z, radius = stamps.images[:, BANDS.index("z")], _radius(stamps.images) * PIXEL_SCALE_ARCSEC
    means = [z[:, (radius >= low) & (radius < high)].mean(dim=1) for low, high in ((0.0, 0.6), (0.9, 1.4))]
    return torch.log(means[0] / means[1].clamp(min=1e-6))


def noise_over_depth(stamps: StampBatch, cutouts: Galaxies) -> torch.Tensor:
    """ln of the r-band noise of the outer ring over that of the depth."""
    sigma = ring_level(stamps.images, good=stamps.good, inner_fraction=0.5).sigma[:, 1]
    row = stamps.recipes.row
    depth, fwhm = cutouts.psf_depth_mag[row, 1], cutouts.psf_fwhm_arcsec[row, 1]
    expected = sigma_of_depth(depth, fwhm_arcsec=fwhm, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC)
    return torch.log(sigma / torch.from_numpy(expected).float())


def light_at_the_right(stamps: StampBatch, _: Galaxies) -> torch.Tensor:
    """Peak of blue light at the right less that at the left."""
    excess = _excess(stamps)
    right = torch.arange(excess.shape[-1]) >= excess.shape[-1] / 2
    return _peak(torch.where(right, excess, 0.0)) - _peak(torch.where(right, 0.0, excess))


def answers(
    finder: Finder, injector: Injector, *, natural: Injector, settings: GatesConfig = SETTINGS
) -> dict[str, Gate]:
    """Every gate but `conditions`, by key; ``natural`` has arcs as the priors give them."""
    pairs = find_pairs(injector, n_pairs=settings.n_pairs, n_candidates=settings.n_candidates, visible_only=True)
    scores = PairScores.of(score_pairs(finder, pairs, settings=settings), resamples=settings.resamples, seed=1)
    separation = separation_auc(scores, resamples=settings.resamples, seed=1)
    seen = bands_of_channels(finder.config.preprocess.channels)
    gates = model_gates(scores, separation=separation, settings=settings, bands_seen=seen)
    arcs = find_pairs(
        natural, n_pairs=settings.normalisation.n_stamps, n_candidates=settings.n_candidates, visible_only=False
    )
    gates.append(normalisation(ring_table(arcs, inner_fraction=0.5), settings=settings, seed=1))
    gates.append(core_brightness(scores, settings=settings))
    return {gate.key: gate for gate in gates}


def score_pairs(finder: Finder, pairs: Pairs, *, settings: GatesConfig = SETTINGS) -> pa.Table:
    """As `dhs.evaluate.scored_set.score_items`, without files."""
    items = PairItems(pairs, settings=settings)
    maker, parts = finder.maker(items.cutouts), []
    for start in range(0, len(items), 260):
        indices = np.arange(start, min(start + 260, len(items)))
        stamps = items.stamps(indices)
        columns = {"index": indices} | items.columns(stamps, indices)
        parts.append(pa.table(columns | {"logit": finder.logits(maker(stamps)).astype(np.float32)}))
    return pa.concat_tables(parts)


def failed(gates: dict[str, Gate]) -> set[str]:
    """Keys of the gates that fail."""
    return {key for key, gate in gates.items() if gate.outcome == "FAIL"}


def _radius(images: torch.Tensor) -> torch.Tensor:
    return radii_px(images.shape[-1], images.device)


def _without_galaxy(stamps: StampBatch) -> torch.Tensor:
    """Each band less the z band scaled to the colour of the core: what has another colour than the galaxy."""
    core = _radius(stamps.images) < 0.6 / PIXEL_SCALE_ARCSEC
    flux = stamps.images[..., core].sum(dim=-1)
    ratio = flux / flux[:, 2:].clamp(min=1e-6)
    return stamps.images - ratio[..., None, None] * stamps.images[:, 2:]


def _excess(stamps: StampBatch) -> torch.Tensor:
    """(B, N, N) g - k z in sigmas of its own outer ring."""
    plane = _without_galaxy(stamps)[:, :1]
    level = ring_level(plane, good=torch.ones_like(plane, dtype=torch.bool), inner_fraction=0.5)
    return ((plane - level.centre[..., None, None]) / level.sigma[..., None, None])[:, 0]


def _peak(plane: torch.Tensor) -> torch.Tensor:
    radius = _radius(plane) * PIXEL_SCALE_ARCSEC
    smooth = avg_pool2d(plane[:, None], kernel_size=3, stride=1, padding=1)[:, 0]
    return torch.where((radius > 1.0) & (radius < 4.0), smooth, -99.0).amax(dim=(1, 2))
