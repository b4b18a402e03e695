"""Magnitudes: the bank's own colours, the seeds' SED at the lens prior's redshift, what is refused."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from dhs.config.base import Range
from dhs.config.cli import compose_job
from dhs.config.colour import BankColour, PopulationColour, SeedSedColour
from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.inject.build import build_injector
from dhs.inject.colour import draw_magnitudes, source_magnitudes
from dhs.rng import Purpose, keyed_rng

OWN = np.array([[25.0, 24.4, 24.3], [23.9, 23.9, 23.1]])


def bank(**columns: list[float]) -> SimpleNamespace:
    return SimpleNamespace(name="cosmos", meta={name: np.array(values) for name, values in columns.items()})


def draw(colour, *, own=None, z_source=np.nan, n: int = 400) -> np.ndarray:
    rngs = [keyed_rng(2, Purpose.PHOTOMETRY, 0, i) for i in range(n)]
    own_mag = None if own is None else np.resize(own, (n, 3))
    return draw_magnitudes(rngs, colour=colour, n_draws=2, z_source=np.full(n, z_source), own_mag=own_mag)


def test_bank_colours_stay_with_their_source_and_brightness_follows_the_counts():
    mags = draw(BankColour(name="bank"), own=OWN)
    assert mags[..., 1].min() >= 22.5
    assert mags[..., 1].max() <= 26
    assert mags[..., 1].std() > 0.5
    own = np.resize(OWN, (400, 3))[:, None]
    np.testing.assert_allclose(mags[..., 0] - mags[..., 1], np.broadcast_to(own[..., 0] - own[..., 1], (400, 2)))
    np.testing.assert_allclose(mags[..., 1] - mags[..., 2], np.broadcast_to(own[..., 1] - own[..., 2], (400, 2)))


def test_bank_brightness_is_the_sources_own():
    mags = draw(BankColour(name="bank", brightness="bank"), own=OWN)
    np.testing.assert_array_equal(mags[:, 1], np.resize(OWN, (400, 3)))


def test_the_injector_gives_each_source_its_own_colour(small_config, monkeypatch):
    """Column by index: sources with even index are blue, the others red; the recipes keep them apart."""
    from dhs.source.resident import ResidentSource

    n = 20_000
    red = np.arange(n) % 2
    columns = {"mag_g": 24.0 + red, "mag_r": np.full(n, 24.0), "mag_z": np.full(n, 23.5)}
    monkeypatch.setattr(ResidentSource, "meta", columns, raising=False)
    config = small_config("colour=bank")
    assert config.source.n_sources <= n
    recipes = build_injector(config).stamps(np.arange(48), purpose=Purpose.TRAIN).recipes
    some = recipes.take(np.flatnonzero(recipes.injected))
    np.testing.assert_allclose(some.source_mag[:, 0] - some.source_mag[:, 1], some.source_index % 2, atol=1e-9)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (bank(), {}, "source 'cosmos' has no column mag_g, mag_r, mag_z; choose colour=population"),
        (bank(mag_g=[24.0], mag_r=[24.0]), {}, "no column mag_z"),
        (bank(mag_g=[24.0, np.nan], mag_r=[24.0, 24.0], mag_z=[24.0, 24.0]), {}, "1 of 2 sources have no finite"),
        (
            bank(mag_g=[24.0], mag_r=[19.0], mag_z=[18.5]),
            {"brightness": "bank"},
            "1 of 1 sources have r .19.0 to 19.0.",
        ),
    ],
)
def test_a_bank_without_usable_magnitudes_is_refused_in_one_line(source, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        source_magnitudes(source, colour=BankColour(name="bank", **settings))
    assert "\n" not in str(caught.value)


def test_other_colours_need_no_bank():
    assert source_magnitudes(bank(), colour=PopulationColour(name="population")) is None


def test_the_seeds_sed_uses_the_redshift_of_the_lens_prior():
    colour = SeedSedColour(name="seed_sed")
    near, far, own = draw(colour, z_source=0.8), draw(colour, z_source=3.5), draw(colour)
    assert np.unique((near[..., 0] - near[..., 1]).round(9)).tolist() == [-0.3]
    assert np.unique((far[..., 0] - far[..., 1]).round(9)).tolist() == [-0.39]
    assert np.ptp(own[..., 0] - own[..., 1]) > 0.05


def test_sources_brighter_than_physics_allows_are_refused_or_warned_of(small_config, caplog, monkeypatch):
    with pytest.raises(ConfigError, match=r"colour\.r_mag\.low = 19: must be at least 20: unlensed AB magnitudes"):
        compose_job("train", ["colour.r_mag.low=19"], schema=TrainConfig)
    from dhs.inject.build import _warn_of_bright_sources

    monkeypatch.setattr(logging.getLogger("dhs"), "propagate", True)  # a program run before may have taken it over
    with caplog.at_level("WARNING", logger="dhs"):
        _warn_of_bright_sources(small_config("colour.r_mag.low=21.5"))
        _warn_of_bright_sources(small_config())
    assert [record.message for record in caplog.records] == [
        "colour.r_mag.low = 21.5: unlensed sources brighter than r = 22 are rare; their arcs may outshine the lens"
    ]
    assert PopulationColour(name="population", r_mag=Range(low=20.0, high=30.0)).r_mag.low == 20
