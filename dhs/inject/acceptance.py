"""Draws arcs that pass the acceptance cuts, a batch of galaxies at a time.

Geometry first: lens and source position are drawn until resolution and magnification pass. Then brightness: with the
geometry kept, magnitudes are drawn until the S/N passes. When the tries are used up the last draw is kept and marked.
The galaxy itself is never redrawn: hosts and controls must have the same depth and seeing.

A galaxy keeps the first of its own draws that passes, from generators of its own, so the result does not depend on
what else is in the batch nor on how many candidates are traced at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from dhs.config.injection import Acceptance, ColourConfig, LensConfig
from dhs.constants import BANDS
from dhs.inject.prior import ChooseSource, Geometry, Rngs, draw_geometry, draw_magnitudes
from dhs.inject.recipe import RecipeBatch, recipes_from
from dhs.inject.renderer import Renderer
from dhs.lens.photometry import ArcSnr, arc_snr, flux_nmgy
from dhs.sky.cutouts import CutoutSet

MIN_CANDIDATES = 16
"""When few galaxies are left, this many candidates are traced together: small batches waste their overhead."""


class Priors(NamedTuple):
    """What arcs are drawn from."""

    lens: LensConfig
    colour: ColourConfig
    choose_source: ChooseSource


class ArcBatch(NamedTuple):
    """Arcs of P galaxies."""

    recipes: RecipeBatch
    images_nmgy: torch.Tensor
    """(P, bands, N, N) float32, after the PSF."""
    magnification: np.ndarray
    """(P,) float32."""
    snr: ArcSnr
    """(P, bands) each."""
    accepted: np.ndarray
    """(P,) bool; False where the tries were used up."""


def draw_arcs(
    cutouts: CutoutSet,
    rows: np.ndarray,
    *,
    geometry_rngs: Rngs,
    photometry_rngs: Rngs,
    priors: Priors,
    renderer: Renderer,
    invvar: torch.Tensor,
    good: torch.Tensor,
    acceptance: Acceptance | None,
) -> ArcBatch:
    """One arc for each of the P galaxies ``rows``; ``invvar``, ``good`` (P, bands, N, N). None accepts every draw."""
    geometry, traced, passed = _geometry(
        cutouts, rows, rngs=geometry_rngs, priors=priors, renderer=renderer, acceptance=acceptance
    )
    recipes = recipes_from(cutouts, rows, geometry=geometry)
    unit = renderer.observe(traced, recipes=recipes)
    n_draws = acceptance.max_tries if acceptance else 1
    mags = draw_magnitudes(photometry_rngs, colour=priors.colour, n_draws=n_draws)
    chosen, bright = _brightness(unit, mags, invvar=invvar, good=good, acceptance=acceptance)
    source_mag = mags[np.arange(len(rows)), chosen]
    images = unit * _flux(source_mag)
    return ArcBatch(
        recipes=recipes_from(cutouts, rows, geometry=geometry, source_mag=source_mag),
        images_nmgy=images,
        magnification=magnification(traced),
        snr=arc_snr(images, invvar=invvar, good=good),
        accepted=passed & bright,
    )


def _geometry(
    cutouts: CutoutSet,
    rows: np.ndarray,
    *,
    rngs: Rngs,
    priors: Priors,
    renderer: Renderer,
    acceptance: Acceptance | None,
) -> tuple[Geometry, torch.Tensor, np.ndarray]:
    """Geometries, their traced unit arcs (P, C, N, N), and whether they passed (P,)."""
    size = cutouts.stamp_size_px
    traced = torch.zeros(len(rows), renderer.n_channels, size, size)
    passed = np.zeros(len(rows), dtype=bool)
    kept: list[tuple[np.ndarray, Geometry]] = []
    pending, tries_left = np.arange(len(rows)), acceptance.max_tries if acceptance else 1
    while len(pending):
        each = min(tries_left, max(1, MIN_CANDIDATES // len(pending)))
        tries_left -= each
        owners = np.repeat(pending, each)
        candidates = draw_geometry(
            [rngs[int(i)] for i in owners],
            light_axis_ratio=np.asarray(cutouts.axis_ratio[rows[owners]], dtype=np.float64),
            light_angle_rad=np.asarray(cutouts.position_angle_rad[rows[owners]], dtype=np.float64),
            lens=priors.lens,
            choose_source=priors.choose_source,
        )
        is_last = np.tile(np.arange(each) == each - 1, len(pending)) & (tries_left == 0)
        ok, images, position = _trace_promising(
            recipes_from(cutouts, rows[owners], geometry=candidates), is_last, renderer=renderer, acceptance=acceptance
        )
        first = _first_of_each(ok, each=each, force_last=tries_left == 0)
        where = owners[first]
        if len(first):
            traced[where] = images[torch.from_numpy(position[first])]
            passed[where] = ok[first]
            kept.append((where, candidates.take(first)))
        pending = np.setdiff1d(pending, where, assume_unique=True)
    return _in_order(kept, len(rows)), traced, passed


def _trace_promising(
    recipes: RecipeBatch, is_last: np.ndarray, *, renderer: Renderer, acceptance: Acceptance | None
) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """Which candidates pass, the images of those traced, and each candidate's row among them (-1: not traced)."""
    ok = np.ones(len(recipes), dtype=bool)
    if acceptance:
        red = recipes.psf_fwhm_arcsec[:, BANDS.index("r")]
        ok &= recipes.theta_e_arcsec / red >= acceptance.min_theta_e_over_psf
    promising = np.flatnonzero(ok | is_last)
    position = np.full(len(recipes), -1)
    position[promising] = np.arange(len(promising))
    if len(promising) == 0:
        return ok, torch.zeros(0), position
    images = renderer.trace(recipes.take(promising))
    if acceptance:
        ok[promising] &= magnification(images) >= acceptance.min_magnification
    return ok, images, position


def _brightness(
    unit: torch.Tensor, mags: np.ndarray, *, invvar: torch.Tensor, good: torch.Tensor, acceptance: Acceptance | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the (P, n_draws, bands) magnitudes to take (P,), and whether it passed (P,)."""
    chosen = np.zeros(len(unit), dtype=np.int64)
    if acceptance is None:
        return chosen, np.ones(len(unit), dtype=bool)
    bright = np.zeros(len(unit), dtype=bool)
    pending = np.arange(len(unit))
    for attempt in range(mags.shape[1]):
        index = torch.from_numpy(pending)
        snr = arc_snr(unit[index] * _flux(mags[pending, attempt]), invvar=invvar[index], good=good[index])
        enough = snr.integrated.amax(dim=1).numpy() >= acceptance.min_arc_snr_sum
        chosen[pending] = attempt
        bright[pending] = enough
        pending = pending[~enough]
        if len(pending) == 0:
            break
    return chosen, bright


def magnification(traced: torch.Tensor) -> np.ndarray:
    """(B,) total magnification of (B, C, N, N) lensed unit-flux sources; the mean over the channels."""
    return traced.sum(dim=(-2, -1)).mean(dim=1).numpy()


def _flux(mags: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(flux_nmgy(mags).astype(np.float32))[:, :, None, None]


def _first_of_each(ok: np.ndarray, *, each: int, force_last: bool) -> np.ndarray:
    """Index of the first passing candidate of every owner that has one; with ``force_last`` its last otherwise."""
    table = ok.reshape(-1, each)
    first = np.where(table.any(axis=1), table.argmax(axis=1), each - 1 if force_last else -1)
    rows = np.flatnonzero(first >= 0)
    return rows * each + first[rows]


def _in_order(kept: Sequence[tuple[np.ndarray, Geometry]], n: int) -> Geometry:
    """The geometries of ``kept`` in the order of their owners 0 ... n-1."""
    owners = np.concatenate([where for where, _ in kept])
    order = np.argsort(owners)
    assert len(owners) == n
    columns = {
        name: np.concatenate([getattr(part, name) for _, part in kept])[order] for name in Geometry.__dataclass_fields__
    }
    return Geometry(**columns)
