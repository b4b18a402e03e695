"""The mock survey as a whole: determinism, cache, contents."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dhs.config.sky import ClassWeights, MockSky
from dhs.constants import CLASSES
from dhs.sky import mock_cache
from dhs.sky.build import load_sky
from dhs.sky.cutouts import CutoutSet, good_pixels
from dhs.sky.mock import class_of_fraction, draw_mock_galaxy
from dhs.sky.mock_cache import chunk_path, load_mock_sky, survey_dir
from dhs.sky.splits import split_of_position

Config = Callable[..., MockSky]

NO_OTHERS = {name: 0 for name in CLASSES if name != "lrg"}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mock_cache, "CHUNK_SIZE", 8)


def assert_same(left: CutoutSet, right: CutoutSet, n: int) -> None:
    for name, array in vars(left).items():
        if array is None:
            assert getattr(right, name) is None
            continue
        np.testing.assert_array_equal(array[:n], getattr(right, name)[:n], err_msg=name)


def test_a_galaxy_drawn_alone_is_the_one_of_the_set(mock_set: CutoutSet, mock_config: Config) -> None:
    for index in (0, 255, 256, 511):
        alone = draw_mock_galaxy(mock_config(20), index=index)
        np.testing.assert_array_equal(alone.image, mock_set.images[index])
        np.testing.assert_array_equal(alone.maskbits, mock_set.maskbits[index])
        assert alone.ra_deg == mock_set.ra_deg[index]
        assert alone.kind == mock_set.kind[index]


def test_chunk_size_and_number_of_galaxies_change_nothing(
    mock_set: CutoutSet, mock_config: Config, tmp_path: Path, small_chunks: None
) -> None:
    assert_same(load_mock_sky(mock_config(21), cache_dir=tmp_path), mock_set, 21)
    longer = load_mock_sky(mock_config(30), cache_dir=tmp_path)
    assert len(longer) == 30
    assert_same(longer, mock_set, 30)


def test_two_processes_draw_what_one_draws(mock_set: CutoutSet, mock_config: Config, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    parallel = load_mock_sky(
        mock_config(300, num_processes=2), cache_dir=tmp_path, progress=lambda done, total: calls.append((done, total))
    )
    assert_same(parallel, mock_set, 300)
    assert calls == [(256, 300), (300, 300)]


def test_two_that_start_together_draw_each_galaxy_once(
    mock_set: CutoutSet, mock_config: Config, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    original = mock_cache._draw_chunk

    def counting(job: tuple[MockSky, Path, int]) -> int:
        drawn.append(job[2])
        return original(job)

    monkeypatch.setattr(mock_cache, "_draw_chunk", counting)
    config = mock_config(24).model_copy(update={"num_processes": 1})
    with ThreadPoolExecutor(2) as pool:  # a file lock holds between threads as between processes
        both = list(pool.map(lambda _: load_mock_sky(config, cache_dir=tmp_path), range(2)))
    assert sorted(drawn) == [0, 1, 2]
    for each in both:
        assert_same(each, mock_set, 24)


def test_a_larger_set_reuses_chunks_and_draws_only_what_is_missing(
    mock_config: Config, tmp_path: Path, small_chunks: None
) -> None:
    folder = survey_dir(mock_config(24), cache_dir=tmp_path)
    load_mock_sky(mock_config(24), cache_dir=tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    chunk_path(folder, 1).unlink()
    calls: list[tuple[int, int]] = []
    load_mock_sky(mock_config(40), cache_dir=tmp_path, progress=lambda done, total: calls.append((done, total)))
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(after) == [f"chunk-0000{i}.npz" for i in range(5)]
    assert {name for name in before if after[name] == before[name]} == {"chunk-00000.npz", "chunk-00002.npz"}
    assert calls == [(24, 40), (32, 40), (40, 40)]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "swap"])
def test_a_damaged_chunk_is_named_and_drawn_again(
    mock_set: CutoutSet,
    mock_config: Config,
    tmp_path: Path,
    small_chunks: None,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    config = mock_config(24)
    load_mock_sky(config, cache_dir=tmp_path)
    folder = survey_dir(config, cache_dir=tmp_path)
    path = chunk_path(folder, 1)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 3] ^= 0x40
    elif damage == "truncate":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    else:
        content = bytearray(chunk_path(folder, 2).read_bytes())
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = load_mock_sky(config, cache_dir=tmp_path)
    assert [record.message for record in caplog.records if "chunk-00001.npz is damaged" in record.message]
    assert_same(again, mock_set, 24)
    caplog.clear()
    load_mock_sky(config, cache_dir=tmp_path)
    assert not caplog.records


def test_the_cache_name_changes_with_what_decides_a_galaxy_only(mock_config: Config, tmp_path: Path) -> None:
    name = survey_dir(mock_config(100), cache_dir=tmp_path)
    assert name.name.startswith("mock-")
    assert len(name.name) == 17
    assert survey_dir(mock_config(200, num_processes=2), cache_dir=tmp_path) == name
    assert survey_dir(mock_config(100, split={"salt": "another"}), cache_dir=tmp_path) == name
    for change in ({"seed": 12}, {"stamp_size_px": 48}, {"noise_correlation": 0.2}, {"class_weights": {"lrg": 0.4}}):
        assert survey_dir(mock_config(100, **change), cache_dir=tmp_path) != name


def test_class_proportions_are_the_weights(mock_set: CutoutSet) -> None:
    weights = ClassWeights()
    fractions = (np.arange(10_000) + 0.5) / 10_000
    codes = [class_of_fraction(fraction, weights=weights) for fraction in fractions]
    expected = np.array([getattr(weights, name) for name in CLASSES])
    np.testing.assert_allclose(np.bincount(codes, minlength=6) / 10_000, expected / expected.sum(), atol=2e-4)
    counts = np.bincount(mock_set.kind, minlength=6)
    share = expected / expected.sum()
    assert np.all(np.abs(counts - 512 * share) < 4.5 * np.sqrt(512 * share * (1 - share)))


def test_a_class_of_weight_zero_never_comes() -> None:
    weights = ClassWeights(spiral=0.0, edge_on=0.0)
    codes = {class_of_fraction(fraction, weights=weights) for fraction in np.linspace(0, 1, 500, endpoint=False)}
    assert codes == {CLASSES.index(name) for name in ("lrg", "lrg_companion", "ring", "merger")}


def test_the_set_keeps_the_contract(mock_set: CutoutSet) -> None:
    assert mock_set.images.shape == mock_set.invvar.shape == (512, 3, 64, 64)
    assert {name: array.dtype.name for name, array in vars(mock_set).items() if array is not None} == {
        "target_id": "int64",
        "images": "float32",
        "invvar": "float32",
        "maskbits": "int16",
        "psf_fwhm_arcsec": "float32",
        "psf_depth_mag": "float32",
        "ra_deg": "float64",
        "dec_deg": "float64",
        "kind": "int8",
        "split": "int8",
        "mag": "float32",
        "axis_ratio": "float32",
        "position_angle_rad": "float32",
        "redshift": "float32",
        "centre_x_arcsec": "float32",
        "centre_y_arcsec": "float32",
    }
    for name, array in vars(mock_set).items():
        assert array is None or np.isfinite(array).all(), name
    assert len(np.unique(mock_set.target_id)) == len(np.unique(mock_set.ra_deg)) == 512
    assert mock_set.images.std(axis=(2, 3)).min() > 0
    assert mock_set.dec_deg.min() > -65
    assert mock_set.dec_deg.max() < 32


def test_splits_are_those_of_the_positions(mock_set: CutoutSet, mock_config: Config) -> None:
    expected = split_of_position(mock_set.ra_deg, mock_set.dec_deg, config=mock_config().split)
    assert np.array_equal(mock_set.split, expected)


def test_every_stamp_has_its_galaxy_in_the_middle_above_the_noise(mock_set: CutoutSet) -> None:
    lrg = mock_set.kind == CLASSES.index("lrg")
    core = mock_set.images[lrg, 2, 28:36, 28:36].sum(axis=(1, 2))
    noise = 8 / np.sqrt(mock_set.invvar[lrg, 2, 28:36, 28:36].mean(axis=(1, 2)))
    assert np.percentile(core / noise, 1) > 10


def test_corner_pixels_scatter_by_091_of_invvar_and_correlate_as_asked(mock_config: Config) -> None:
    config = mock_config(20, neighbour_density_arcmin2=0, star_density_arcmin2=0, class_weights={"lrg": 1} | NO_OTHERS)
    corners = []
    for index in range(60):
        galaxy = draw_mock_galaxy(config, index=index)
        if not galaxy.no_data.any():
            corner = galaxy.image[:, :14, :14] / galaxy.noise_sigma_nmgy[:, None, None]
            corners.append(corner - np.median(corner, axis=(1, 2), keepdims=True))
    pixels = np.stack(corners)
    assert pixels.std() == pytest.approx(0.91, abs=0.02)
    lag_one = np.mean(pixels[..., 1:] * pixels[..., :-1]) / pixels.var()
    assert lag_one == pytest.approx(0.13, abs=0.02)


def test_pixels_without_data_have_invvar_zero_and_a_bad_bit(mock_set: CutoutSet) -> None:
    no_data = mock_set.invvar == 0
    assert 0.01 < no_data.any(axis=(1, 2, 3)).mean() < 0.08
    assert np.all(mock_set.images[no_data] == 0)
    good = good_pixels(mock_set.invvar, mock_set.maskbits)
    assert not good[no_data].any()
    assert good.mean() > 0.98
    assert good[:, :, 21:43, 21:43].all()


def test_other_stamp_sizes_work(mock_config: Config) -> None:
    for size in (33, 101):
        image = draw_mock_galaxy(mock_config(20, stamp_size_px=size), index=3).image
        assert image.shape == (3, size, size)
        assert np.isfinite(image).all()


def test_load_sky_gives_the_mock_survey(mock_set: CutoutSet, mock_config: Config, mock_cache: Path) -> None:
    assert_same(load_sky(mock_config(256), cache_dir=mock_cache), mock_set, 256)
