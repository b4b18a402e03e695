"""The CPU ray tracer: one compiled pass per stamp, no temporaries, only the pixels that can reach the source.

Why its own code: numpy and torch write every intermediate of 65,536 rays to memory; here a ray lives in registers.
Per stamp: (1) one ray per survey pixel and a rigorous bound of the pixel's footprint in the source plane (Jacobian
eigenvalues 1 and 1 - 2 kappa, plus |gamma|) decide which pixels can see the source: about one in eight; (2) those are
supersampled, and each sub-ray reads the template in place, bilinearly, zero beyond one pixel outside the edge.

Every pixel is computed by the same instructions in the same order whatever else is in the batch, so a stamp's bits do
not depend on its batch or on the number of threads. atan and atanh are polynomials (Abramowitz & Stegun 4.4.49; Cephes
logf), good to 1e-7, because calls into the maths library would keep the loops from being vectorised; for f < 0.3
(q > 0.954) both are power series in f, which has no cancellation and is exact at q = 1.

The same physics in torch, dense, for the GPU and as a check: `dhs.lens.raytrace`.
Shapes: B stamps, C channels, N survey pixels a side, S template pixels a side, K templates in the stack.
"""

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from dhs.lens.sie import CORE_ARCSEC, MAX_AXIS_RATIO

FAST = {"contract", "arcp", "nsz", "nnan", "ninf"}
"""Everything but reassociation: sums keep their order."""
SERIES_BELOW = np.float32(0.3)
"""Flattening f = sqrt(1 - q^2) below which both arcs are power series (truncation 2e-9)."""
NEAREST_PSI_ARCSEC = np.float32(1e-3)
"""Keeps the footprint's bound finite at the lens's centre."""
MAX_SUPERSAMPLING = 16
"""Where adaptive supersampling ends."""
BLUR_TEMPLATE_PX = np.float32(1.5)
"""Bilinear interpolation spreads light by up to sqrt(2) template pixels beyond the support."""


@intrinsic
def _bits(typingctx, value):  # type: ignore[no-untyped-def]
    """The 32 bits of a float32 as an integer."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), code


@intrinsic
def _float(typingctx, value):  # type: ignore[no-untyped-def]
    """The float32 of 32 bits."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), code


@njit(fastmath=FAST, inline="always")
def _log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm of a positive normal float32 (Cephes logf; 1e-7)."""
    bits = _bits(x)
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    z = _float(bits - (exponent << np.int32(23))) - np.float32(1)
    y = np.float32(7.0376836292e-2) * z - np.float32(1.1514610310e-1)
    y = y * z + np.float32(1.1676998740e-1)
    y = y * z - np.float32(1.2420140846e-1)
    y = y * z + np.float32(1.4249322787e-1)
    y = y * z - np.float32(1.6668057665e-1)
    y = y * z + np.float32(2.0000714765e-1)
    y = y * z - np.float32(2.4999993993e-1)
    y = y * z + np.float32(3.3333331174e-1)
    zz = z * z
    e = np.float32(exponent)
    y = y * z * zz - np.float32(2.12194440e-4) * e - np.float32(0.5) * zz
    return z + y + np.float32(0.693359375) * e


@njit(fastmath=FAST, inline="always")
def _atan_ratio(above, below):  # type: ignore[no-untyped-def]
    """atan(above / below) for below > 0 (Abramowitz & Stegun 4.4.49; 2e-8)."""
    size = abs(above)
    swap = size > below
    t = (below if swap else size) / (size if swap else below)
    z = t * t
    p = np.float32(0.0028662257) * z - np.float32(0.0161657367)
    p = p * z + np.float32(0.0429096138)
    p = p * z - np.float32(0.0752896400)
    p = p * z + np.float32(0.1065626393)
    p = p * z - np.float32(0.1420889944)
    p = p * z + np.float32(0.1999355085)
    p = p * z - np.float32(0.3333314528)
    angle = p * z * t + t
    angle = np.float32(1.5707963267948966) - angle if swap else angle
    return -angle if above < np.float32(0) else angle


@njit(fastmath=FAST, inline="always")
def _deflection(major, minor, psi, flattening, strength, b, is_series):  # type: ignore[no-untyped-def]
    """SIE deflection along its own axes (`dhs.lens.sie`)."""
    if is_series:
        inverse = np.float32(1) / psi
        u, v = major * inverse, minor * inverse
        z, w = flattening * flattening * u * u, flattening * flattening * v * v
        # atan(fu)/f = u (1 - z/3 + z^2/5 - ...), atanh(fv)/f = v (1 + w/3 + w^2/5 + ...)
        a = np.float32(1 / 13) - z * np.float32(1 / 15)
        a = np.float32(1 / 11) - z * a
        a = np.float32(1 / 9) - z * a
        a = np.float32(1 / 7) - z * a
        a = np.float32(1 / 5) - z * a
        a = np.float32(1 / 3) - z * a
        h = np.float32(1 / 13) + w * np.float32(1 / 15)
        h = np.float32(1 / 11) + w * h
        h = np.float32(1 / 9) + w * h
        h = np.float32(1 / 7) + w * h
        h = np.float32(1 / 5) + w * h
        h = np.float32(1 / 3) + w * h
        return b * u * (np.float32(1) - z * a), b * v * (np.float32(1) + w * h)
    along = flattening * minor
    half_log = np.float32(0.5) * _log((psi + along) / (psi - along))
    return strength * _atan_ratio(flattening * major, psi), strength * half_log


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _system(lens, placement, pixel_scale, template_scale, template_px):  # type: ignore[no-untyped-def]
    """What every ray of a stamp needs, as float32 scalars."""
    q = min(lens[1], np.float32(MAX_AXIS_RATIO))
    flattening = np.sqrt((np.float32(1) - q) * (np.float32(1) + q))
    b = lens[0] * np.sqrt(q)
    return (
        q, b, flattening, b / flattening,
        np.float32(np.cos(lens[2])), np.float32(np.sin(lens[2])), lens[3], lens[4], lens[5], lens[6],
        placement[0], placement[1],
        np.float32(np.cos(placement[2])), np.float32(np.sin(placement[2])),
        np.float32(1) / template_scale, np.float32(template_px - 1) * np.float32(0.5),
        placement[3] + BLUR_TEMPLATE_PX * template_scale, pixel_scale,
    )  # fmt: skip


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _source_offset(x, y, system):  # type: ignore[no-untyped-def]
    """The ray's place in the source plane from the source's centre, arcsec, and its elliptical radius psi."""
    q, b, flattening, strength, cos, sin, gamma1, gamma2, lens_x, lens_y, source_x, source_y = system[:12]
    dx, dy = x - lens_x, y - lens_y
    major, minor = cos * dx + sin * dy, cos * dy - sin * dx
    psi = np.sqrt(q * q * major * major + minor * minor + np.float32(CORE_ARCSEC * CORE_ARCSEC))
    along, across = _deflection(major, minor, psi, flattening, strength, b, flattening < SERIES_BELOW)
    beta_x = x - (cos * along - sin * across) - (gamma1 * x + gamma2 * y) - source_x
    beta_y = y - (sin * along + cos * across) - (gamma2 * x - gamma1 * y) - source_y
    return beta_x, beta_y, psi


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _find_reachable(keep, system):  # type: ignore[no-untyped-def]
    """Set ``keep`` (N, N): may the pixel's footprint in the source plane touch the source's support?"""
    size_px = keep.shape[0]
    b, gamma1, gamma2, reach, pixel_scale = system[1], system[6], system[7], system[16], system[17]
    middle = np.float32(size_px - 1) * np.float32(0.5)
    half_diagonal = pixel_scale * np.float32(0.7071067811865476)
    shear = np.sqrt(gamma1 * gamma1 + gamma2 * gamma2)
    for j in range(size_px):
        y = (np.float32(j) - middle) * pixel_scale
        for i in range(size_px):
            beta_x, beta_y, psi = _source_offset((np.float32(i) - middle) * pixel_scale, y, system)
            two_kappa = b / max(psi - half_diagonal, NEAREST_PSI_ARCSEC)
            limit = reach + half_diagonal * (max(abs(two_kappa - np.float32(1)), np.float32(1)) + shear)
            keep[j, i] = beta_x * beta_x + beta_y * beta_y <= limit * limit


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _set_rays(rays, supersampling, pixel_scale):  # type: ignore[no-untyped-def]
    """Set ``rays`` (2, at least supersampling^2) to the offsets of the uniform sub-pixel centres, arcsec."""
    step = pixel_scale / np.float32(supersampling)
    first = np.float32(supersampling - 1) * np.float32(0.5)
    for s in range(supersampling * supersampling):
        rays[0, s] = (np.float32(s % supersampling) - first) * step
        rays[1, s] = (np.float32(s // supersampling) - first) * step


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _pixel(out, j, i, size_px, template, system, rays, n_sub, work):  # type: ignore[no-untyped-def]
    """Set ``out`` (C,) to the flux of pixel (j, i): the mean over ``n_sub`` ``rays``; ``work`` (3, at least n_sub)."""
    turn_cos, turn_sin, to_px, centre, pixel_scale = system[12], system[13], system[14], system[15], system[17]
    middle = np.float32(size_px - 1) * np.float32(0.5)
    x0, y0 = (np.float32(i) - middle) * pixel_scale, (np.float32(j) - middle) * pixel_scale
    columns, lines, values = work[0], work[1], work[2]
    low, high = centre, centre
    for s in range(n_sub):
        beta_x, beta_y, _ = _source_offset(x0 + rays[0, s], y0 + rays[1, s], system)
        columns[s] = (turn_cos * beta_x + turn_sin * beta_y) * to_px + centre
        lines[s] = (turn_cos * beta_y - turn_sin * beta_x) * to_px + centre
    for s in range(n_sub):
        low = min(low, min(columns[s], lines[s]))
        high = max(high, max(columns[s], lines[s]))
    inside = low >= np.float32(0) and high < np.float32(template.shape[1] - 1)
    weight = (pixel_scale * to_px) * (pixel_scale * to_px) / np.float32(n_sub)
    for c in range(template.shape[0]):
        if inside:
            _interpolate_inside(template[c], columns, lines, values, n_sub)
        else:
            _interpolate_anywhere(template[c], columns, lines, values, n_sub)
        total = np.float32(0)
        for s in range(n_sub):
            total += values[s]
        out[c] = total * weight


@njit(nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _interpolate_inside(template, columns, lines, values, n_sub):  # type: ignore[no-untyped-def]
    """Bilinear ``values`` at points whose four neighbours are all in the template."""
    flat, width = template.reshape(-1), np.int32(template.shape[1])
    for s in range(n_sub):
        i0, j0 = np.int32(columns[s]), np.int32(lines[s])
        wx, wy = columns[s] - np.float32(i0), lines[s] - np.float32(j0)
        corner = j0 * width + i0
        below = flat[corner] + wx * (flat[corner + 1] - flat[corner])
        above = flat[corner + width] + wx * (flat[corner + width + 1] - flat[corner + width])
        values[s] = below + wy * (above - below)


@njit(nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _interpolate_anywhere(template, columns, lines, values, n_sub):  # type: ignore[no-untyped-def]
    """Bilinear ``values`` at any points; light falls to zero one pixel beyond the template's edge."""
    last = template.shape[0] - 1
    low, high = np.float32(-1), np.float32(last + 1)
    for s in range(n_sub):
        x, y = min(max(columns[s], low), high), min(max(lines[s], low), high)
        fx, fy = np.floor(x), np.floor(y)
        i0, j0 = np.int32(fx), np.int32(fy)
        wx, wy = x - fx, y - fy
        left = np.float32(1) - wx if i0 >= 0 and i0 <= last else np.float32(0)
        right = wx if i0 + 1 <= last else np.float32(0)
        bottom = np.float32(1) - wy if j0 >= 0 and j0 <= last else np.float32(0)
        top = wy if j0 + 1 <= last else np.float32(0)
        i1, j1 = min(i0 + 1, last), min(j0 + 1, last)
        i0, j0 = min(max(i0, 0), last), min(max(j0, 0), last)
        below = left * template[j0, i0] + right * template[j0, i1]
        above = left * template[j1, i0] + right * template[j1, i1]
        values[s] = bottom * below + top * above


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def trace_culled(  # type: ignore[no-untyped-def]
    images, stack, row, lens, placement, pixel_scale, supersampling, template_scale
):
    """Write the lensed unit-flux sources of B stamps into ``images`` (B, C, N, N) float32, flux per survey pixel.

    ``stack`` (K, C, S, S) float32, ``row`` (B,) int64 into it; ``lens`` (B, 7) float32: theta_E, q, phi, gamma1,
    gamma2, x, y; ``placement`` (B, 4) float32: source x, y, rotation, support radius. Angles rad, the rest arcsec.
    """
    size_px = images.shape[2]
    keep = np.empty((size_px, size_px), np.uint8)
    n_sub = supersampling * supersampling
    rays, work = np.empty((2, n_sub), np.float32), np.empty((3, n_sub), np.float32)
    _set_rays(rays, supersampling, pixel_scale)
    flux = np.empty(images.shape[1], np.float32)
    for k in range(len(row)):
        template = stack[row[k]]
        system = _system(lens[k], placement[k], pixel_scale, template_scale, template.shape[1])
        _find_reachable(keep, system)
        for j in range(size_px):
            for i in range(size_px):
                if keep[j, i]:
                    _pixel(flux, j, i, size_px, template, system, rays, n_sub, work)
                    images[k, :, j, i] = flux
                else:
                    images[k, :, j, i] = 0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def trace_adaptive(  # type: ignore[no-untyped-def]
    images, stack, row, lens, placement, pixel_scale, max_error, template_scale
):
    """As `trace_culled`, but a pixel is supersampled until its estimated error is below ``max_error`` of the peak.

    Every pixel that can see the source gets 2x2 and 4x4 rays, then 8x8 and 16x16 where the last doubling changed it or
    a neighbour by more than ``max_error`` (a doubling leaves about a fifth of its own change).
    """
    size_px, channels = images.shape[2], images.shape[1]
    keep = np.empty((size_px, size_px), np.uint8)
    work = np.empty((3, MAX_SUPERSAMPLING * MAX_SUPERSAMPLING), np.float32)
    rays = np.empty((4, 2, MAX_SUPERSAMPLING * MAX_SUPERSAMPLING), np.float32)
    for level in range(4):
        _set_rays(rays[level], 2 << level, pixel_scale)
    flux = np.empty(channels, np.float32)
    change = np.zeros((size_px, size_px), np.float32)
    todo = np.empty((size_px, size_px), np.uint8)
    for k in range(len(row)):
        template, image = stack[row[k]], images[k]
        system = _system(lens[k], placement[k], pixel_scale, template_scale, template.shape[1])
        _find_reachable(keep, system)
        image[:] = 0
        peak = np.float32(0)
        for j in range(size_px):
            for i in range(size_px):
                if keep[j, i]:
                    _pixel(flux, j, i, size_px, template, system, rays[0], 4, work)
                    image[:, j, i] = flux
                    _pixel(flux, j, i, size_px, template, system, rays[1], 16, work)
                    change[j, i] = np.abs(flux - image[:, j, i]).max()
                    image[:, j, i] = flux
                    peak = max(peak, flux.max())
        for level in (2, 3):
            _mark_changing(todo, change, keep, max_error * peak)
            for j in range(size_px):
                for i in range(size_px):
                    if todo[j, i]:
                        _pixel(flux, j, i, size_px, template, system, rays[level], 4 << (2 * level), work)
                        change[j, i] = np.abs(flux - image[:, j, i]).max()
                        image[:, j, i] = flux


@njit(nogil=True, fastmath=FAST)
def _mark_changing(todo, change, keep, threshold):  # type: ignore[no-untyped-def]
    """Set ``todo`` where the pixel or one of its eight neighbours changed by more than ``threshold``.

    The neighbours because a caustic that runs through one pixel's corner may fall between the rays of the next.
    """
    size_px = keep.shape[0]
    todo[:] = 0
    for j in range(size_px):
        for i in range(size_px):
            if keep[j, i] and change[j, i] > threshold:
                for y in range(max(j - 1, 0), min(j + 2, size_px)):
                    for x in range(max(i - 1, 0), min(i + 2, size_px)):
                        todo[y, x] = keep[y, x]
