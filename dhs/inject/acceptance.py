"""Draws arcs until they pass the acceptance cuts, a batch of galaxies at a time.

Every galaxy keeps the first of its own draws that passes, so the result does not depend on what else is in the batch
nor on how many candidates are traced at once. When the tries are used up, the last draw is kept as it is.
The galaxy itself is never redrawn: hosts and controls must have the same depth and seeing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from dhs.config.injection import Acceptance
from dhs.constants import BANDS
from dhs.inject.prior import ArcDraw
from dhs.inject.recipe import RecipeBatch
from dhs.inject.renderer import Renderer
from dhs.lens.photometry import ArcSnr, arc_snr

MIN_CANDIDATES = 16
"""When few galaxies are left, this many candidates are traced together: small batches waste their overhead."""


class AcceptedArcs(NamedTuple):
    """Arcs of P galaxies."""

    draws: list[ArcDraw]
    images_nmgy: torch.Tensor
    """(P, bands, N, N) float32, after the PSF."""
    magnification: np.ndarray
    """(P,) float32."""
    snr: ArcSnr
    """(P, bands) each."""
    accepted: np.ndarray
    """(P,) bool; False where the tries were used up."""


def draw_accepted_arcs(
    rngs: Sequence[np.random.Generator],
    *,
    draw: Callable[[int, np.random.Generator], ArcDraw],
    recipes_of: Callable[[np.ndarray, Sequence[ArcDraw]], RecipeBatch],
    renderer: Renderer,
    invvar: torch.Tensor,
    good: torch.Tensor,
    acceptance: Acceptance | None,
) -> AcceptedArcs:
    """One arc for each of the P galaxies of ``invvar`` and ``good`` (P, bands, N, N); None accepts every draw.

    ``draw(i, rng)`` draws for galaxy i; ``recipes_of(owners, draws)`` makes recipes of draws for galaxies ``owners``.
    """
    shape = invvar.shape
    images, magnification = torch.zeros(shape), np.full(shape[0], np.nan, dtype=np.float32)
    peak, integrated = torch.full(shape[:2], torch.nan), torch.full(shape[:2], torch.nan)
    chosen: dict[int, ArcDraw] = {}
    accepted = np.zeros(shape[0], dtype=bool)
    pending, tries_left = np.arange(shape[0]), acceptance.max_tries if acceptance else 1
    while len(pending):
        each = min(tries_left, max(1, MIN_CANDIDATES // len(pending)))
        tries_left -= each
        owners = np.repeat(pending, each)
        draws = [draw(int(i), rngs[int(i)]) for i in owners]
        batch = _measure(
            owners,
            recipes_of(owners, draws),
            renderer=renderer,
            invvar=invvar,
            good=good,
            acceptance=acceptance,
            is_last=_last_of_each(len(pending), each) & (tries_left == 0),
        )
        kept = _first_of_each(owners, batch.passed, force_last=tries_left == 0, each=each)
        where, position = owners[kept], batch.position[kept]
        images[where], magnification[where] = batch.images[position], batch.magnification[kept]
        peak[where], integrated[where] = batch.snr.peak[position], batch.snr.integrated[position]
        accepted[where] = batch.passed[kept]
        chosen |= {int(owners[i]): draws[i] for i in kept}
        pending = np.setdiff1d(pending, where, assume_unique=True)
    ordered = [chosen[i] for i in range(shape[0])]
    return AcceptedArcs(ordered, images, magnification, ArcSnr(peak, integrated), accepted)


class _Candidates(NamedTuple):
    passed: np.ndarray
    magnification: np.ndarray
    position: np.ndarray
    """Row of each candidate in ``images`` and ``snr``; -1 for those that failed before the PSF."""
    images: torch.Tensor
    snr: ArcSnr


def _measure(
    owners: np.ndarray,
    recipes: RecipeBatch,
    *,
    renderer: Renderer,
    invvar: torch.Tensor,
    good: torch.Tensor,
    acceptance: Acceptance | None,
    is_last: np.ndarray,
) -> _Candidates:
    """Cheap cuts first: resolution from the recipe, magnification from the ray trace, S/N from the finished arc."""
    passed = np.ones(len(owners), dtype=bool)
    if acceptance:
        red = recipes.psf_fwhm_arcsec[:, BANDS.index("r")]
        passed &= recipes.theta_e_arcsec / red >= acceptance.min_theta_e_over_psf
    trace_rows = np.flatnonzero(passed | is_last)
    traced = renderer.trace(recipes.take(trace_rows)) if len(trace_rows) else torch.zeros(0, *invvar.shape[-2:])
    magnification = np.full(len(owners), np.nan, dtype=np.float32)
    magnification[trace_rows] = traced.sum(dim=(-2, -1)).numpy()
    if acceptance:
        passed &= magnification >= acceptance.min_magnification
    observe_rows = np.flatnonzero(passed | is_last)
    picked = torch.from_numpy(np.searchsorted(trace_rows, observe_rows))
    if len(observe_rows):
        images = renderer.observe(traced[picked], recipes=recipes.take(observe_rows))
    else:
        images = torch.zeros(0, *invvar.shape[1:])
    galaxies = torch.from_numpy(owners[observe_rows])
    snr = arc_snr(images, invvar=invvar[galaxies], good=good[galaxies])
    if acceptance:
        bright = snr.integrated.amax(dim=1).numpy() >= acceptance.min_arc_snr_sum
        passed[observe_rows] &= bright
    position = np.full(len(owners), -1)
    position[observe_rows] = np.arange(len(observe_rows))
    return _Candidates(passed, magnification, position, images, snr)


def _last_of_each(n_owners: int, each: int) -> np.ndarray:
    return np.tile(np.arange(each) == each - 1, n_owners)


def _first_of_each(owners: np.ndarray, passed: np.ndarray, *, force_last: bool, each: int) -> np.ndarray:
    """Index of the first passing candidate of every owner that has one; with ``force_last`` its last otherwise."""
    table = passed.reshape(-1, each)
    first = np.where(table.any(axis=1), table.argmax(axis=1), each - 1 if force_last else -1)
    rows = np.flatnonzero(first >= 0)
    return rows * each + first[rows]
