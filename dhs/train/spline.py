"""Cubic B-spline interpolation of stamps (Unser, Aldroubi & Eden 1993): batched, mirrored at the edges, on any device.

The same function as `scipy.ndimage.map_coordinates(order=3, mode="mirror")`. torch's own bicubic sampling sharpens: it
moves the peak of a star of 1.2 arcsec by 2%.
"""

import functools

import numpy as np
import torch


def sample(planes: torch.Tensor, *, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(B, C, N, N) planes at the pixel coordinates ``y``, ``x`` (B, N, N)."""
    size, channels = planes.shape[-1], planes.shape[1]
    inverse = _prefilter(size, str(planes.device))
    coefficients = (inverse @ planes @ inverse.T).flatten(-2)
    rows, columns = (_taps(coordinate.flatten(1), size=size) for coordinate in (y, x))
    out = torch.zeros_like(coefficients)
    for row, row_weight in rows:
        for column, column_weight in columns:
            index = (row * size + column)[:, None].expand(-1, channels, -1)
            out += coefficients.gather(2, index) * (row_weight * column_weight)[:, None]
    return out.reshape(planes.shape)


def _taps(coordinate: torch.Tensor, *, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The four pixels around each coordinate, with their B-spline weights."""
    base = coordinate.floor()
    t = coordinate - base
    weights = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    return [(_mirrored(base.long() + i - 1, size=size), weight / 6) for i, weight in enumerate(weights)]


def _mirrored(index: torch.Tensor, *, size: int) -> torch.Tensor:
    index = index.abs() % (2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


@functools.cache
def _prefilter(size: int, device: str) -> torch.Tensor:
    """(N, N): pixel values -> spline coefficients, the inverse of B-splines read at the pixels' centres."""
    values = (4 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)) / 6
    values[0, 1] = values[-1, -2] = 2 / 6  # mirrored about the centres of the edge pixels
    return torch.from_numpy(np.linalg.inv(values).astype(np.float32)).to(device)
