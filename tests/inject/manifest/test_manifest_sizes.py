"""R_e of a grid chooses among the sources there are, many for each size, and says what was used."""

import numpy as np
import pytest
from scipy import stats

from dhs.config.source import ClumpySource, SersicSource
from dhs.inject.manifest.sizes import SourceSizes, all_sizes, source_weights
from dhs.source.clumpy import ClumpySourceBank
from dhs.source.mixture import MixtureSourceBank
from dhs.source.sersic import SersicSourceBank
from tests.inject.manifest.conftest import columns_of


@pytest.fixture(scope="module")
def sersic():
    return SersicSourceBank(
        SersicSource(name="sersic", seed=1, n_sources=2000, half_light_radius_arcsec={"low": 0.05, "high": 0.5})
    )


def test_sources_of_the_size_asked_for_are_chosen_alike_often(sersic):
    sizes = SourceSizes(sersic, tolerance=0.1, n_neighbours=32)
    u = np.random.default_rng(1).random(20_000)
    chosen = sizes.choose(u, asked_arcsec=np.full(20_000, 0.2))
    used = sersic.half_light_radius_arcsec(chosen)
    assert (np.abs(used / 0.2 - 1) <= 0.1).all()
    everyone = np.flatnonzero(np.abs(all_sizes(sersic) / np.float32(0.2) - 1) <= 0.1)
    np.testing.assert_array_equal(np.unique(chosen), everyone)
    assert len(everyone) > 50
    assert stats.chisquare(np.bincount(chosen)[everyone]).pvalue > 1e-3


def test_where_there_are_none_the_nearest_serve_and_the_report_says_so(sersic):
    sizes = SourceSizes(sersic, tolerance=0.1, n_neighbours=16)
    chosen = np.unique(sizes.choose(np.linspace(0, 0.999, 500), asked_arcsec=np.full(500, 0.01)))
    np.testing.assert_array_equal(chosen, np.sort(np.argsort(all_sizes(sersic), kind="stable")[:16]))
    report = sizes.report(0.01)
    assert report["share_within_tolerance"] == 0
    assert report["n_sources"] == 16
    assert report["median_arcsec"] > 0.04
    assert sizes.report(0.2)["share_within_tolerance"] == 1


def test_a_mixture_keeps_its_weights(sersic):
    clumpy = ClumpySourceBank(ClumpySource(name="clumpy", seed=1, n_sources=500))
    mixture = MixtureSourceBank({"a": (3.0, sersic), "b": (1.0, clumpy)})
    weights = source_weights(mixture)
    assert weights.sum() == pytest.approx(1)
    assert weights[:2000].sum() == pytest.approx(0.75)
    u = np.random.default_rng(2).random(40_000)
    np.testing.assert_allclose(
        np.bincount(mixture.choose(u) >= 2000) / 40_000, [weights[:2000].sum(), weights[2000:].sum()], atol=0.01
    )
    sizes = SourceSizes(mixture, tolerance=0.2, n_neighbours=1)
    alike = sizes.alike(0.3)
    chosen = sizes.choose(u, asked_arcsec=np.full(len(u), 0.3))
    share = weights[alike[alike >= 2000]].sum() / weights[alike].sum()
    assert (chosen >= 2000).mean() == pytest.approx(share, abs=0.01)


def test_a_manifest_says_what_was_asked_and_what_was_used(make):
    table = columns_of(make("task/design=grid_sota", "source.n_sources=2000"))
    injected = table["injected"]
    asked, used = table["asked_source_hlr_arcsec"][injected], table["source_hlr_arcsec"][injected]
    assert set(asked) == {0.06, 0.1, 0.15, 0.2}
    assert (np.abs(used / asked - 1) < 0.1001).all()
    assert not any("source_hlr_arcsec" in warning for warning in make.summary["warnings"])
    assert np.isnan(table["source_hlr_arcsec"][~injected]).all()
    default = columns_of(make("task/design=grid_sota", "source.half_light_radius_arcsec.low=0.12"))
    smallest = default["source_hlr_arcsec"][default["asked_source_hlr_arcsec"] == 0.06]
    assert smallest.min() > 0.1
    assert any("source_hlr_arcsec = 0.06: this source has no such" in told for told in make.summary["warnings"])
