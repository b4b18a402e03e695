"""`CutoutSet`: the galaxies a stream injects into, as a struct of arrays (the contract of every sky)."""

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from dhs.constants import BAD_MASKBITS, CLASSES, SPLITS


class PixelRows(Protocol):
    """The pixels of N cutouts: a numpy array, or rows of a store that are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> Any: ...


@dataclass(frozen=True)
class CutoutSet:
    """N galaxies with their pixels and what is known of them.

    Shapes: N galaxies, B bands (g, r, z), H = W pixels; arrays may be memory-mapped and are read-only.
    """

    target_id: np.ndarray
    """(N,) int64, unique."""
    images: PixelRows
    """(N, B, H, W) float32, nanomaggies per pixel, the galaxy at (n-1)/2."""
    invvar: PixelRows
    """(N, B, H, W) float32, inverse variance, 1/nMgy^2; 0 marks a pixel without data."""
    maskbits: PixelRows
    """(N, H, W) int16, DR10 MASKBITS."""
    psf_fwhm_arcsec: np.ndarray
    """(N, B) float32, FWHM of the effective PSF (`psfsize`)."""
    psf_depth_mag: np.ndarray
    """(N, B) float32, 5-sigma point-source depth, AB magnitude."""
    ra_deg: np.ndarray
    """(N,) float64; NaN where the position is unknown."""
    dec_deg: np.ndarray
    """(N,) float64; NaN where the position is unknown."""
    kind: np.ndarray
    """(N,) int8, index into constants.CLASSES."""
    split: np.ndarray
    """(N,) int8, index into constants.SPLITS."""
    mag: np.ndarray
    """(N, B) float32, AB magnitude of the central galaxy; NaN where unknown."""
    axis_ratio: np.ndarray
    """(N,) float32, b/a of the central galaxy's light; NaN where unknown."""
    position_angle_rad: np.ndarray
    """(N,) float32, of the light's major axis, counter-clockwise from +x; NaN where unknown."""
    redshift: np.ndarray
    """(N,) float32, of the central galaxy; NaN where unknown."""
    psf_images: np.ndarray | None = None
    """(N, B, K, K) float32 effective PSF of each object and band (a coadd PSF), K odd, centre at (K-1)/2;
    None where the sky has only `psf_fwhm_arcsec`."""
    centre_x_arcsec: np.ndarray | None = None
    """(N,) float32, centre of the galaxy's light relative to the stamp's, +x to larger columns: the lens is put there.
    NaN (or None for all) where unknown: taken as 0."""
    centre_y_arcsec: np.ndarray | None = None
    """(N,) float32, as centre_x_arcsec, +y to larger rows."""
    origin: np.ndarray | None = None
    """(N,) str, what a stamp is when it is no survey cutout ("simulated telescope: ..."), "" where it is one;
    None: survey cutouts throughout. Whoever shows or counts stamps shows this too."""

    psf_e1: np.ndarray | None = None
    """(N, B) float32, (1-q)/(1+q) cos 2phi of the PSF; None: round."""
    psf_e2: np.ndarray | None = None
    """(N, B) float32, (1-q)/(1+q) sin 2phi of the PSF; None: round."""

    def __post_init__(self) -> None:
        for field in fields(self):
            array = getattr(self, field.name)
            if array is not None and len(array) != len(self.target_id):
                raise ValueError(f"CutoutSet.{field.name} has {len(array)} rows, target_id {len(self.target_id)}")

    def __len__(self) -> int:
        return len(self.target_id)

    @property
    def stamp_size_px(self) -> int:
        return int(self.images.shape[-1])

    def take(self, rows: np.ndarray | slice) -> "CutoutSet":
        """The galaxies at ``rows``."""
        taken: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, array in taken.items():
            taken[name] = None if array is None else array[rows]
        return CutoutSet(**taken)

    def rows_of(self, target_id: np.ndarray) -> np.ndarray:
        """(B,) row of each (B,) ``target_id``; -1 where the sky does not have it."""
        order = np.argsort(self.target_id, kind="stable")
        place = np.searchsorted(self.target_id, target_id, sorter=order)
        rows = order[np.minimum(place, len(order) - 1)]
        return np.where(self.target_id[rows] == target_id, rows, -1)

    def rows(self, *, split: str, classes: tuple[str, ...] = CLASSES) -> np.ndarray:
        """Row numbers, ascending, of the galaxies of ``split`` whose class is one of ``classes``."""
        codes = [CLASSES.index(name) for name in classes]
        return np.flatnonzero((self.split == SPLITS.index(split)) & np.isin(self.kind, codes))


def good_pixels(invvar: np.ndarray, maskbits: np.ndarray, bad_bits: tuple[int, ...] = BAD_MASKBITS) -> np.ndarray:
    """True where a pixel may be used: data in the band, no bad bit. (..., B, H, W) from invvar and (..., H, W)."""
    bad = np.int16(sum(1 << bit for bit in bad_bits))
    return (invvar > 0) & ((maskbits & bad) == 0)[..., None, :, :]
