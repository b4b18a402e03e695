"""What a training epoch is made of: ratio, classes, pairs; and that the default stream is what it always was."""

import functools
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare

from dhs.config.load import ConfigError
from dhs.constants import CLASSES
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.inject.mix import INJECTED, NEGATIVE, ORIGINS, PAIRED_CONTROL, Drawable, drawable
from dhs.inject.stamp_batch import StampBatch
from dhs.rng import Purpose
from dhs.train.class_check import require_weighted_classes

MANY = np.arange(3000)


@pytest.fixture(scope="module")
def build(small_config) -> Callable[..., Injector]:
    """``build("inject.negatives.ratio=10", ...)``: the injector of the small mock sky, which is loaded once."""
    sky = build_injector(small_config()).cutouts

    @functools.cache
    def make(*overrides: str) -> Injector:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dhs.inject.build.load_sky", lambda *_, **__: sky)
            return build_injector(small_config(*overrides))

    return make


def digest(injector: Injector, purpose: Purpose, *, epoch: int, n: int) -> str:
    rows, labels = injector.assignments(np.arange(n), purpose=purpose, epoch=epoch)
    return hashlib.blake2b(rows.astype("<i8").tobytes() + labels.astype("<i8").tobytes(), digest_size=8).hexdigest()


def kinds_of(injector: Injector, *, origin: int) -> np.ndarray:
    rows, origins = injector.origins(MANY, purpose=Purpose.TRAIN)
    return injector.cutouts.kind[rows[origins == origin]]


def test_the_default_stream_is_that_of_before_there_were_any_of_these_keys(build):
    """Galaxies and labels as the code before `inject.negatives` drew them (commit 8278c20), sample by sample."""
    injector = build()
    assert digest(injector, Purpose.TRAIN, epoch=0, n=512) == "e08c380e9a501028"
    assert digest(injector, Purpose.TRAIN, epoch=3, n=512) == "788afdf3912fc16b"
    assert digest(injector, Purpose.VAL, epoch=0, n=injector.n_stamps(Purpose.VAL)) == "daa63b29c7f6c898"
    assert digest(injector, Purpose.TEST, epoch=0, n=injector.n_stamps(Purpose.TEST)) == "f02d0b954c5a65fd"


@pytest.mark.parametrize("ratio", [1, 4, 100])
def test_a_ratio_is_the_number_of_negatives_a_positive(build, ratio):
    injector = build(f"inject.negatives.ratio={ratio}")
    _, labels = injector.assignments(MANY, purpose=Purpose.TRAIN)
    assert binomtest(int(labels.sum()), len(MANY), 1 / (1 + ratio)).pvalue > 1e-4
    assert injector.n_stamps(Purpose.TRAIN) == 96, "an epoch stays as long as it was"


def test_a_ratio_of_one_is_the_default_and_a_fraction_says_the_same_as_a_ratio(build):
    reference = digest(build(), Purpose.TRAIN, epoch=0, n=512)
    assert digest(build("inject.negatives.ratio=1"), Purpose.TRAIN, epoch=0, n=512) == reference
    fraction = build("inject.positive_fraction=0.25")
    assert digest(fraction, Purpose.TRAIN, epoch=0, n=512) == digest(
        build("inject.negatives.ratio=3"), Purpose.TRAIN, epoch=0, n=512
    )


def test_the_arcs_of_a_run_with_more_negatives_are_among_those_of_one_with_fewer(build):
    one, ten = build(), build("inject.negatives.ratio=10")
    few = np.array(ten.injected_indices(np.arange(200), purpose=Purpose.TRAIN))
    assert set(few) < set(one.injected_indices(np.arange(200), purpose=Purpose.TRAIN))
    left, right = (each.stamps(few, purpose=Purpose.TRAIN) for each in (one, ten))
    assert torch.equal(left.images, right.images)


def test_class_weights_are_the_mix_of_the_negatives_and_change_no_positive(build):
    weights = {"lrg": 1.0, "spiral": 2.0, "ring": 1.0}
    text = ",".join(f"{name}:{weight}" for name, weight in weights.items())
    injector = build(f"inject.negatives.class_weights={{{text}}}")
    counts = np.bincount(kinds_of(injector, origin=NEGATIVE), minlength=len(CLASSES))
    wanted = np.array([weights.get(name, 0.0) for name in CLASSES])
    assert (counts[wanted == 0] == 0).all()
    assert chisquare(counts[wanted > 0], (wanted / wanted.sum() * counts.sum())[wanted > 0]).pvalue > 1e-4
    rows, origins = injector.origins(MANY, purpose=Purpose.TRAIN)
    plain, before = build().origins(MANY, purpose=Purpose.TRAIN)
    assert np.array_equal(origins, before)
    assert np.array_equal(rows[origins == INJECTED], plain[before == INJECTED])
    expected = injector.mix.class_shares(injector.cutouts.kind)
    assert expected == pytest.approx({name: weights.get(name, 0.0) / 4 for name in CLASSES})


def test_null_asks_for_the_mix_of_the_sky(small_config):
    for text in ("inject.negatives.class_weights=null", "inject.negatives.class_weights={}"):
        assert small_config(text).inject == small_config().inject


def test_every_galaxy_of_a_class_is_drawn_as_often_as_any_other():
    rows, kinds = np.array([3, 5, 7, 11, 13]), np.array([0, 2, 2, 2, 0])
    pool = drawable(rows, kinds, weights={"lrg": 1.0, "spiral": 3.0}, key="k")
    drawn = np.array([pool.pick(u) for u in (np.arange(8000) + 0.5) / 8000])
    assert {row: int((drawn == row).sum()) for row in rows} == {3: 1000, 13: 1000, 5: 2000, 7: 2000, 11: 2000}
    assert pool.pick(np.nextafter(1.0, 0.0)) in rows
    assert Drawable(rows).pick(np.nextafter(1.0, 0.0)) == 13


def test_the_fixed_sets_do_not_know_of_the_mix(build):
    plain = build()
    other = build("inject.negatives.ratio=20", "inject.negatives.class_weights={ring:1}")
    for purpose in (Purpose.VAL, Purpose.TEST):
        n = plain.n_stamps(purpose)
        assert digest(plain, purpose, epoch=0, n=n) == digest(other, purpose, epoch=0, n=n)
        assert n == other.n_stamps(purpose)


def test_a_sample_does_not_depend_on_the_others_whatever_the_mix(build):
    injector = build("inject=paired", "inject.negatives.ratio=2", "inject.negatives.class_weights={lrg:1,edge_on:1}")
    rows, origins = injector.origins(MANY[:400], purpose=Purpose.TRAIN, epoch=2)
    for index in (0, 1, 6, 7, 311):
        row, origin = injector.origins(np.array([index]), purpose=Purpose.TRAIN, epoch=2)
        assert (row[0], origin[0]) == (rows[index], origins[index])


@pytest.mark.parametrize("ratio", [1, 3])
def test_paired_controls_follow_their_positives_and_are_the_same_galaxy_without_its_arc(build, ratio):
    injector = build("inject=paired", f"inject.negatives.ratio={ratio}")
    rows, origins = injector.origins(MANY, purpose=Purpose.TRAIN)
    even, odd = origins[0::2], origins[1::2]
    assert np.array_equal(even == INJECTED, odd == PAIRED_CONTROL)
    assert not (odd == INJECTED).any()
    assert np.array_equal(rows[0::2][even == INJECTED], rows[1::2][even == INJECTED])
    assert binomtest(int((even == INJECTED).sum()), len(even), 2 / (1 + ratio)).pvalue > 1e-4
    assert (np.bincount(origins, minlength=len(ORIGINS))[NEGATIVE] > 0) == (ratio > 1)
    stamps = injector.stamps(np.arange(12), purpose=Purpose.TRAIN)
    sky = torch.from_numpy(np.array(injector.cutouts.images[stamps.recipes.row]))
    assert torch.equal(stamps.images[~stamps.label], sky[~stamps.label])
    assert not torch.equal(stamps.images[0::2], stamps.images[1::2])


def test_a_stamp_says_what_it_is(build):
    stamps = build("inject=paired").stamps(np.arange(8), purpose=Purpose.TRAIN)
    assert [ORIGINS[code] for code in stamps.origin] == ["injected", "paired_control"] * 4
    assert isinstance(stamps.take(np.array([1, 2])), StampBatch)
    assert stamps.take(np.array([1, 2])).label.tolist() == [False, True]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["inject.negatives.ratio=0.5"], r"inject.negatives.ratio = 0.5: must be greater than or equal to 1"),
        (["inject.negatives.ratio=101"], r"inject.negatives.ratio = 101: must be less than or equal to 100"),
        (
            ["inject.negatives.ratio=3", "inject.positive_fraction=0.5"],
            r"inject.negatives.ratio = 3: and inject.positive_fraction = 0.5: both say .*; give one",
        ),
        (["inject.negatives.class_weights={ring:-1}"], r"inject.negatives.class_weights.ring = -1: must be greater"),
        (
            ["inject.negatives.class_weights={ring:0,lrg:0}"],
            r"inject.negatives.class_weights.lrg = 0: .*sum to nothing",
        ),
        (["inject.negatives.class_weights.rings=1"], r"inject.negatives.class_weights.rings: unknown key .*ring\?"),
        (["inject.negatives.hard.class_weights.ring=1"], r"hard.class_weights: there is no list that they could weigh"),
        (["inject=paired", "inject.positive_fraction=0.6"], r"inject.positive_fraction = 0.6: controls=paired gives"),
        (["inject=paired", "inject.negatives.class_weights={ring:1}"], r"ratio = 1: controls=paired then has"),
        (["inject=paired", "trainer.batch_size=15"], r"trainer.batch_size = 15: must be even"),
        (["inject.negatives.hard.path=nowhere.parquet"], r"inject.negatives.hard.path = nowhere.parquet: no such file"),
        (["inject.real_positives.path=nowhere"], r"inject.real_positives.path = nowhere: no such file or store"),
        (["inject.negatives.hard.fraction=0"], r"inject.negatives.hard.fraction = 0: must be greater than 0"),
        (["inject.real_positives.fraction=1.5"], r"inject.real_positives.fraction = 1.5: must be less"),
    ],
)
def test_what_cannot_be_is_one_line(small_config, overrides, line):
    with pytest.raises(ConfigError, match=line) as error:
        small_config(*overrides)
    assert len(str(error.value).splitlines()) == 1


def test_a_weight_for_a_class_without_a_galaxy_is_one_line(build, small_config, monkeypatch):
    sky = build().cutouts
    without = sky.take(np.flatnonzero(sky.kind != CLASSES.index("ring")))
    monkeypatch.setattr("dhs.inject.build.load_sky", lambda *_, **__: without)
    with pytest.raises(ValueError, match=r"inject\.negatives\.class_weights\.ring = 2: there is no ring \(\d+ lrg.*0$"):
        build_injector(small_config("inject.negatives.class_weights={lrg:1,ring:2}"))


def test_a_loss_weight_for_a_class_that_the_mix_leaves_out_is_refused(build, small_config):
    overrides = ("inject.negatives.class_weights={lrg:1}", "loss.class_weights.ring=3")
    with pytest.raises(ValueError, match=r"loss\.class_weights\.ring = 3: the training sky has no ring"):
        require_weighted_classes(build(*overrides), loss=small_config(*overrides).loss)
