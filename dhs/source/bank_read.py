"""Reads the image stack of a bank with all cores, and measures on the way what its checks need.

Why not ``dataset[()]``: HDF5 unpacks its chunks one after the other, 4 s for 20,000 sources; zlib and numpy release
the interpreter's lock, so that threads which take the chunks as they lie in the file share that work (1.5 s on two
cores, checks included). A stack that is chunked or compressed otherwise is read by HDF5 itself.

Shapes: N sources, C channels (1 or the bands), S pixels a side.
"""

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import h5py
import numpy as np

from dhs.source import measure

MAX_THREADS = 16
ROWS_AT_ONCE = 64
"""Images of a slice where the file's own chunks cannot be used."""
FLUX_TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-5}
"""Allowed |flux - 1| of a stored template by its type: float16 keeps 11 bits of each pixel."""


@dataclass(frozen=True)
class StackFigures:
    """What `read_stack` measured on the pixels as stored."""

    flux: np.ndarray
    """(N, C) float64."""
    edge_pedestal_fraction: np.ndarray
    """(N, C), see `dhs.source.measure.edge_pedestal_fraction`."""


def stack_shape(dataset: h5py.Dataset) -> tuple[int, int, int, int]:
    """(N, C, S, S) of a stack stored as (N, S, S) or (N, C, S, S)."""
    shape = dataset.shape
    return (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape


def read_stack(dataset: h5py.Dataset, *, out: np.ndarray) -> StackFigures:
    """Fill ``out`` (N, C, S, S) float32 with the images, any float type, and measure them.

    A float16 stack is rescaled to exact unit flux: its rounding is not the galaxy's.

    Raises:
        ValueError: a chunk that does not unpack (zlib's or HDF5's own message).
    """
    n, channels = out.shape[:2]
    figures = StackFigures(np.empty((n, channels)), np.empty((n, channels)))
    fetch, step = _chunk_reader(dataset)

    def one(start: int) -> None:
        rows = slice(start, min(start + step, n))
        target = out[rows]
        fetch(rows, target)
        measure_stack(target, rows=rows, figures=figures)
        if dataset.dtype == np.float16:
            with np.errstate(divide="ignore", invalid="ignore"):  # the caller refuses such fluxes by name
                target /= figures.flux[rows, :, None, None].astype(np.float32)

    try:
        with ThreadPoolExecutor(usable_threads()) as pool:
            list(pool.map(one, range(0, n, step)))
    except (OSError, zlib.error) as error:
        raise ValueError(f"images cannot be unpacked ({error})") from None
    return figures


def measured(images: np.ndarray) -> StackFigures:
    """`StackFigures` of an (N, C, S, S) array in memory."""
    n, channels = images.shape[:2]
    figures = StackFigures(np.empty((n, channels)), np.empty((n, channels)))
    for start in range(0, n, ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, n))
        measure_stack(images[rows], rows=rows, figures=figures)
    return figures


def measure_stack(images: np.ndarray, *, rows: slice, figures: StackFigures) -> None:
    """Write the figures of (n, C, S, S) ``images`` into ``rows`` of ``figures``."""
    n, channels, size, _ = images.shape
    flux = images.sum(axis=(2, 3), dtype=np.float64)
    ring = measure.radius_px(size) > measure.RING_START_FRACTION * size / 2
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN and zero flux are refused by name later
        level = images.reshape(n, channels, -1) @ (ring.ravel() / ring.sum()).astype(np.float32)
        figures.edge_pedestal_fraction[rows] = level * size**2 / flux
    figures.flux[rows] = flux


def support_radius_px(images: np.ndarray) -> np.ndarray:
    """(N,) distance of the farthest non-zero pixel from the centre, over all channels of (N, C, S, S)."""
    radius = measure.radius_px(images.shape[-1])
    return np.array([(radius * (image != 0).any(axis=0)).max() for image in images], np.float32)


def usable_threads() -> int:
    """Cores this process may run on, at most MAX_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


def _chunk_reader(dataset: h5py.Dataset) -> tuple[Callable[[slice, np.ndarray], None], int]:
    """A function that fills (n, C, S, S) float32 with a slice of rows, and how many rows to ask of it."""
    whole_images = dataset.chunks is not None and dataset.chunks[1:] == dataset.shape[1:]
    filters = dataset.id.get_create_plist()
    names = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
    if (
        not whole_images
        or names != [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]
        or dataset.dtype.byteorder == ">"
    ):
        return (lambda rows, target: _read_slice(dataset, rows, target)), ROWS_AT_ONCE
    return (lambda rows, target: _unpack_chunk(dataset, rows, target)), dataset.chunks[0]


def _read_slice(dataset: h5py.Dataset, rows: slice, target: np.ndarray) -> None:
    target[...] = dataset[rows].reshape(target.shape)


def _unpack_chunk(dataset: h5py.Dataset, rows: slice, target: np.ndarray) -> None:
    """Undo deflate and shuffle (byte k of every number together) of the chunk that starts at ``rows``."""
    skipped, packed = dataset.id.read_direct_chunk((rows.start, *(0 for _ in dataset.shape[1:])))
    if skipped:
        _read_slice(dataset, rows, target)
        return
    n_bytes = dataset.dtype.itemsize
    expected = n_bytes * int(np.prod(dataset.chunks))
    raw = zlib.decompress(packed, bufsize=expected)
    if len(raw) != expected:
        raise OSError(f"the chunk of row {rows.start} holds {len(raw)} bytes, not those of its images")
    planes = np.frombuffer(raw, np.uint8).reshape(n_bytes, -1)[:, : target.size]
    direct = dataset.dtype == np.float32 and target.flags.c_contiguous
    numbers = target.reshape(-1) if direct else np.empty(target.size, dataset.dtype)
    np.stack(list(planes), axis=-1, out=numbers.view(np.uint8).reshape(-1, n_bytes))
    if not direct:
        target[...] = numbers.reshape(target.shape)
