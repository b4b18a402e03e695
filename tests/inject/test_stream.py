"""The stream: stateless, exact, independent of workers, ranks and batch composition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dhs.config.root import TrainConfig
from dhs.constants import BANDS, CLASSES
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.stream import InjectionStream
from dhs.rng import Purpose


@pytest.fixture(scope="module")
def config(small_config) -> TrainConfig:
    return small_config()


@pytest.fixture(scope="module")
def injector(config) -> Injector:
    return build_injector(config)


def as_dict(stamps: StampBatch) -> dict:
    return {"image": stamps.images, "index": torch.from_numpy(stamps.recipes.key[:, 3])}


def batches(injector: Injector, *, workers: int = 0, **settings) -> list[dict]:
    stream = InjectionStream(
        injector, purpose=Purpose.TRAIN, epoch=settings.pop("epoch", 0), batch_size=16, transform=as_dict, **settings
    )
    context = "fork" if workers else None
    return list(DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context=context))


def same(left: list[dict], right: list[dict]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a["image"], b["image"]) and torch.equal(a["index"], b["index"])
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_order_does_not_depend_on_the_number_of_workers(injector, workers):
    assert same(batches(injector), batches(injector, workers=workers))


def test_an_epoch_yields_every_sample_once_and_the_next_epoch_others(injector):
    first, second = batches(injector), batches(injector, epoch=1)
    assert torch.cat([b["index"] for b in first]).tolist() == list(range(96))
    assert not torch.equal(first[0]["image"], second[0]["image"])


def test_a_stream_that_starts_late_continues_exactly(injector):
    assert same(batches(injector)[4:], batches(injector, first_batch=4))


def test_two_ranks_share_every_global_batch(injector):
    whole = batches(injector)
    halves = [batches(injector, rank=rank, world_size=2) for rank in (0, 1)]
    joined = [torch.cat([a["image"], b["image"]]) for a, b in zip(*halves, strict=True)]
    assert all(torch.equal(a["image"], b) for a, b in zip(whole, joined, strict=True))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("n_stamps", [4, 11, 12, 13, 14, 24, 25, 27])
def test_a_fixed_set_has_every_sample_once_and_every_rank_one_in_each_batch(world_size, n_stamps):
    """A rank without a sample would have no loss; a sample on two ranks would count twice."""

    class Numbers:
        def n_stamps(self, purpose):
            return n_stamps

        def stamps(self, indices, **_):
            return indices.tolist()

    streams = [
        InjectionStream(
            Numbers(), purpose=Purpose.VAL, epoch=0, batch_size=12, rank=rank, world_size=world_size, transform=list
        )
        for rank in range(world_size)
    ]
    seen = [list(stream) for stream in streams]
    assert sorted(i for rank in seen for batch in rank for i in batch) == list(range(n_stamps))
    assert all(len(rank) == len(streams[0]) and all(rank) for rank in seen)


def test_the_length_is_that_of_the_epoch_wherever_it_starts(injector):
    for first in (0, 5):
        stream = InjectionStream(
            injector, purpose=Purpose.TRAIN, epoch=0, batch_size=16, transform=as_dict, first_batch=first
        )
        assert len(stream) == 6


def test_a_stamp_does_not_depend_on_the_rest_of_its_batch(injector):
    """Bit for bit: one recipe, one stamp, in training and alone."""
    together = injector.stamps(np.arange(40), purpose=Purpose.TRAIN)
    for index in np.flatnonzero(together.recipes.injected)[:8]:
        alone = injector.stamps(np.array([index]), purpose=Purpose.TRAIN)
        assert torch.equal(together.images[index], alone.images[0])
        assert together.recipes.theta_e_arcsec[index] == alone.recipes.theta_e_arcsec[0]
        assert together.magnification[index] == alone.magnification[0]


def test_purposes_seeds_and_epochs_give_other_stamps(injector, small_config):
    reference = injector.stamps(np.arange(8), purpose=Purpose.TRAIN).images
    assert not torch.equal(reference, injector.stamps(np.arange(8), purpose=Purpose.TRAIN, epoch=1).images)
    other = build_injector(small_config("seed=2"))
    assert not torch.equal(reference, other.stamps(np.arange(8), purpose=Purpose.TRAIN).images)


def test_positives_pass_the_acceptance_cuts_and_controls_carry_no_arc(injector, config):
    stamps = injector.stamps(np.arange(96), purpose=Purpose.TRAIN)
    injected, cuts = stamps.recipes.injected, config.inject.acceptance
    assert 30 < injected.sum() < 66
    accepted = stamps.accepted
    assert accepted[injected].mean() > 0.9
    assert not accepted[~injected].any()
    assert (stamps.magnification[accepted] >= cuts.min_magnification).all()
    assert (stamps.arc_snr_sum[accepted].max(axis=1) >= cuts.min_arc_snr_sum).all()
    background = np.array(injector.cutouts.images[stamps.recipes.row])
    assert np.array_equal(stamps.images.numpy()[~injected], background[~injected])
    assert (np.abs(stamps.images.numpy()[injected] - background[injected]).max(axis=(1, 2, 3)) > 0).all()
    assert np.isnan(stamps.magnification[~injected]).all()


def test_the_arc_that_was_added_has_the_flux_and_colours_of_its_recipe(injector):
    stamps = injector.stamps(np.arange(96), purpose=Purpose.TRAIN)
    background = np.array(injector.cutouts.images[stamps.recipes.row])
    measured = (stamps.images.numpy().astype(np.float64) - background).sum(axis=(2, 3))
    for i in np.flatnonzero(stamps.recipes.injected):
        recipe = stamps.recipes.take(np.array([i]))
        asked = 10 ** ((22.5 - recipe.source_mag[0]) / 2.5) * stamps.magnification[i]
        assert measured[i] == pytest.approx(asked, rel=0.02)  # kernel truncation and float32 subtraction
        asked_g_r = recipe.source_mag[0, 0] - recipe.source_mag[0, 1]
        assert -2.5 * np.log10(measured[i, 0] / measured[i, 1]) == pytest.approx(asked_g_r, abs=0.02)


def test_every_arc_has_its_own_colour(injector):
    stamps = injector.stamps(np.arange(96), purpose=Purpose.TRAIN)
    mags = stamps.recipes.source_mag[stamps.recipes.injected]
    g_r = mags[:, BANDS.index("g")] - mags[:, BANDS.index("r")]
    assert g_r.std() > 0.15


def test_unpaired_hosts_and_controls_are_different_galaxies(injector):
    for purpose in (Purpose.TRAIN, Purpose.VAL, Purpose.TEST):
        pool = injector.pool(purpose)
        assert len(np.intersect1d(pool.hosts, pool.negatives)) == 0
        assert set(injector.cutouts.kind[pool.hosts]) == {CLASSES.index("lrg")}
    train = injector.pool(Purpose.TRAIN)
    controls = (injector.cutouts.kind[train.negatives] == CLASSES.index("lrg")).sum()
    assert 0.35 < len(train.hosts) / (len(train.hosts) + controls) < 0.65, "a hash halves the LRGs"
    splits = [
        set(injector.pool(p).hosts) | set(injector.pool(p).negatives)
        for p in (Purpose.TRAIN, Purpose.VAL, Purpose.TEST)
    ]
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_paired_controls_are_the_hosts_themselves(small_config):
    pool = build_injector(small_config("inject=paired")).pool(Purpose.TRAIN)
    assert set(pool.hosts) <= set(pool.negatives)


def test_the_test_set_holds_every_negative_once_and_rejects_as_well(injector, config):
    n = injector.n_stamps(Purpose.TEST)
    stamps = injector.stamps(np.arange(n), purpose=Purpose.TEST)
    negatives = stamps.recipes.row[~stamps.recipes.injected]
    assert sorted(negatives) == sorted(injector.pool(Purpose.TEST).negatives)
    assert stamps.recipes.injected.sum() == config.inject.n_test_positives
    weak = stamps.magnification[stamps.recipes.injected] < config.inject.acceptance.min_magnification
    assert weak.any()


def test_a_sky_without_hosts_is_refused(small_config):
    with pytest.raises(ValueError, match=r"split '(train|val|test)' has \d+ galaxies to inject into"):
        build_injector(
            small_config("max_galaxies=20", "sky.split.train=0.98", "sky.split.val=0.01", "sky.split.test=0.01")
        )


def test_both_renderers_make_the_same_stamp(small_config):
    pytest.importorskip("lenstronomy")
    stamps = {}
    for name in ("fast", "lenstronomy"):
        injector = build_injector(
            small_config(f"renderer={name}", "inject.acceptance.max_tries=1", "psf.convention=optical")
        )
        stamps[name] = injector.stamps(np.arange(6), purpose=Purpose.TRAIN)
    background = np.array(injector.cutouts.images[stamps["fast"].recipes.row])
    ours, theirs = (stamps[name].images.numpy() - background for name in ("fast", "lenstronomy"))
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()  # float32 sums with the galaxy


def test_the_contact_sheet_task_writes_a_picture_and_its_recipes(injector, tmp_path: Path):
    from dhs.inject.sheet import first_batch_sheet, injection_sheet

    path = injection_sheet(injector, n_stamps=5, path=tmp_path / "sheet.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    rows = path.with_suffix(".csv").read_text().splitlines()
    assert len(rows) == 6
    assert "theta_e_arcsec" in rows[0]
    assert "source_r_mag" in rows[0]
    assert first_batch_sheet(injector, path=tmp_path / "first.png", batch_size=16).stat().st_size > 10_000
