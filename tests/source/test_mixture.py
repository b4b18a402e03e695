"""Mixtures: weights, indices, channels, one grid; and the choice of a source for a task."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from dhs.config.cli import compose_job
from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.config.source import ClumpySource, MixtureComponent, MixtureSource, SersicSource
from dhs.source.base import StackedSource, Templates, choose_uniformly
from dhs.source.build import build_source
from dhs.source.mixture import MixtureSourceBank
from dhs.source.task_choice import kind_and_index, source_index_of_task

GOLDEN = [7, 1, 10, 7, 12, 12]
"""blake2b of "brick-0" ... with salt "gen6" is 0.319, 0.037, 0.663, 0.243, 0.780, 0.773 of 2**64."""


class ThreeBands:
    """Five templates with an image per band: source i is one pixel at column i, in row 0, 1, 2 for g, r, z."""

    name, n_sources, n_channels, stamp_size_px, pixel_scale_arcsec = "stamps", 5, 3, 96, 0.03

    def choose(self, u):
        return choose_uniformly(u, n_sources=self.n_sources)

    def templates(self, indices):
        images = torch.zeros(5, 3, 96, 96)
        for i in range(5):
            images[i, range(3), range(3), i] = 1
        return Templates(images, torch.from_numpy(indices), torch.full((len(indices),), 2.0))

    def half_light_radius_arcsec(self, indices):
        return np.full(len(indices), 0.5, np.float32)


def sersic(**about):
    return SersicSource(name="sersic", seed=1, n_sources=7, **about)


def clumpy(**about):
    return ClumpySource(name="clumpy", seed=2, n_sources=4, **about)


@pytest.fixture(scope="module")
def mixture():
    """Global indices 0-6 sersic, 7-10 clumpy, 11-15 three bands; weights 0.2, 0.5, 0.3."""
    parts = {"sersic": (2.0, build_source(sersic())), "clumpy": (5.0, build_source(clumpy()))}
    return MixtureSourceBank({**parts, "mine": (3.0, ThreeBands())})


def test_components_come_by_weight_and_sources_alike_within_them(mixture):
    n = 40_000
    chosen = mixture.choose((np.arange(n) + 0.5) / n)
    counts = np.bincount(chosen, minlength=16)
    expected = np.repeat([0.2 / 7, 0.5 / 4, 0.3 / 5], [7, 4, 5]) * n
    assert np.abs(counts - expected).max() <= 2
    random = np.bincount(mixture.choose(np.random.default_rng(0).random(n)), minlength=16)
    assert chisquare(random, expected).pvalue > 1e-3


def test_the_ends_of_the_unit_interval_and_of_components_are_inside(mixture):
    u = np.array([0.0, np.nextafter(0.2, 0), 0.2, np.nextafter(0.7, 0), 0.7, np.nextafter(1.0, 0), 1.0])
    assert list(mixture.choose(u)) == [0, 6, 7, 10, 11, 15, 15]


def test_a_global_index_is_its_component_s_own_template(mixture):
    indices = np.array([12, 3, 8, 0, 15, 10])
    templates = mixture.templates(indices)
    images = templates.each()
    assert images.shape == (6, 3, 96, 96)
    kinds, own = kind_and_index(mixture, indices)
    assert list(kinds) == ["mine", "sersic", "clumpy", "sersic", "mine", "clumpy"]
    assert list(own) == [1, 3, 1, 0, 4, 3]
    parts = dict(zip(mixture.labels, mixture.sources, strict=True))
    for image, radius, kind, index in zip(images, templates.support_radius_arcsec, kinds, own, strict=True):
        alone = parts[kind].templates(np.array([index]))
        assert torch.equal(image, alone.each()[0].expand(3, -1, -1))
        assert radius == alone.support_radius_arcsec[0]
    hlr = mixture.half_light_radius_arcsec(indices)
    assert hlr[0] == 0.5 and hlr[1] == parts["sersic"].half_light_radius_arcsec(np.array([3]))[0]


def test_one_component_s_batch_is_its_own_stack_and_no_copy():
    parts = {"sersic": (1.0, build_source(sersic())), "clumpy": (1.0, build_source(clumpy()))}
    grey = MixtureSourceBank(parts)
    templates = grey.templates(np.array([2, 5]))
    assert templates.images.data_ptr() == parts["sersic"][1].stack().images.data_ptr()
    assert list(templates.row) == [2, 5]


def test_templates_are_contiguous_and_no_more_than_needed_where_grey_serves_bands(mixture):
    templates = mixture.templates(np.array([2, 5, 5]))
    assert templates.images.is_contiguous() and templates.images.shape == (3, 3, 96, 96)
    assert torch.equal(templates.each()[1], mixture.stack().images[5])


def test_the_whole_stack_is_in_the_order_of_the_indices(mixture):
    assert isinstance(mixture, StackedSource)
    stack = mixture.stack()
    assert torch.equal(stack.images, mixture.templates(np.arange(16)).each())
    assert torch.equal(stack.support_radius_arcsec, mixture.templates(np.arange(16)).support_radius_arcsec)


def test_grey_components_stay_one_channel():
    source = build_source(
        MixtureSource(
            name="mixture",
            components={"a": MixtureComponent(source=sersic()), "b": MixtureComponent(weight=3, source=clumpy())},
        )
    )
    assert source.n_channels == 1 and source.n_sources == 11
    assert source.templates(np.array([0, 9])).each().shape == (2, 1, 96, 96)
    np.testing.assert_allclose(source.weights, [0.25, 0.75])


def test_an_index_outside_is_an_index_error(mixture):
    with pytest.raises(IndexError, match=r"source mixture: index 16 is outside \[0, 16\)"):
        mixture.templates(np.array([0, 16]))


def test_a_pickled_mixture_gives_the_same_templates(mixture):
    frozen = pickle.dumps(mixture)
    indices = np.array([1, 8, 13])
    assert torch.equal(pickle.loads(frozen).templates(indices).each(), mixture.templates(indices).each())


def test_a_pickled_parametric_source_leaves_its_pixels_behind():
    source = build_source(SersicSource(name="sersic", seed=1, n_sources=60))
    frozen = pickle.dumps(source)
    assert len(frozen) < 0.1 * source.stack().images.nbytes
    assert torch.equal(pickle.loads(frozen).templates(np.arange(9)).each(), source.templates(np.arange(9)).each())


def test_components_on_different_grids_are_refused_naming_both():
    with pytest.raises(ValueError, match=r'real has 96 px of 0.03", soft has 96 px of 0.04"; one grid is needed'):
        MixtureSourceBank(
            {
                "real": (1.0, build_source(sersic())),
                "soft": (1.0, build_source(sersic(pixel_scale_arcsec=0.04))),
            }
        )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.components.sersic.weight=0", r"source.components.sersic.weight = 0: must be greater than 0"),
        ("source.components.sersic.weight=-1", "must be greater than 0"),
        ("source.components.clumpy.weight=inf", "must be a finite number"),
        ("~source.components", "source.components: must be given"),
        (
            "source.components.clumpy.source.stamp_size_px=64",
            'source.components: different stamps, sersic 96 px of 0.03" and clumpy 64 px',
        ),
        (
            "+source.components.sersic.source.n_source=1",
            r"components.sersic.source.n_source = 1: unknown key \(did you mean n_sources\?\)",
        ),
        ("+source.components.sersic.wieght=1", r"sersic.wieght = 1: unknown key \(did you mean weight\?\)"),
    ],
)
def test_a_wrong_mixture_is_one_line(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        compose_job("train", ["source=mixture", override], schema=TrainConfig)
    assert "\n" not in str(caught.value)


def test_the_mixture_of_the_configuration_needs_no_download():
    config = compose_job("train", ["source=mixture", "source.components.sersic.weight=3"], schema=TrainConfig)
    assert {label: part.weight for label, part in config.source.components.items()} == {"sersic": 3.0, "clumpy": 0.5}


def test_a_missing_bank_of_a_component_is_named_by_its_key():
    overrides = ["source=hybrid", "source.components.cosmos.source.bank=absent.h5"]
    with pytest.raises(ConfigError, match=r"source.components.cosmos.source.bank = absent.h5: no such file; build it"):
        compose_job("train", overrides, schema=TrainConfig)


def test_the_source_of_a_task_depends_on_its_id_and_the_salt_alone(mixture):
    tasks = [f"brick-{i}" for i in range(300)]
    chosen = np.array([source_index_of_task(task, salt="gen6", source=mixture) for task in tasks])
    again = [source_index_of_task(task, salt="gen6", source=mixture) for task in tasks[::-1]][::-1]
    assert list(chosen) == again
    assert list(chosen[:6]) == GOLDEN
    other = np.array([source_index_of_task(task, salt="gen7", source=mixture) for task in tasks])
    assert (chosen == other).mean() < 0.2
    kinds = kind_and_index(mixture, chosen)[0]
    assert np.isclose((kinds == "clumpy").mean(), 0.5, atol=0.1)


def test_a_plain_source_is_its_own_kind():
    kinds, own = kind_and_index(build_source(sersic()), np.array([4, 2]))
    assert list(kinds) == ["sersic", "sersic"] and list(own) == [4, 2]
