"""Injections against injections: alike, or told apart by a planted difference; three lenses tell nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dhs.config.root import TrainConfig
from dhs.evaluate.realism.analysis import conclude
from dhs.evaluate.realism.features import FAMILIES, feature_names, fixed_features
from dhs.evaluate.realism.probe import Probed, probe
from dhs.evaluate.realism.stage import run
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.rng import Purpose
from dhs.sky.cutouts import CutoutSet
from dhs.train.finder import SingleFinder
from dhs.train.module import LensFinder
from tests.evaluate.anchors.test_stage import cutout_file, run_context, slacs

N = 60
Stamps = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Galaxies without arcs, arcs alone, good pixels."""


FEWER = ("evaluate.realism.permutations=99", "evaluate.realism.resamples=100")


@pytest.fixture(scope="module")
def config(small_config: Callable[..., TrainConfig]) -> TrainConfig:
    return small_config(*FEWER)


@pytest.fixture(scope="module")
def injector(config: TrainConfig) -> Injector:
    return build_injector(config)


@pytest.fixture(scope="module")
def stamps(injector: Injector) -> Stamps:
    """Visible training injections, each in a galaxy of its own, in random order."""
    batch = injector.stamps(np.arange(600), purpose=Purpose.TRAIN)
    rows = np.flatnonzero(batch.recipes.injected & (batch.arc_snr_sum.max(axis=1) > 20))
    _, first = np.unique(batch.recipes.target_id[rows], return_index=True)
    rows = np.random.default_rng(0).permutation(rows[first])[: 2 * N]
    assert isinstance(injector.cutouts, CutoutSet)
    galaxies = np.array(injector.cutouts.images[batch.recipes.row[rows]])
    return galaxies, batch.images[rows].numpy() - galaxies, batch.good[rows].numpy()


def probed(
    stamps: Stamps, arcs: np.ndarray | None = None, galaxies: np.ndarray | None = None, *, family: str = ""
) -> Probed:
    """Of the first half as the real lenses against the second, changed as given."""
    whole, light, good = stamps
    half = len(whole) // 2
    images = whole + light
    images[half:] = (whole if galaxies is None else galaxies)[half:] + (light if arcs is None else arcs)[half:]
    features, names = fixed_features(images, good=good)
    keep = np.array([not family or name.startswith(family) for name in names])
    return probe(
        features[:half][:, keep],
        features[half : 2 * half][:, keep],
        objects=np.arange(2 * half).astype(str),
        folds=5,
        regularisation=0.1,
        permutations=39,
        resamples=50,
        rng=np.random.default_rng(0),
    )


def test_injections_against_injections_are_alike(stamps):
    found = probed(stamps)
    assert found.chance_low <= found.auc <= found.chance_high
    assert found.p_value > 0.05 and found.low < 0.5 < found.high


def test_arcs_1111_times_too_faint_are_found(stamps):
    """Flux per pixel given for surface brightness: (0.03 / 0.9)^2 of the flux, as the seeds' INTERPOL."""
    found = probed(stamps, stamps[1] / 1111)
    assert found.p_value == pytest.approx(1 / 40) and found.low > 0.5
    assert probed(stamps, stamps[1] / 1111, family="arc").auc > 0.75


def test_one_colour_for_all_arcs_is_found(stamps):
    """g-r = -0.32, as the Gen5 arcs."""
    arcs = stamps[1].copy()
    arcs[:, 0] = arcs[:, 1] * 10 ** (0.4 * 0.32)
    arcs[:, 2] = arcs[:, 1] * 10**-0.3
    assert probed(stamps, arcs, family="arc").p_value == pytest.approx(1 / 40)


def test_another_noise_correlation_is_found_and_named(stamps):
    galaxies = (
        stamps[0] + gaussian_filter(np.random.default_rng(1).normal(0, 0.004, stamps[0].shape), (0, 0, 1.0, 1.0)) * 3
    )
    assert probed(stamps, galaxies=galaxies).auc > 0.9
    families = {name: probed(stamps, galaxies=galaxies, family=name).auc for name in FAMILIES}
    assert max(families, key=families.__getitem__) == "noise"


def test_lag_one_correlation_is_measured(stamps):
    rng = np.random.default_rng(2)
    white = rng.normal(0, 0.003, (8, 3, 64, 64))
    smooth = (white + np.roll(white, 1, axis=-1)) / np.sqrt(2)  # correlation 0.5 along x, none along y
    place = {name: i for i, name in enumerate(feature_names())}
    good = np.ones(white.shape, bool)
    along, across = (fixed_features(smooth, good=good)[0][:, place[f"noise:r lag {lag}"]] for lag in ("1,0", "0,1"))
    assert along.mean() == pytest.approx(0.5, abs=0.03) and across.mean() == pytest.approx(0.0, abs=0.03)


def test_bad_pixels_change_no_feature_beyond_their_number(stamps):
    galaxies, arcs, good = stamps
    images = (galaxies + arcs)[:4]
    masked = good[:4].copy()
    masked[:, :, 40:44, 8:12] = False
    wild = images.copy()
    wild[:, :, 40:44, 8:12] = 1e4
    one, other = fixed_features(images, good=masked)[0], fixed_features(wild, good=masked)[0]
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert np.isfinite(one).all()


def test_the_conclusion_needs_every_interval_below_and_corrects_for_two_probes():
    def one(p: float, high: float) -> Probed:
        return Probed(0.55, 0.4, high, p, 0.4, 0.6, 60)

    assert conclude({}, max_auc=0.7) == "cannot tell"
    assert conclude({"fixed": one(0.4, 0.65), "model": one(0.3, 0.66)}, max_auc=0.7) == "alike"
    assert conclude({"fixed": one(0.4, 0.65), "model": one(0.3, 0.72)}, max_auc=0.7) == "cannot tell"
    assert conclude({"fixed": one(0.04, 0.65), "model": one(0.3, 0.66)}, max_auc=0.7) == "alike"  # 0.04 of two
    assert conclude({"fixed": one(0.01, 0.65), "model": one(0.3, 0.66)}, max_auc=0.7) == "told apart"


def test_three_lenses_cannot_tell_and_it_says_how_many_could(config, injector, tmp_path):
    context = run_context(slacs(cutout_file(tmp_path / "a.npz", [1.0, 2.0, 3.0])), config, injector, tmp_path)
    section = run(context)
    (verdict,) = section.verdicts
    assert verdict.passed is None and "cannot tell" in verdict.estimate and "40 are needed" in verdict.provable
    assert section.data["n_real"] == 3 and not section.rows
    assert "It takes 33 to tell an AUC of 0.7 from 0.5" in section.html


def test_smooth_galaxies_are_told_from_injections_by_the_finder_s_features_too(small_config, tmp_path):
    """Exponential discs on white noise instead of lenses; the finder is not trained: random features tell them too."""
    split = ("sky.split.train=0.4", "sky.split.val=0.1", "sky.split.test=0.5", "inject.n_test_positives=60")
    gate = ("min_pairs=10", "caliper_sigma=50", "folds=3")
    config = small_config(*FEWER, *split, *(f"evaluate.realism.{one}" for one in gate))
    injector = build_injector(config)
    torch.manual_seed(0)
    finder = SingleFinder(LensFinder(config), tta=False)
    cutouts = cutout_file(tmp_path / "a.npz", [0.1] * 20)
    context = run_context(slacs(cutouts), config, injector, tmp_path, finder=finder)
    section = run(context)
    assert section.data["n_pairs"] >= 10
    assert section.data["conclusion"] == "told apart"
    assert set(section.data["probes"]) == {"fixed", "model", *FAMILIES}
    assert section.data["probes"]["fixed"]["auc"] > 0.9
    assert section.verdicts[0].passed is False
    again = run(run_context(slacs(), config, None, tmp_path))
    assert again.html == section.html and again.rows == section.rows
