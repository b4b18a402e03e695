"""What is measured of the pixels of every stamp: compiled, and nothing kept but a few numbers.

* ``state``: 0 usable, 1 a pixel is not finite, 2 a band without any light (all zero), 3 a band of one value.
* ``ring_median``, ``ring_sigma``: median and 1.4826 MAD of every fifth good pixel beyond half the half-size (r > 16 px
  of 64), the numbers a network's normalisation divides by. A fifth of the pixels gives them to 5%, less than stamps
  differ by; all of them would cost five times as much.
* ``core``: light within 0.5 arcsec, above the ring's level.
* ``total``: sum of the good pixels: two stamps of one galaxy differ in it by their arcs alone, whatever the galaxy is.
* The arc of a stamp alone. A galaxy looks the same turned by 180 degrees, an arc with its fainter counter-image does
  not: ``I(x) - I(-x)`` keeps the arc, and of the galaxy only what is lopsided. ``arc_peak`` is the highest mean of
  3 x 3 pixels of it in g, where arcs stand out most, within the arc's annulus and in units of its noise; ``arc_light``
  sums it in every band over the pixels above ``ARC_LIT_SIGMA``; ``arc_null`` sums the same pixels of another galaxy,
  which has no arc there: what lopsided galaxies and noise do to ``arc_light``.

Shapes: n stamps, 3 bands (g, r, z), N x N pixels.
"""

from typing import NamedTuple

import numpy as np

from dhs.constants import MAD_TO_SIGMA, PIXEL_SCALE_ARCSEC
from dhs.lens.compiled import machine_code, part

RING_INNER_FRACTION = 0.5
"""Inner radius of the ring over the half-size, as in training (preprocess.annulus_inner_fraction)."""
RING_STEP = 5
MIN_RING_PIXELS = 32
CORE_ARCSEC = 0.5
ARC_INNER_THETA, ARC_INNER_ARCSEC = 0.5, 0.8
ARC_OUTER_THETA, ARC_OUTER_ARCSEC = 1.6, 0.8
"""Annulus of the arc: images lie between 0 and 2 theta_E, the bright ones around and outside theta_E."""
ARC_LIT_SIGMA = 3.0
"""A 3 x 3 mean above this belongs to the arc."""
N_COLUMNS = 19
USABLE, NOT_FINITE, DARK, CONSTANT = 0, 1, 2, 3
_IMAGES = "Array(float32, 4, 'C', readonly=True)"
"""What Arrow and mapped files give is read-only."""


class PixelFigures(NamedTuple):
    """Per stamp, (n,) or (n, 3) float64 in nMgy; NaN where a stamp is not usable, or there was nothing to measure."""

    state: np.ndarray
    """(n,) int8."""
    ring_median: np.ndarray
    ring_sigma: np.ndarray
    core: np.ndarray
    total: np.ndarray
    arc_peak: np.ndarray
    """(n,) S/N."""
    arc_light: np.ndarray
    arc_null: np.ndarray


def measure_pixels(
    images: np.ndarray, *, bad: np.ndarray | None, theta_e_arcsec: np.ndarray, partner: np.ndarray
) -> PixelFigures:
    """Figures of (n, 3, N, N) float32 ``images``.

    ``bad`` (n, 3, N, N) bool marks pixels that do not count, None: all do. ``theta_e_arcsec`` (n,) says where the arc
    is looked for, NaN: nowhere; ``partner`` (n,) the stamp without an arc that `arc_null` is measured on, -1: none.
    """
    n, _, size, _ = images.shape
    out = np.full((n, N_COLUMNS), np.nan)
    state = np.zeros(n, np.int8)
    masked = np.zeros((1, 1, 1, 1), bool) if bad is None else np.ascontiguousarray(bad)
    axis = np.arange(size) - (size - 1) / 2
    radius = np.hypot(axis, axis[:, None])
    ring = np.flatnonzero(radius > RING_INNER_FRACTION * size / 2)[::RING_STEP]
    core = np.flatnonzero(radius * PIXEL_SCALE_ARCSEC < CORE_ARCSEC)
    pixels = np.ascontiguousarray(images, np.float32)
    _levels(pixels, masked, bad is not None, ring.astype(np.int64), core.astype(np.int64), state, out)
    inner = np.maximum(ARC_INNER_THETA * theta_e_arcsec, ARC_INNER_ARCSEC) / PIXEL_SCALE_ARCSEC
    outer = np.minimum((ARC_OUTER_THETA * theta_e_arcsec + ARC_OUTER_ARCSEC) / PIXEL_SCALE_ARCSEC, size / 2 - 2)
    usable = (partner >= 0) & (state[np.maximum(partner, 0)] == USABLE)
    rows = np.where(usable, partner, -1).astype(np.int64)
    _arcs(pixels, masked, bad is not None, np.stack([inner, outer], axis=1), rows, state, out)
    return PixelFigures(
        state, out[:, 0:3], out[:, 3:6], out[:, 6:9], out[:, 9:12], out[:, 12], out[:, 13:16], out[:, 16:19]
    )


@part
def _sum(plane):  # type: ignore[no-untyped-def]
    """Sum in float64, not finite where a value is not; four at a time, or each addition would wait for the last."""
    a = b = c = d = 0.0
    whole = len(plane) // 4 * 4
    for j in range(0, whole, 4):
        a += plane[j]
        b += plane[j + 1]
        c += plane[j + 2]
        d += plane[j + 3]
    for j in range(whole, len(plane)):
        a += plane[j]
    return a + b + c + d


@part
def _is_constant(plane):  # type: ignore[no-untyped-def]
    for value in plane:
        if value != plane[0]:
            return False
    return True


@part
def _middle(values, n):  # type: ignore[no-untyped-def]
    """Lower median of the first ``n`` of ``values``, which are reordered (Hoare's selection)."""
    low, high, wanted = 0, n - 1, (n - 1) // 2
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]


@machine_code(f"void({_IMAGES}, boolean[:,:,:,::1], boolean, int64[::1], int64[::1], int8[::1], float64[:,::1])")
def _levels(images, bad, has_bad, ring, core, state, out):  # type: ignore[no-untyped-def]
    """State, ring, core and total of every stamp."""
    values = np.empty(len(ring), np.float32)
    for i in range(len(images)):
        for band in range(3):
            plane = images[i, band].ravel()
            total = _sum(plane)
            if not np.isfinite(total):
                state[i] = NOT_FINITE
            elif state[i] != NOT_FINITE and _is_constant(plane):
                state[i] = DARK if plane[0] == 0 else CONSTANT
            out[i, 9 + band] = total
        if state[i] != USABLE:
            out[i, 9:12] = np.nan
            continue
        for band in range(3):
            plane = images[i, band].ravel()
            n = 0
            if has_bad:
                hidden = bad[i, band].ravel()
                for j in range(len(plane)):
                    if hidden[j]:
                        out[i, 9 + band] -= plane[j]
                for j in ring:
                    if not hidden[j]:
                        values[n] = plane[j]
                        n += 1
            else:
                for j in ring:
                    values[n] = plane[j]
                    n += 1
            if n < MIN_RING_PIXELS:
                continue
            level = _middle(values, n)
            for j in range(n):
                values[j] = abs(values[j] - level)
            out[i, band] = level
            out[i, 3 + band] = MAD_TO_SIGMA * _middle(values, n)
            light = 0.0
            for j in core:
                light += plane[j] - level
            out[i, 6 + band] = light


@machine_code(f"void({_IMAGES}, boolean[:,:,:,::1], boolean, float64[:,::1], int64[::1], int8[::1], float64[:,::1])")
def _arcs(images, bad, has_bad, annuli, partner, state, out):  # type: ignore[no-untyped-def]
    """`arc_peak`, `arc_light` and `arc_null` of the stamps that have an annulus."""
    size = images.shape[-1]
    middle = (size - 1) / 2
    odd = np.empty((size, size), np.float32)
    for i in range(len(images)):
        noise = out[i, 3]
        if state[i] != USABLE or not annuli[i, 1] > annuli[i, 0] or not noise > 0:
            continue
        for y in range(size):
            for x in range(size):
                odd[y, x] = images[i, 0, y, x] - images[i, 0, size - 1 - y, size - 1 - x]
                if has_bad and (bad[i, 0, y, x] or bad[i, 0, size - 1 - y, size - 1 - x]):
                    odd[y, x] = 0
        scale = 1 / (3 * np.sqrt(2.0) * noise)
        first = max(1, int(middle - annuli[i, 1]))
        last = min(size - 2, int(middle + annuli[i, 1]) + 1)
        peak = -np.inf
        out[i, 13:19] = 0
        for y in range(first, last + 1):
            for x in range(first, last + 1):
                radius = np.hypot(x - middle, y - middle)
                if radius < annuli[i, 0] or radius > annuli[i, 1]:
                    continue
                box = 0.0
                for v in range(y - 1, y + 2):
                    box += odd[v, x - 1] + odd[v, x] + odd[v, x + 1]
                peak = max(peak, box * scale)
                if box * scale > ARC_LIT_SIGMA:
                    for band in range(3):
                        out[i, 13 + band] += images[i, band, y, x] - images[i, band, size - 1 - y, size - 1 - x]
                        if partner[i] >= 0:
                            other = images[partner[i], band]
                            out[i, 16 + band] += other[y, x] - other[size - 1 - y, size - 1 - x]
        out[i, 12] = peak
        if partner[i] < 0:
            out[i, 16:19] = np.nan
