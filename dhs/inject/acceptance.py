"""Draws arcs that pass the acceptance cuts, a batch of galaxies at a time, and counts what the cuts threw away.

Geometry first: lens and source position are drawn until theta_E, resolution and magnification pass. Then brightness:
with the geometry kept, magnitudes are drawn until the S/N passes. When the tries are used up the last draw is kept and
marked with the cut it fails. With one try the cuts reject nothing: they only grade (the test set).
The galaxy itself is never redrawn: hosts and controls must have the same depth and seeing.

A galaxy keeps the first of its own draws that passes, from generators of its own, so the result does not depend on
what else is in the batch nor on how many candidates are traced at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from dhs.config.colour import ColourConfig
from dhs.config.injection import Acceptance
from dhs.config.lens import LensConfig, PhotometricLens
from dhs.constants import BANDS
from dhs.inject.colour import draw_magnitudes
from dhs.inject.prior import ChooseSource, Geometry, Rngs, draw_geometry
from dhs.inject.recipe import RecipeBatch, recipes_from
from dhs.inject.renderer import Renderer
from dhs.inject.strength import StrengthPrior, galaxies_of
from dhs.lens.photometry import ArcSnr, arc_snr, flux_nmgy
from dhs.sky.cutouts import CutoutSet

MIN_CANDIDATES = 16
"""When few galaxies are left, this many candidates are traced together: small batches waste their overhead."""

CUTS: tuple[str, ...] = ("accepted", "theta_e_range", "resolution", "magnification", "arc_snr")
"""What a draw fails, in the order in which it is tested; `reject_reason` is an index into it."""

_RANGE, _RESOLUTION, MAGNIFICATION_CUT, _SNR = range(1, len(CUTS))


class Priors(NamedTuple):
    """What arcs are drawn from."""

    lens: LensConfig
    strength: StrengthPrior
    colour: ColourConfig
    choose_source: ChooseSource
    own_mag: np.ndarray | None
    """(n_sources, bands) for `colour=bank`."""


class ArcBatch(NamedTuple):
    """Arcs of P galaxies."""

    recipes: RecipeBatch
    images_nmgy: torch.Tensor
    """(P, bands, N, N) float32, after the PSF, without noise."""
    magnification: np.ndarray
    """(P,) float32."""
    snr: ArcSnr
    """(P, bands) each."""
    reject_reason: np.ndarray
    """(P,) int8: the cut that the arc fails, 0 for none."""
    rejected: np.ndarray
    """(P, len(CUTS)) int16: draws thrown away before this one, by the cut they failed."""


class _Drawn(NamedTuple):
    """Geometries of P galaxies, as kept."""

    geometry: Geometry
    traced: torch.Tensor
    """(P, C, N, N) unit arcs before the PSF."""
    reason: np.ndarray
    rejected: np.ndarray


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
    acceptance: Acceptance,
) -> ArcBatch:
    """One arc for each of the P galaxies ``rows``; ``invvar``, ``good`` (P, bands, N, N)."""
    drawn = _geometry(cutouts, rows, rngs=geometry_rngs, priors=priors, renderer=renderer, acceptance=acceptance)
    unit = renderer.observe(drawn.traced, recipes=recipes_from(cutouts, rows, geometry=drawn.geometry))
    mags = draw_magnitudes(
        photometry_rngs,
        colour=priors.colour,
        n_draws=acceptance.max_tries,
        z_source=drawn.geometry.z_source,
        own_mag=None if priors.own_mag is None else priors.own_mag[drawn.geometry.source_index],
    )
    chosen, bright = _brightness(unit, mags, invvar=invvar, good=good, acceptance=acceptance)
    source_mag = mags[np.arange(len(rows)), chosen]
    images = unit * _flux(source_mag)
    drawn.rejected[:, _SNR] = chosen  # every draw before the chosen one was too faint
    return ArcBatch(
        recipes=recipes_from(cutouts, rows, geometry=drawn.geometry, source_mag=source_mag),
        images_nmgy=images,
        magnification=magnification(drawn.traced),
        snr=arc_snr(images, invvar=invvar, good=good),
        reject_reason=np.where((drawn.reason == 0) & ~bright, _SNR, drawn.reason).astype(np.int8),
        rejected=drawn.rejected,
    )


def paint_arcs(
    recipes: RecipeBatch,
    *,
    lens: LensConfig,
    renderer: Renderer,
    invvar: torch.Tensor,
    good: torch.Tensor,
    acceptance: Acceptance,
) -> ArcBatch:
    """The arcs of P given ``recipes``: the cuts grade them and reject none. ``invvar``, ``good`` (P, bands, N, N)."""
    all_kept = np.ones(len(recipes), dtype=bool)
    reason, traced, _ = _grade(recipes, all_kept, lens=lens, renderer=renderer, acceptance=acceptance)
    images = renderer.observe(traced, recipes=recipes) * _flux(recipes.source_mag)
    snr = arc_snr(images, invvar=invvar, good=good)
    faint = snr.integrated.amax(dim=1).numpy() < acceptance.min_arc_snr_sum
    return ArcBatch(
        recipes=recipes,
        images_nmgy=images,
        magnification=magnification(traced),
        snr=snr,
        reject_reason=np.where((reason == 0) & faint, _SNR, reason).astype(np.int8),
        rejected=np.zeros((len(recipes), len(CUTS)), dtype=np.int16),
    )


def _geometry(
    cutouts: CutoutSet,
    rows: np.ndarray,
    *,
    rngs: Rngs,
    priors: Priors,
    renderer: Renderer,
    acceptance: Acceptance,
) -> _Drawn:
    size = cutouts.stamp_size_px
    traced = torch.zeros(len(rows), renderer.n_channels, size, size)
    reason = np.zeros(len(rows), dtype=np.int8)
    rejected = np.zeros((len(rows), len(CUTS)), dtype=np.int16)
    kept: list[tuple[np.ndarray, Geometry]] = []
    pending, tries_left = np.arange(len(rows)), acceptance.max_tries
    while len(pending):
        each = min(tries_left, max(1, MIN_CANDIDATES // len(pending)))
        tries_left -= each
        owners = np.repeat(pending, each)
        candidates = draw_geometry(
            [rngs[int(i)] for i in owners],
            galaxies=galaxies_of(cutouts, rows[owners]),
            lens=priors.lens,
            strength=priors.strength,
            choose_source=priors.choose_source,
        )
        is_last = np.tile(np.arange(each) == each - 1, len(pending)) & (tries_left == 0)
        fails, images, position = _grade(
            recipes_from(cutouts, rows[owners], geometry=candidates),
            is_last,
            lens=priors.lens,
            renderer=renderer,
            acceptance=acceptance,
        )
        first = _first_of_each(fails == 0, each=each, force_last=tries_left == 0)
        rejected[pending] += _thrown_away(fails, first, each=each)
        where = owners[first]
        if len(first):
            traced[where] = images[torch.from_numpy(position[first])]
            reason[where] = fails[first]
            kept.append((where, candidates.take(first)))
        pending = np.setdiff1d(pending, where, assume_unique=True)
    return _Drawn(_in_order(kept, len(rows)), traced, reason, rejected)


def _grade(
    recipes: RecipeBatch, is_last: np.ndarray, *, lens: LensConfig, renderer: Renderer, acceptance: Acceptance
) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """The cut each candidate fails (0: none), the images of those traced, each one's row among them (-1: not traced).

    Candidates that fail before tracing are not traced, unless they are the last try and may be kept.
    """
    fails = cut_before_tracing(
        recipes.theta_e_arcsec,
        psf_fwhm_r_arcsec=recipes.psf_fwhm_arcsec[:, BANDS.index("r")],
        lens=lens,
        acceptance=acceptance,
    )
    promising = np.flatnonzero((fails == 0) | is_last)
    position = np.full(len(recipes), -1)
    position[promising] = np.arange(len(promising))
    if len(promising) == 0:
        return fails, torch.zeros(0), position
    images = renderer.trace(recipes.take(promising))
    weak = promising[magnification(images) < acceptance.min_magnification]
    fails[weak] = np.where(fails[weak] == 0, MAGNIFICATION_CUT, fails[weak])
    return fails, images, position


def cut_before_tracing(
    theta_e_arcsec: np.ndarray, *, psf_fwhm_r_arcsec: np.ndarray, lens: LensConfig, acceptance: Acceptance
) -> np.ndarray:
    """(P,) int8 the cut that each lens fails before a ray is traced, 0 where none."""
    fails = np.zeros(len(theta_e_arcsec), dtype=np.int8)
    fails[theta_e_arcsec / psf_fwhm_r_arcsec < acceptance.min_theta_e_over_psf] = _RESOLUTION
    if isinstance(lens, PhotometricLens):
        outside = (theta_e_arcsec < lens.theta_e_arcsec.low) | (theta_e_arcsec > lens.theta_e_arcsec.high)
        fails[outside] = _RANGE
    return fails


def _brightness(
    unit: torch.Tensor, mags: np.ndarray, *, invvar: torch.Tensor, good: torch.Tensor, acceptance: Acceptance
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the (P, n_draws, bands) magnitudes to take (P,), and whether it passed (P,)."""
    chosen = np.zeros(len(unit), dtype=np.int64)
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
    return traced.sum(dim=(-2, -1)).mean(dim=1).cpu().numpy()


def _flux(mags: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(flux_nmgy(mags).astype(np.float32))[:, :, None, None]


def _first_of_each(ok: np.ndarray, *, each: int, force_last: bool) -> np.ndarray:
    """Index of the first passing candidate of every owner that has one; with ``force_last`` its last otherwise."""
    table = ok.reshape(-1, each)
    first = np.where(table.any(axis=1), table.argmax(axis=1), each - 1 if force_last else -1)
    rows = np.flatnonzero(first >= 0)
    return rows * each + first[rows]


def _thrown_away(fails: np.ndarray, first: np.ndarray, *, each: int) -> np.ndarray:
    """(owners, len(CUTS)) candidates of every owner before the one it keeps (all, where it keeps none), by cut."""
    table = fails.reshape(-1, each)
    n_before = np.full(len(table), each)
    n_before[first // each] = first % each
    before = np.arange(each) < n_before[:, None]
    return np.stack([((table == cut) & before & (cut > 0)).sum(axis=1) for cut in range(len(CUTS))], axis=1)


def _in_order(kept: Sequence[tuple[np.ndarray, Geometry]], n: int) -> Geometry:
    """The geometries of ``kept`` in the order of their owners 0 ... n-1."""
    owners = np.concatenate([where for where, _ in kept])
    order = np.argsort(owners)
    assert len(owners) == n
    columns = {
        name: np.concatenate([getattr(part, name) for _, part in kept])[order] for name in Geometry.__dataclass_fields__
    }
    return Geometry(**columns)
