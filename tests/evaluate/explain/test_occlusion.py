"""Occlusion maps: a finder that looks at one place only is shown to look there, and nowhere else."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from rich.console import Console

from dhs.config.root import TrainConfig
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.explain.occlusion import OcclusionItems, corners, filling, occlusion_maps, share_inside
from dhs.evaluate.explain.stage import arc_footprint, run
from dhs.evaluate.held_out import HeldOutItems
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.inject.stamp_batch import StampBatch
from dhs.rng import Purpose
from dhs.train.finder import SingleFinder
from dhs.train.module import LensFinder

PLACE = (slice(44, 50), slice(9, 15))
"""Rows and columns that the planted finder looks at."""


class PlaceFinder:
    """Its logit is the scatter of the g pixels of PLACE: what is not smooth there."""

    config = None

    def maker(self, cutouts):  # type: ignore[no-untyped-def]
        return _place

    def logits(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(batch)


def _place(stamps: StampBatch) -> np.ndarray:
    return stamps.images[:, 0][:, *PLACE].double().flatten(1).sum(dim=1).numpy() * 50


@pytest.fixture(scope="module")
def config(small_config: Callable[..., TrainConfig]) -> TrainConfig:
    return small_config("evaluate.fprs=[0.1]", "evaluate.bin_fpr=0.1", "evaluate.explain.n_each=2")


@pytest.fixture(scope="module")
def injector(config: TrainConfig) -> Injector:
    return build_injector(config)


class Planted(HeldOutItems):
    """The test set with a bright blob at PLACE."""

    def stamps(self, indices: np.ndarray) -> StampBatch:
        made = super().stamps(indices)
        made.images[:, :, *PLACE] += 0.2
        return made


def maps_of(items: OcclusionItems, finder: object) -> np.ndarray:
    stamps = items.stamps(np.arange(len(items)))
    logit = finder.logits(finder.maker(items.cutouts)(stamps))  # type: ignore[attr-defined]
    return occlusion_maps(logit, corners_px=items.corners, size_px=64, patch_px=8)


def occluded(injector: Injector, chosen: list[int], *, planted: bool = True) -> OcclusionItems:
    base = (Planted if planted else HeldOutItems)(injector, Purpose.TEST)
    return OcclusionItems(base, chosen=np.array(chosen), size_px=64, patch_px=8, stride_px=4, seed=0)


def test_a_finder_of_one_place_is_shown_to_look_there_and_nowhere_else(injector):
    maps = maps_of(occluded(injector, [3, 40]), PlaceFinder())
    for one in maps:
        y, x = np.unravel_index(int(one.argmax()), one.shape)
        assert PLACE[0].start - 2 <= y < PLACE[0].stop + 2 and PLACE[1].start - 2 <= x < PLACE[1].stop + 2
        near = np.zeros((64, 64), bool)
        near[PLACE[0].start - 8 : PLACE[0].stop + 8, PLACE[1].start - 8 : PLACE[1].stop + 8] = True
        assert np.abs(one[~near]).max() == 0  # patches that do not touch the place change nothing
    inside = np.zeros((2, 64, 64), bool)
    inside[:, *PLACE] = True
    assert (share_inside(maps, inside) > 5 * inside[0].mean()).all()


def test_every_pixel_is_covered_and_the_last_patch_ends_at_the_edge():
    for size, patch, stride in ((64, 8, 4), (65, 8, 5), (61, 9, 9)):
        cover = np.zeros((size, size), int)
        for y, x in corners(size, patch_px=patch, stride_px=stride):
            cover[y : y + patch, x : x + patch] += 1
            assert max(y, x) + patch <= size
        assert cover.min() >= 1
    with pytest.raises(ValueError, match="must not be above the stamp's 32 px"):
        corners(32, patch_px=40, stride_px=4)


def test_only_the_patch_is_changed_and_the_first_item_is_the_stamp_itself(injector):
    items = occluded(injector, [5], planted=False)
    whole = HeldOutItems(injector, Purpose.TEST).stamps(np.array([5])).images[0]
    made = items.stamps(np.array([0, 18, len(items) - 1])).images
    assert torch.equal(made[0], whole)
    for image, number in ((made[1], 18), (made[2], len(items) - 1)):
        y, x = items.corners[number - 1]
        same = image == whole
        assert not same[:, y : y + 8, x : x + 8].all()
        same[:, y : y + 8, x : x + 8] = True
        assert same.all()
    alone = items.stamps(np.array([18])).images[0]  # the same alone as in a batch
    assert torch.equal(alone, made[1])


def test_the_filling_is_the_galaxy_without_its_arc_under_sky_noise():
    axis = torch.arange(64) - 31.5
    radius = torch.hypot(axis, axis[:, None])
    galaxy = 3 * torch.exp(-radius / 4)[None, None].expand(1, 3, 64, 64)
    arc = ((radius > 7) & (radius < 9) & (axis > 0) & (axis[:, None] > 0)).float()
    sky = torch.from_numpy(np.random.default_rng(0).normal(0.01, 0.02, (1, 3, 64, 64))).float()
    image, good = galaxy + arc + sky, torch.ones(1, 3, 64, 64, dtype=torch.bool)
    filled = filling(image, good=good, noise=torch.zeros(1, 3, 64, 64))
    there = arc.bool()
    assert (filled[0, 0] - galaxy[0, 0])[there].abs().max() < 0.1  # the arc itself is 1
    noisy = filling(image, good=good, noise=torch.ones(1, 3, 64, 64)) - filled
    assert noisy.mean() == pytest.approx(0.02, rel=0.1)


def test_a_smooth_galaxy_gives_hardly_any_evidence(injector):
    """A finder of blue light in the whole frame has nothing to lose where a patch is put back to the galaxy itself."""
    planted = maps_of(occluded(injector, [3], planted=True), PlaceFinder())
    plain = maps_of(occluded(injector, [60], planted=False), PlaceFinder())
    assert np.abs(plain).max() < 0.2 * planted.max()


def test_the_footprint_holds_the_arc_s_light():
    arc = np.zeros((2, 16, 16))
    arc[0, 4:6, 4:9] = 1.0
    mask = arc_footprint(arc)
    assert mask[0].sum() == 9 and not mask[0][arc[0] == 0].any()  # 90% of ten equal pixels
    assert not mask[1].any()


def test_random_weights_give_another_map(config, injector):
    """Adebayo+2018: a map that does not change with the weights explains nothing of the finder."""
    maps = []
    for seed in (0, 1):
        module, generator = LensFinder(config), torch.Generator().manual_seed(seed)
        for weights in module.parameters():
            weights.data += 0.2 * torch.randn(weights.shape, generator=generator)
        maps.append(maps_of(occluded(injector, [3]), SingleFinder(module, tta=False))[0])
    assert abs(np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1]) < 0.9


def test_the_stage_shows_every_kind_and_makes_it_again_without_network(config, injector, tmp_path):
    def context(network: bool) -> EvaluationContext:
        return EvaluationContext(
            config=config,
            settings=config.evaluate,
            output_dir=tmp_path,
            num_workers=0,
            console=Console(file=io.StringIO()),
            finder_identity="planted",
            open_finder=PlaceFinder if network else None,
            open_supply=(lambda: injector) if network else None,
        )

    section = run(context(True))
    assert set(section.figures) <= {"found", "missed", "false"} and "false" in section.figures
    assert len(section.data["groups"]) == 3
    again = run(context(False))
    assert again.html == section.html and again.rows == section.rows and set(again.figures) == set(section.figures)
