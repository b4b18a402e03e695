"""`StampSupply`: what training and evaluation ask of whoever makes stamps: injection on the fly, or a finished set.

`dhs.inject.injector.Injector` paints arcs as it is asked; `dhs.inject.stampset.fixed.FixedStamps` reads a set that was
painted before. Everything behind it (preprocessing, augmentation, loss, evaluation) is the same, so the two compare.
"""

from typing import Protocol

import numpy as np

from dhs.inject.stamp_batch import StampBatch
from dhs.rng import Purpose


class Galaxies(Protocol):
    """What is known of N galaxies beside their pixels; a stamp's `recipes.row` is a row of it."""

    @property
    def kind(self) -> np.ndarray:
        """(N,) int8, index into constants.CLASSES."""

    @property
    def psf_fwhm_arcsec(self) -> np.ndarray:
        """(N, B) float32."""

    @property
    def psf_depth_mag(self) -> np.ndarray:
        """(N, B) float32."""

    def __len__(self) -> int: ...


class StampSupply(Protocol):
    """Stamps by number: pure functions of their arguments."""

    @property
    def cutouts(self) -> Galaxies:
        """The galaxies behind the stamps."""

    def n_stamps(self, purpose: Purpose) -> int:
        """Length of the fixed set of VAL or TEST, or of one training epoch."""

    def assignments(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(B,) row of the galaxy and (B,) bool label of each of ``indices``, without making the stamps."""

    def stamps(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0, measure: bool = False) -> StampBatch:
        """The stamps of (B,) ``indices``; stamp i does not depend on the others, nor on ``measure``."""
