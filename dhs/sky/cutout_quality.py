"""Which cutouts are fit for training: a reason for each that is not.

nan           a pixel of the image or of invvar is not finite, or an invvar is negative
no_data       a band without inverse variance anywhere
blank         a band that is constant (zeros, as a service draws where it has nothing)
masked_centre too many bad pixels (no data, or a bad MASKBITS bit) where the galaxy is
masked        too many bad pixels in the stamp
"""

import numpy as np

from dhs.config.cutouts import CutoutQuality
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.sky.cutouts import good_pixels


def faults(
    images: np.ndarray, invvar: np.ndarray, maskbits: np.ndarray, *, quality: CutoutQuality
) -> tuple[list[str], list[str]]:
    """Reason (empty: fit) and one line of detail for each of n cutouts; (n,B,H,W), (n,B,H,W), (n,H,W)."""
    bad = ~good_pixels(invvar, maskbits, quality.bad_maskbits)
    size = images.shape[-1]
    axis = (np.arange(size) - 0.5 * (size - 1)) * PIXEL_SCALE_ARCSEC
    centre = np.hypot(axis[:, None], axis[None, :]) <= quality.centre_radius_arcsec
    bad_centre, bad_stamp = bad[..., centre].mean(axis=-1), bad.mean(axis=(2, 3))
    wrong = {
        "nan": ~(np.isfinite(images) & np.isfinite(invvar) & (invvar >= 0)).all(axis=(2, 3)),
        "no_data": ~(invvar > 0).any(axis=(2, 3)),
        "blank": images.max(axis=(2, 3)) == images.min(axis=(2, 3)),
        "masked_centre": bad_centre > quality.max_bad_centre,
        "masked": bad_stamp > quality.max_bad_stamp,
    }
    share = {"masked_centre": bad_centre, "masked": bad_stamp}
    reasons, details = [""] * len(images), [""] * len(images)
    for name, in_band in wrong.items():
        for row in np.flatnonzero(in_band.any(axis=1)).tolist():
            if not reasons[row]:
                band = int(np.argmax(in_band[row]))
                of_pixels = f": {share[name][row, band]:.0%} of the pixels" if name in share else ""
                reasons[row], details[row] = name, f"{BANDS[band]} band{of_pixels}"
    return reasons, details
