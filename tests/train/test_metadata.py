"""Metadata: scaled, changed with the stamp, and never a way to read the label."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from dhs.config.training import AugmentConfig, ModelConfig
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.rng import Purpose
from dhs.train.batch import BatchMaker
from dhs.train.data import InjectionData
from dhs.train.metadata import metadata_table, require_metadata_keeps_the_secret, separation


@pytest.fixture(scope="module")
def injector(small_config) -> Injector:
    return build_injector(small_config())


def test_metadata_is_of_order_one_and_an_unknown_column_is_refused(injector):
    table = metadata_table(injector.cutouts, columns=("psfsize_r", "psfdepth_z"))
    assert abs(table).max() < 10
    broken = injector.cutouts.take(np.arange(30))
    broken.psf_depth_mag[3] = float("nan")
    with pytest.raises(ValueError, match="psfdepth_z is not known for every galaxy"):
        metadata_table(broken, columns=("psfsize_r", "psfdepth_z"))


def test_every_column_of_a_recipe_and_of_a_stamp_is_refused_as_a_leak(injector):
    """Whatever a table of stamps holds cannot be given to the network, but for what the survey knew before."""
    stamps = injector.stamps(np.arange(4), purpose=Purpose.TRAIN, measure=True)
    of_the_exposure = {f"psf_fwhm_{band}_arcsec" for band in "grz"} | {f"psf_{b}_e{i}" for b in "grz" for i in (1, 2)}
    assert of_the_exposure <= set(stamps.columns())
    columns = set(stamps.columns()) - of_the_exposure
    assert len(columns) > 30
    for column in (*columns, "label", "kind", "cosmos_index", "lensed_hlr_arcsec"):
        with pytest.raises(ValidationError, match=rf"leaks: {column} tells the label; allowed: psfsize_g, "):
            ModelConfig(backbone="test_resnet", metadata=(column,))
    for column in (*of_the_exposure, "ebv"):
        with pytest.raises(ValidationError, match=f"no column {column}; allowed"):
            ModelConfig(backbone="test_resnet", metadata=(column,))


def test_the_separation_is_scikit_learn_s_auc_in_either_direction():
    rng = np.random.default_rng(0)
    labels = rng.random(600) < 0.4
    values = rng.normal(size=600) + 0.8 * labels
    one_each = np.arange(600)
    result = separation(values, labels, clusters=one_each)
    assert result.auc == pytest.approx(roc_auc_score(labels, values))
    mirrored = separation(-values, labels, clusters=one_each)
    assert (mirrored.auc, mirrored.low, mirrored.high) == pytest.approx((result.auc, result.low, result.high))
    assert result.low < result.auc < result.high


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    truth = 0.7139  # of two normal distributions 0.8 sigma apart: Phi(0.8 / sqrt 2)
    covered = 0
    for _ in range(300):
        labels = np.arange(200) < 80
        result = separation(rng.normal(size=200) + 0.8 * labels, labels, clusters=np.arange(200))
        covered += result.low <= truth <= result.high
    assert 0.91 <= covered / 300 <= 0.985


def test_repeated_galaxies_do_not_narrow_the_interval():
    rng = np.random.default_rng(2)
    labels = np.arange(60) < 30
    values = rng.normal(size=60) + labels
    once = separation(values, labels, clusters=np.arange(60))
    often = separation(np.tile(values, 50), np.tile(labels, 50), clusters=np.tile(np.arange(60), 50))
    assert (often.auc, often.low, often.high) == pytest.approx((once.auc, once.low, once.high))


def leaking(injector: Injector) -> np.ndarray:
    """Seeing of every galaxy, better by half a typical spread for those that get arcs."""
    seeing = np.array(injector.cutouts.psf_fwhm_arcsec)
    seeing[injector.pool(Purpose.TRAIN).hosts] -= 0.3
    return seeing


def test_a_column_that_separates_hosts_from_negatives_is_refused(injector, small_config, monkeypatch):
    columns = ("psfsize_r", "psfdepth_r")
    found = require_metadata_keeps_the_secret(injector, columns=columns, max_auc=0.6)
    assert all(result.low < 0.6 for result in found.values())
    object.__setattr__(injector.cutouts, "psf_fwhm_arcsec", leaking(injector))
    with pytest.raises(
        ValueError, match=r"model\.metadata = psfsize_r: leaks: alone it tells .* AUC of 0\.[89]"
    ) as caught:
        require_metadata_keeps_the_secret(injector, columns=columns, max_auc=0.6)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError, match="leaks"):
        InjectionData(injector, config=small_config())
    assert require_metadata_keeps_the_secret(injector, columns=(), max_auc=0.6) == {}
    assert require_metadata_keeps_the_secret(injector, columns=("psfdepth_r",), max_auc=0.6)


def test_a_jittered_stamp_tells_the_network_its_new_seeing(small_config):
    injector = build_injector(small_config())
    stamps = injector.stamps(np.arange(16), purpose=Purpose.TRAIN)
    config = small_config()

    def metadata(augment: AugmentConfig | None) -> torch.Tensor:
        columns = ("psfsize_r", "psfdepth_r")
        maker = BatchMaker(
            injector.cutouts, preprocess_config=config.preprocess, augment_config=augment, metadata=columns
        )
        return maker(stamps)["metadata"]

    plain = metadata(None)
    assert torch.equal(plain, metadata(AugmentConfig()))
    blurred = metadata(AugmentConfig(max_psf_blur_arcsec=1.0))
    assert (blurred[:, 0] > plain[:, 0]).all()  # wider
    assert (blurred[:, 1] < plain[:, 1]).all()  # and so shallower for point sources
    shallow = metadata(AugmentConfig(max_depth_loss_mag=0.5))
    torch.testing.assert_close(shallow[:, 0], plain[:, 0])
    assert (shallow[:, 1] < plain[:, 1]).all()
    assert torch.equal(metadata(AugmentConfig(core_dropout_probability=0.5)), plain)


def test_a_batch_says_the_class_of_each_galaxy(small_config, injector):
    config = small_config()
    maker = BatchMaker(injector.cutouts, preprocess_config=config.preprocess, augment_config=None, metadata=())
    stamps = injector.stamps(np.arange(40), purpose=Purpose.TRAIN)
    batch = maker(stamps)
    assert batch["kind"].tolist() == [int(injector.cutouts.kind[row]) for row in stamps.recipes.row]
    assert len(set(batch["kind"].tolist())) > 1
    assert batch["metadata"].shape == (40, 0)
