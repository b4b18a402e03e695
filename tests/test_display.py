"""Colour composites and contact sheets: bands in the right channels, pixels in the right places, files whole."""

import matplotlib.image
import numpy as np
import pytest

from dhs.display import comparison_sheet, contact_sheet, rgb, write_atomically
from dhs.rng import Purpose, keyed_rng


def flat(g, r, z, *, n=1, size=8):
    return np.tile(np.reshape([g, r, z], (1, 3, 1, 1)), (n, 1, size, size)).astype(np.float32)


def test_z_is_red_r_is_green_and_g_is_blue():
    for band, channel in ((0, 2), (1, 1), (2, 0)):
        image = np.zeros((1, 3, 4, 4))
        image[0, band] = 0.3
        assert rgb(image)[0, 0, 0].argmax() == channel


def test_stretch_is_the_viewers():
    """By hand: scales 6, 3.4, 2.2, offset 0.03, f(I) = asinh(20 I) / sqrt(20)."""
    g, r, z = 0.02, 0.05, 0.08
    red, green, blue = 2.2 * z + 0.03, 3.4 * r + 0.03, 6.0 * g + 0.03
    mean = (red + green + blue) / 3
    gain = np.arcsinh(20 * mean) / np.sqrt(20) / mean
    np.testing.assert_array_equal(rgb(flat(g, r, z))[0, 0, 0], np.rint(255 * gain * np.array([red, green, blue])))


def test_empty_sky_is_dark_grey_a_bright_core_white_and_missing_pixels_black():
    sky = rgb(flat(0, 0, 0))[0, 0, 0]
    assert 15 < sky[0] < 60
    assert len(set(sky.tolist())) == 1
    assert (rgb(flat(50, 80, 100))[0, 0, 0] == 255).all()
    assert (rgb(flat(np.nan, 0.1, 0.1)) == 0).all()


def test_a_red_galaxy_of_magnitude_21_stands_out_from_the_sky():
    """Peak pixel of an r = 21 galaxy in 1.2 arcsec seeing holds about 3% of its light."""
    flux_r = 10 ** (0.4 * (22.5 - 21.0))
    core = rgb(0.03 * flat(flux_r / 4, flux_r, flux_r * 2))[0, 0, 0].astype(int)
    sky = rgb(flat(0, 0, 0))[0, 0, 0].astype(int)
    assert core[0] - sky[0] > 80
    assert core[0] > core[1] > core[2]


def test_row_order_is_kept_and_input_is_not_changed():
    image = flat(0, 0, 0, size=6)
    image[0, :, 0, :] = 1.0
    before = image.copy()
    composite = rgb(image)
    assert composite[0, 0].mean() > composite[0, 5].mean()
    np.testing.assert_array_equal(image, before)
    assert (composite.shape, composite.dtype) == ((1, 6, 6, 3), np.uint8)


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\): must be \(B, 3, H, W\)"):
        rgb(np.zeros((3, 8, 8)))


def pixels(path):
    return np.rint(255 * matplotlib.image.imread(path)[..., :3]).astype(np.uint8)


def contains(sheet, block):
    height, width, _ = block.shape
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (height, width), axis=(0, 1))
    matches = (windows == block.transpose(2, 0, 1)[None, None]).all(axis=(2, 3, 4))
    return np.argwhere(matches)


def test_sheet_shows_every_stamp_exactly_zoomed_and_north_up(tmp_path):
    rng = keyed_rng(1, Purpose.BENCHMARK, 0, 0)
    images = rng.uniform(0, 0.3, (3, 3, 7, 7)).astype(np.float32)
    path = contact_sheet(images, captions=["a", "b\nc", ""], path=tmp_path / "s.png", columns=2, title="T", zoom=3)
    sheet = pixels(path)
    places = []
    for composite in rgb(images):
        zoomed = composite[::-1].repeat(3, axis=0).repeat(3, axis=1)
        found = contains(sheet, zoomed)
        assert len(found) == 1
        places.append(tuple(found[0]))
    assert places[0][0] == places[1][0] < places[2][0]
    assert places[0][1] == places[2][1] < places[1][1]


def test_groups_stand_under_one_another_in_the_order_given(tmp_path):
    rng = keyed_rng(2, Purpose.BENCHMARK, 0, 0)
    groups = {name: rng.uniform(0, 0.3, (2, 3, 9, 9)) for name in ("before", "arc only", "after")}
    path = comparison_sheet(groups, captions=["x", "y"], path=tmp_path / "g.png", columns=2, title="", zoom=2)
    sheet = pixels(path)
    tops = []
    for images in groups.values():
        block = rgb(images)[0, ::-1].repeat(2, axis=0).repeat(2, axis=1)
        (place,) = contains(sheet, block)
        tops.append(place[0])
    assert tops == sorted(tops)
    assert len(set(tops)) == 3


def test_unequal_groups_are_refused(tmp_path):
    groups = {"a": np.zeros((2, 3, 8, 8)), "b": np.zeros((3, 3, 8, 8))}
    with pytest.raises(ValueError, match="every group needs the same stamps"):
        comparison_sheet(groups, captions=["", ""], path=tmp_path / "x.png", columns=2, title="")
    assert list(tmp_path.iterdir()) == []


def test_equal_sheets_are_equal_files(tmp_path):
    one, two = (
        contact_sheet(flat(0.1, 0.1, 0.1), captions=["c"], path=tmp_path / name, columns=1, title="t").read_bytes()
        for name in ("one.png", "two.png")
    )
    assert one == two


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text is not bytes")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]
