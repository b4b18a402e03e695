"""`Fetched`: what a source of cutouts (coadd bricks, the cutout service) brings back for n targets."""

from dataclasses import dataclass, field

import numpy as np

from dhs.constants import BANDS

NOT_OBTAINED = (
    "bad_position",
    "brick_missing",
    "brick_unreadable",
    "outside_brick",
    "not_served",
    "rate_limited",
    "server_error",
    "timeout",
    "unreachable",
    "truncated",
    "not_fits",
    "wrong_size",
    "wrong_bands",
    "wrong_scale",
    "wrong_position",
    "psf_unknown",
)
"""Reasons for which no pixels came; `retry_failed` tries these again, and they count against the threshold."""

REJECTED = ("edge", "nan", "blank", "no_data", "masked_centre", "masked")
"""Reasons for which pixels came but are not fit for training."""


@dataclass
class Fetched:
    """n cutouts, row i that of target i; rows with a ``reason`` hold nothing of use."""

    images: np.ndarray
    """(n, B, H, W) float32, nanomaggies."""
    invvar: np.ndarray
    """(n, B, H, W) float32, 1/nMgy^2."""
    maskbits: np.ndarray
    """(n, H, W) int16."""
    psfsize_arcsec: np.ndarray
    """(n, B) float32; NaN where the source does not know it."""
    centre_arcsec: np.ndarray
    """(n, 2) float32: the target minus the stamp's centre (n-1)/2, along +x and +y of the stamp."""
    reason: list[str]
    """Empty, or one of NOT_OBTAINED or REJECTED."""
    detail: list[str]
    """One line for the ledger."""
    brick: list[str]
    """The brick that the pixels come from; empty for the service's mosaic."""
    invvar_source: list[str] = field(default_factory=list)
    """`coadd`, `service`, or `border` (measured in the stamp's own outer ring)."""

    def fail(self, row: int, reason: str, detail: str) -> None:
        """Mark a target as not to be had."""
        assert reason in NOT_OBTAINED + REJECTED, reason
        self.reason[row], self.detail[row] = reason, " ".join(detail.split())


def empty_fetched(n: int, *, size_px: int, invvar_source: str) -> Fetched:
    """All zeros, psfsize NaN."""
    shape = (n, len(BANDS), size_px, size_px)
    return Fetched(
        images=np.zeros(shape, np.float32),
        invvar=np.zeros(shape, np.float32),
        maskbits=np.zeros((n, size_px, size_px), np.int16),
        psfsize_arcsec=np.full((n, len(BANDS)), np.nan, np.float32),
        centre_arcsec=np.zeros((n, 2), np.float32),
        reason=[""] * n,
        detail=[""] * n,
        brick=[""] * n,
        invvar_source=[invvar_source] * n,
    )
