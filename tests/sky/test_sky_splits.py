"""Sky splits: stable, by HEALPix pixel, in the asked proportions."""

import hashlib

import numpy as np
import pytest
from astropy import units
from astropy_healpix import HEALPix

from dhs.config.sky import SplitConfig
from dhs.sky.splits import split_of_id, split_of_position

CONFIG = SplitConfig()


def random_sky(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def test_all_galaxies_of_a_healpix_pixel_share_a_split() -> None:
    ra, dec = random_sky(60_000)
    coarse = SplitConfig(nside=16)
    pixels = HEALPix(nside=16, order="nested").lonlat_to_healpix(ra * units.deg, dec * units.deg)
    splits = split_of_position(ra, dec, config=coarse)
    lowest, highest = np.full(16**2 * 12, 9), np.full(16**2 * 12, -1)
    np.minimum.at(lowest, pixels, splits)
    np.maximum.at(highest, pixels, splits)
    seen = highest >= 0
    assert np.array_equal(lowest[seen], highest[seen])
    assert set(highest[seen]) == {0, 1, 2}


def test_split_is_the_sha256_of_salt_nside_and_pixel() -> None:
    ra, dec = random_sky(50, seed=3)
    splits = split_of_position(ra, dec, config=CONFIG)
    pixels = HEALPix(nside=128, order="nested").lonlat_to_healpix(ra * units.deg, dec * units.deg)
    for pixel, split in zip(pixels, splits, strict=True):
        fraction = int(hashlib.sha256(f"dhs-split-1:128:{pixel}".encode()).hexdigest()[:16], 16) / 2**64
        assert split == (0 if fraction < 0.70 else 1 if fraction < 0.85 else 2)


def test_fractions_are_those_asked_for_within_binomial_errors() -> None:
    ra, dec = random_sky(20_000, seed=1)
    fine = SplitConfig(nside=512, train=0.5, val=0.2, test=0.3)
    counts = np.bincount(split_of_position(ra, dec, config=fine), minlength=3)
    for count, share in zip(counts, (0.5, 0.2, 0.3), strict=True):
        assert abs(count - 20_000 * share) < 4.5 * np.sqrt(20_000 * share * (1 - share))


def test_split_does_not_depend_on_what_else_is_in_the_set() -> None:
    ra, dec = random_sky(500)
    whole = split_of_position(ra, dec, config=CONFIG)
    assert np.array_equal(split_of_position(ra[::7], dec[::7], config=CONFIG), whole[::7])
    assert whole.dtype == np.int8


def test_another_salt_is_another_split() -> None:
    ra, dec = random_sky(500)
    other = split_of_position(ra, dec, config=SplitConfig(salt="other"))
    assert (other != split_of_position(ra, dec, config=CONFIG)).mean() > 0.2


def test_ids_split_in_the_asked_proportions() -> None:
    splits = split_of_id([f"galaxy-{i}" for i in range(8000)], config=CONFIG)
    assert abs((splits == 0).mean() - 0.7) < 0.025
    assert np.array_equal(splits[:3], split_of_id(["galaxy-0", "galaxy-1", "galaxy-2"], config=CONFIG))


@pytest.mark.parametrize(("ra", "dec"), [(np.nan, 0.0), (10.0, 91.0), (10.0, np.nan)])
def test_a_position_that_is_none_is_refused(ra: float, dec: float) -> None:
    with pytest.raises(ValueError, match="position of row 1 .*split_of_id"):
        split_of_position(np.array([1.0, ra]), np.array([1.0, dec]), config=CONFIG)
