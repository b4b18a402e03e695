"""The CPU's ray tracer: only pixels that can see the source, no temporaries, one pass, machine code.

For each stamp, one ray a survey pixel is traced first and the pixel's footprint in the source plane bounded; pixels
whose bound misses the source's support are dark (about nine in ten). The others get supersampling^2 rays, a block of
BLOCK at a time so that everything stays in the first-level cache, sampled straight out of the uncopied template stack.
The result is that of `dhs.lens.raytrace.trace_dense` (a test holds it).

Everything linear in the ray is folded into coefficients, in template pixels:

    column = c0 + cx x + cy y - (b / f / scale) (cos(rho - phi) A + sin(rho - phi) H)
    row    = r0 + rx x + ry y - (b / f / scale) (cos(rho - phi) H - sin(rho - phi) A)

with A = atan(f x' / psi), H = atanh(f y' / psi) the SIE's deflection along its own axes x', y' (`dhs.lens.sie`),
f = sqrt(1 - q^2), phi the lens's angle, rho the source's rotation. A and H come from polynomials that are good to
1e-7 and have no calls and no branches, so the compiler works on 8 or 16 rays at once.
"""

import math

import numpy as np

from dhs.lens.compiled import inlined, machine_code, part
from dhs.lens.sie import CORE_ARCSEC, MAX_AXIS_RATIO
from dhs.lens.threads import in_threads

BLOCK = 1024
"""Rays at once: a dozen buffers of 4 kB."""

SAFETY = 4.0
"""A change seen between two steps may be small by chance. With knots of one template pixel, theta_E 0.3 to 4 arcsec
and q 0.2 to 1, the error exceeded the change allowed in 20 of 1,600 stamps, by up to 4.2 times; with 4 in none."""

BLUR_PX = 1.5
"""Bilinear sampling spreads a template by less than this."""

MIN_PSI_ARCSEC = np.float32(1e-3)
"""The stretch is bounded no nearer to the singular centre: pixels there are kept whatever they are."""

F = np.float32
ZERO, ONE = F(0), F(1)
CORE_SQUARED = F(CORE_ARCSEC**2)
LN2, QUARTER_PI, HALF_PI = F(math.log(2)), F(math.pi / 4), F(math.pi / 2)
TAN_PI_8, TAN_3PI_8 = F(math.tan(math.pi / 8)), F(math.tan(3 * math.pi / 8))

# Cephes atanf (S. Moshier): odd minimax polynomial on |z| < tan(pi/8), relative error 2e-8.
A0, A1, A2, A3 = F(8.05374449538e-2), F(-1.38776856032e-1), F(1.99777106478e-1), F(-3.33329491539e-1)
# atanh z = z + z^3/3 + z^5/5 ... on |z| <= 1/3: the first term left out is 2e-9 of z.
H3, H5, H7, H9, H11, H13, H15 = (F(1 / n) for n in (3, 5, 7, 9, 11, 13, 15))

# Columns of the coefficients.
LENS_X, LENS_Y, COS, SIN, AXIS_RATIO, FLATTENING = range(6)
C0, CX, CY, CA, CH, R0, RX, RY, RA, RH = range(6, 16)
STRENGTH, SHEAR, REACH = range(16, 19)
N_COEFFICIENTS = 19


def coefficients(
    lens: np.ndarray, *, placement: np.ndarray, template_scale_arcsec: float, template_size_px: int
) -> np.ndarray:
    """(B, N_COEFFICIENTS) float32, computed in float64.

    ``lens`` (7, B): theta_E, q, phi, gamma1, gamma2, x, y; ``placement`` (4, B): source x, y, rotation, support
    radius. Angles rad, the rest arcsec.
    """
    theta_e, axis_ratio, phi, gamma1, gamma2, x, y = lens.astype(np.float64)
    source_x, source_y, rotation, support = placement.astype(np.float64)
    q = np.minimum(axis_ratio, MAX_AXIS_RATIO)
    flattening = np.sqrt((1 - q) * (1 + q))
    scale, centre = template_scale_arcsec, (template_size_px - 1) / 2
    cos, sin = np.cos(rotation) / scale, np.sin(rotation) / scale
    strength = theta_e * np.sqrt(q)
    along = strength / flattening * np.cos(rotation - phi) / scale
    across = strength / flattening * np.sin(rotation - phi) / scale
    columns = {
        LENS_X: x,
        LENS_Y: y,
        COS: np.cos(phi),
        SIN: np.sin(phi),
        AXIS_RATIO: q,
        FLATTENING: flattening,
        C0: centre - cos * source_x - sin * source_y,
        CX: cos * (1 - gamma1) - sin * gamma2,
        CY: sin * (1 + gamma1) - cos * gamma2,
        CA: -along,
        CH: -across,
        R0: centre - cos * source_y + sin * source_x,
        RX: -sin * (1 - gamma1) - cos * gamma2,
        RY: cos * (1 + gamma1) + sin * gamma2,
        RA: across,
        RH: -along,
        STRENGTH: strength,
        SHEAR: np.hypot(gamma1, gamma2),
        REACH: support / scale + BLUR_PX,
    }
    return np.ascontiguousarray(np.stack([columns[i] for i in range(N_COEFFICIENTS)], axis=1).astype(np.float32))


def trace_culled(
    stack: np.ndarray,
    *,
    row: np.ndarray,
    lens: np.ndarray,
    placement: np.ndarray,
    template_scale_arcsec: float,
    size_px: int,
    pixel_scale_arcsec: float,
    ladder: tuple[int, ...],
    max_error: float,
) -> np.ndarray:
    """(B, C, N, N) float32 flux per survey pixel of the templates ``stack`` (K, C, S, S) float32 at ``row`` (B,).

    ``lens`` and ``placement`` as in `coefficients`. ``ladder`` (4,) traces every pixel in reach at 4 x 4. A longer one
    climbs: a pixel goes on to the next step while it, or a neighbour, changed by more than ``max_error / SAFETY`` of
    the stamp's brightest pixel in the last one (the neighbours because a caustic that runs through one pixel's corner
    may fall between the rays of the next). Runs on torch's number of threads, with the same bits for any.
    """
    assert max(ladder) ** 2 <= BLOCK
    channels, template_size = stack.shape[1], stack.shape[-1]
    numbers = coefficients(
        lens, placement=placement, template_scale_arcsec=template_scale_arcsec, template_size_px=template_size
    )
    flat = np.ascontiguousarray(stack).reshape(-1)
    first = np.asarray(row, np.int64) * channels * template_size**2
    axis = ((np.arange(size_px) - (size_px - 1) / 2) * pixel_scale_arcsec).astype(np.float32)
    offsets = np.concatenate([((np.arange(n) + 0.5) / n - 0.5) * pixel_scale_arcsec for n in ladder])
    out = np.empty((len(row), channels, size_px, size_px), np.float32)

    def work(chosen: slice) -> None:
        trace_stamps(
            flat,
            first[chosen],
            template_size,
            numbers[chosen],
            axis,
            np.array(ladder, np.int64),
            offsets.astype(np.float32),
            template_scale_arcsec,
            (pixel_scale_arcsec / template_scale_arcsec) ** 2,
            max_error / SAFETY,
            out[chosen],
        )

    in_threads(work, len(row))
    return out


@inlined
def _atan_ratio(numerator, denominator):  # type: ignore[no-untyped-def]
    """atan(numerator / denominator) for a positive denominator, with one division."""
    size = abs(numerator)
    steep, diagonal = size > TAN_3PI_8 * denominator, size > TAN_PI_8 * denominator
    top = -denominator if steep else (size - denominator if diagonal else size)
    bottom = size if steep else (size + denominator if diagonal else denominator)
    start = HALF_PI if steep else (QUARTER_PI if diagonal else ZERO)
    z = top / bottom
    z2 = z * z
    angle = start + ((((A0 * z2 + A1) * z2 + A2) * z2 + A3) * z2 * z + z)
    return -angle if numerator < ZERO else angle


@inlined
def _atanh_ratio(numerator, denominator):  # type: ignore[no-untyped-def]
    """atanh(numerator / denominator), |numerator| < denominator, with one division.

    atanh v = ln(s) / 2 + atanh z, z = ((1-s) + (1+s) v) / ((1+s) + (1-s) v), for s = 4^k near (1+v) / (1-v).
    """
    size = abs(numerator)
    plus, minus = denominator + size, denominator - size
    s, start = ONE, ZERO
    if plus > F(2) * minus:
        s, start = F(4), LN2
    if plus > F(8) * minus:
        s, start = F(16), F(2) * LN2
    if plus > F(32) * minus:
        s, start = F(64), F(3) * LN2
    if plus > F(128) * minus:
        s, start = F(256), F(4) * LN2
    z = ((ONE - s) * denominator + (ONE + s) * size) / ((ONE + s) * denominator + (ONE - s) * size)
    z2 = z * z
    tail = H3 + z2 * (H5 + z2 * (H7 + z2 * (H9 + z2 * (H11 + z2 * (H13 + z2 * H15)))))
    value = start + (z + z * z2 * tail)
    return -value if numerator < ZERO else value


@part
def _to_template(x, y, n, p, column, row):  # type: ignore[no-untyped-def]
    """Rays x, y (arcsec) to template pixels."""
    lens_x, lens_y, cos, sin, q, flattening = p[LENS_X], p[LENS_Y], p[COS], p[SIN], p[AXIS_RATIO], p[FLATTENING]
    c0, cx, cy, ca, ch = p[C0], p[CX], p[CY], p[CA], p[CH]
    r0, rx, ry, ra, rh = p[R0], p[RX], p[RY], p[RA], p[RH]
    for i in range(n):
        dx, dy = x[i] - lens_x, y[i] - lens_y
        major, minor = cos * dx + sin * dy, cos * dy - sin * dx
        flat = q * major
        psi = np.sqrt(flat * flat + minor * minor + CORE_SQUARED)
        a = _atan_ratio(flattening * major, psi)
        h = _atanh_ratio(flattening * minor, psi)
        column[i] = c0 + cx * x[i] + cy * y[i] + ca * a + ch * h
        row[i] = r0 + rx * x[i] + ry * y[i] + ra * a + rh * h


@part
def _pixels_in_reach(axis, p, template_size, template_scale, column, row, y, excess, pixels):  # type: ignore[no-untyped-def]
    """Fills ``pixels`` with those whose footprint may touch the source's support; returns how many.

    Footprint: half the pixel's diagonal times the bound of `dhs.lens.sie.max_stretch`.
    """
    n_px = axis.size
    half_diagonal = (axis[1] - axis[0]) * F(0.5**0.5)
    half_diagonal_px = half_diagonal / template_scale
    centre = F(0.5) * F(template_size - 1)
    lens_x, lens_y, cos, sin, q = p[LENS_X], p[LENS_Y], p[COS], p[SIN], p[AXIS_RATIO]
    strength, shear, reach = p[STRENGTH], p[SHEAR], p[REACH]
    found = 0
    for line in range(n_px):
        for i in range(n_px):
            y[i] = axis[line]
        _to_template(axis, y, n_px, p, column, row)
        for i in range(n_px):
            dx, dy = axis[i] - lens_x, axis[line] - lens_y
            flat, minor = q * (cos * dx + sin * dy), cos * dy - sin * dx
            psi = max(np.sqrt(flat * flat + minor * minor + CORE_SQUARED) - half_diagonal, MIN_PSI_ARCSEC)
            stretch = max(abs(strength / psi - ONE), ONE) + shear
            radius = reach + half_diagonal_px * stretch
            u, v = column[i] - centre, row[i] - centre
            excess[i] = u * u + v * v - radius * radius
        for i in range(n_px):
            pixels[found] = line * n_px + i
            found += 1 if excess[i] <= ZERO else 0
    return found


@part
def _weights(column, row, n, template_size, corner, left, right, below, above):  # type: ignore[no-untyped-def]
    """Bilinear weights ``max(0, 1 - |coordinate - pixel|)`` and the lower left pixel of each ray."""
    last = F(template_size - 2)
    width = np.int32(template_size)
    for i in range(n):
        x, y = column[i], row[i]
        column0 = min(max(np.floor(x), ZERO), last)
        row0 = min(max(np.floor(y), ZERO), last)
        left[i], right[i] = max(ONE - abs(x - column0), ZERO), max(ONE - abs(x - column0 - ONE), ZERO)
        below[i], above[i] = max(ONE - abs(y - row0), ZERO), max(ONE - abs(y - row0 - ONE), ZERO)
        corner[i] = np.int32(row0) * width + np.int32(column0)


@part
def _mean_sample(stack, first, template_size, corner, left, right, below, above, start, n):  # type: ignore[no-untyped-def]
    """Mean of the n rays from ``start`` on, of the template at ``first``."""
    total = ZERO
    for i in range(start, start + n):
        lower = np.uint64(first + corner[i])
        upper = lower + np.uint64(template_size)
        total += below[i] * (left[i] * stack[lower] + right[i] * stack[lower + np.uint64(1)]) + above[i] * (
            left[i] * stack[upper] + right[i] * stack[upper + np.uint64(1)]
        )
    return total / F(n)


@part
def _fill_rays(pixels, start, n, axis, offset, n_offset, x, y):  # type: ignore[no-untyped-def]
    """Sub-rays of the n pixels from ``start`` on."""
    n_px = axis.size
    ray = 0
    for i in range(start, start + n):
        centre_x, centre_y = axis[pixels[i] % n_px], axis[pixels[i] // n_px]
        for j in range(n_offset):
            for k in range(n_offset):
                x[ray], y[ray] = centre_x + offset[k], centre_y + offset[j]
                ray += 1


@part
def _climbs(before, after, pixels, n, n_px, limit, mark, next_pixels):  # type: ignore[no-untyped-def]
    """Fills ``next_pixels`` with those of ``pixels`` that changed by more than ``limit``, and their neighbours."""
    for i in range(n):
        mark[pixels[i]] = 0
    for i in range(n):
        changed = False
        for channel in range(after.shape[0]):
            value = after[channel, pixels[i]]
            changed |= abs(value - before[channel, pixels[i]]) > limit
        if changed:
            line, place = pixels[i] // n_px, pixels[i] % n_px
            for j in range(max(line - 1, 0), min(line + 2, n_px)):
                for k in range(max(place - 1, 0), min(place + 2, n_px)):
                    mark[j * n_px + k] = 1
    found = 0
    for i in range(n):
        next_pixels[found] = pixels[i]
        found += 1 if mark[pixels[i]] == 1 else 0
    return found


@machine_code(
    "void(float32[::1], int64[::1], int64, float32[:,::1], float32[::1], int64[::1], float32[::1], float64, float64,"
    " float64, float32[:,:,:,::1])"
)
def trace_stamps(  # type: ignore[no-untyped-def]
    stack, first, template_size, numbers, axis, ladder, offsets, template_scale, flux_factor, max_error, out
):
    """Stamps of (B, channels, N, N) ``out``: see `trace_culled`. ``first`` (B,) points into the flat ``stack``."""
    n_px, channels = axis.size, out.shape[1]
    pixels, next_pixels = np.empty(n_px * n_px + 1, np.int32), np.empty(n_px * n_px + 1, np.int32)
    mark = np.empty(n_px * n_px, np.uint8)
    before = np.empty((channels, n_px * n_px), np.float32)
    width = max(BLOCK, n_px)
    x, y, column, row = np.empty(width, F), np.empty(width, F), np.empty(width, F), np.empty(width, F)
    left, right, below, above = np.empty(BLOCK, F), np.empty(BLOCK, F), np.empty(BLOCK, F), np.empty(BLOCK, F)
    corner = np.empty(BLOCK, np.int32)
    for stamp in range(len(first)):
        p = numbers[stamp]
        image = out[stamp].reshape(channels, n_px * n_px)
        image[:] = ZERO
        n = _pixels_in_reach(axis, p, template_size, F(template_scale), column, row, y, x, pixels)
        offset_start = 0
        for step in range(len(ladder)):
            n_offset = ladder[step]
            offset = offsets[offset_start : offset_start + n_offset]
            offset_start += n_offset
            if step > 0:
                for channel in range(channels):
                    for i in range(n):
                        before[channel, pixels[i]] = image[channel, pixels[i]]
            rays_each = n_offset * n_offset
            at_once = BLOCK // rays_each
            for start in range(0, n, at_once):
                m = min(at_once, n - start)
                _fill_rays(pixels, start, m, axis, offset, n_offset, x, y)
                _to_template(x, y, m * rays_each, p, column, row)
                _weights(column, row, m * rays_each, template_size, corner, left, right, below, above)
                for channel in range(channels):
                    here = first[stamp] + channel * template_size * template_size
                    for i in range(m):
                        image[channel, pixels[start + i]] = F(flux_factor) * _mean_sample(
                            stack, here, template_size, corner, left, right, below, above, i * rays_each, rays_each
                        )
            if 0 < step < len(ladder) - 1:
                limit = F(max_error) * image.max()
                n = _climbs(before, image, pixels, n, n_px, limit, mark, next_pixels)
                for i in range(n):
                    pixels[i] = next_pixels[i]
