"""Templates as pictures: grey with one stretch relative to each source's own peak, or colour where it has three bands.

In the asinh stretch exactly zero is blue and negative is red, because that is where the truth about a bank is: a
cleaned template is a galaxy on blue, clipped noise is blue salt in grey pepper, unclipped noise is red and grey.

Shapes: n sources, C bands, S pixels a side.
"""

import io

import matplotlib.image
import numpy as np

SOFTENING = 0.005
"""Of the peak: below it the asinh stretch is linear, so that a pedestal of a percent shows."""
PEAK_QUANTILE = 0.999
"""The peak is this quantile of the pixels: one cusp pixel must not darken a galaxy."""
ZERO_RGB = (22, 34, 82)
NEGATIVE_RGB = (110, 34, 28)
GUTTER_PX = 3


def linear_rgb(bands: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 of (C, S, S), row 0 at the bottom; zero to peak."""
    return _picture(np.clip(bands / _peak(bands), 0, 1))


def asinh_rgb(bands: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 of (C, S, S), row 0 at the bottom; exact zeros blue, negative pixels red."""
    scaled = np.arcsinh(np.clip(bands / _peak(bands), 0, 1) / SOFTENING) / np.arcsinh(1 / SOFTENING)
    picture = _picture(scaled)
    mean = bands.mean(axis=0)[::-1]
    picture[mean == 0] = ZERO_RGB
    picture[mean < 0] = NEGATIVE_RGB
    picture[~np.isfinite(mean)] = (255, 0, 255)
    return picture


def _peak(bands: np.ndarray) -> float:
    finite = bands[np.isfinite(bands)]
    peak = float(np.quantile(finite, PEAK_QUANTILE)) if finite.size else 0.0
    return peak if peak > 0 else 1.0


def _picture(scaled: np.ndarray) -> np.ndarray:
    """Three bands, bluest first, as blue, green, red; any other number as grey."""
    values = np.rint(255 * np.nan_to_num(scaled)).astype(np.uint8)
    if len(values) != 3:
        values = np.repeat(np.rint(values.mean(axis=0, keepdims=True)).astype(np.uint8), 3, axis=0)
    return np.ascontiguousarray(values[::-1, ::-1].transpose(1, 2, 0))


def png(picture: np.ndarray) -> bytes:
    """(height, width, 3) uint8 as the bytes of a PNG."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, picture, format="png", metadata={"Software": "dhs"})
    return buffer.getvalue()


def sheet(pictures: list[np.ndarray], *, columns: int) -> np.ndarray:
    """Pictures of one size side by side on white, ``columns`` a row."""
    side = pictures[0].shape[0]
    rows = -(-len(pictures) // columns)
    canvas = np.full(
        (rows * (side + GUTTER_PX) - GUTTER_PX, columns * (side + GUTTER_PX) - GUTTER_PX, 3), 255, np.uint8
    )
    for place, picture in enumerate(pictures):
        y, x = ((side + GUTTER_PX) * step for step in divmod(place, columns))
        canvas[y : y + side, x : x + side] = picture
    return canvas
