"""Plans -> stamps, on the device that trains: tracing, acceptance, PSF and sum, nothing copied back but decisions.

A plan (`dhs.inject.batch_plan`) holds every try of every arc. Here they are traced in rounds of static shape: those
arcs that have none yet get their next tries, and each keeps its first try that passes, or its last one: what
`dhs.inject.acceptance` does on the CPU, with the same cuts. Rays are dense here and culled there, so images agree to
1e-6 of their peak, and a magnification or S/N within that of its cut may fall on the other side (docs/accelerator.md
says how often). What is copied to the CPU are magnifications and S/N, a few numbers an arc.
"""

from dataclasses import dataclass

import numpy as np
import torch

from dhs.config.injection import PsfConfig, RendererConfig
from dhs.inject.acceptance import MAGNIFICATION_CUT, magnification
from dhs.inject.arc_noise import scaled_noise_nmgy
from dhs.inject.batch_plan import ArcPlan, BatchPlan, mapped
from dhs.inject.device_sky import ResidentSky
from dhs.inject.painter import Pixels
from dhs.inject.psf_model import PsfModel
from dhs.inject.renderer_gpu import SEEING_ARCSEC, DenseRenderer, DevicePsf
from dhs.lens.photometry import arc_snr
from dhs.sky.cutouts import CutoutSet
from dhs.source.base import Source


@dataclass(frozen=True)
class Settled:
    """What acceptance has decided for P arcs; (P,) each, on the CPU."""

    geometry: np.ndarray
    """Number of the try kept."""
    brightness: np.ndarray
    accepted: np.ndarray
    """bool; where False the last tries are kept as they are."""


@dataclass(frozen=True)
class Painted:
    """B finished stamps on the device."""

    pixels: Pixels
    settled: Settled


class DevicePainter:
    """Paints plans of one sky and source on ``device``."""

    def __init__(
        self,
        cutouts: CutoutSet,
        *,
        source: Source,
        psf: PsfConfig,
        renderer: RendererConfig,
        device: torch.device,
        hosts: np.ndarray,
        sky: ResidentSky | None,
    ) -> None:
        """``hosts``: the rows that arcs are put into; ``sky`` None: plans bring their pixels."""
        model = PsfModel(psf, size_px=cutouts.stamp_size_px, images=cutouts.psf_images)
        self._renderer = DenseRenderer(source, psf=model, config=renderer, size_px=cutouts.stamp_size_px, device=device)
        self._device, self._sky, self._chunk = device, sky, renderer.chunk_size
        # Of the sky, not of the batch: which way a kernel is made must not depend on a stamp's company.
        fwhm = np.asarray(cutouts.psf_fwhm_arcsec[hosts])
        if not (fwhm > 0).all():
            raise ValueError("psf_fwhm_arcsec: must be above 0 for every galaxy that gets an arc; mend the sky's list")
        self._from_table = bool((fwhm >= SEEING_ARCSEC[0]).all() and (fwhm <= SEEING_ARCSEC[1]).all())

    def warm_up(self) -> None:
        """Compile before the first batch is waited for."""
        self._renderer.warm_up()

    @torch.no_grad()
    def paint(self, plan: BatchPlan) -> Painted:
        """The stamps of ``plan``; each does not depend on the others, bit for bit on the CPU."""
        pixels = self._pixels(plan)
        if len(plan.arcs) == 0:
            nothing = np.zeros(0, np.int64)
            return Painted(pixels, Settled(nothing, nothing, nothing.astype(bool)))
        where = torch.from_numpy(np.flatnonzero(plan.injected)).to(self._device)
        arcs = mapped(plan.arcs, lambda tensor: tensor.to(self._device, non_blocking=True))
        geometry, traced, enough = self._settle_geometry(arcs, min_magnification=plan.min_magnification)
        unit = self._renderer.observe_there(traced, psf=self._psf(arcs))
        flux = self._each(arcs.flux_nmgy, np.minimum(geometry, arcs.flux_nmgy.shape[1] - 1))
        invvar, good = pixels.invvar[where], pixels.good[where]
        brightness, bright = settle_brightness(
            unit, flux, invvar=invvar, good=good, min_arc_snr_sum=plan.min_arc_snr_sum
        )
        images = unit * self._each(flux, brightness)[..., None, None]
        if arcs.noise is not None:
            images = images + scaled_noise_nmgy(images, noise=arcs.noise)
        pixels.images.index_add_(0, where, images)
        return Painted(pixels, Settled(geometry, brightness, enough & bright))

    def _each(self, values: torch.Tensor, number: np.ndarray) -> torch.Tensor:
        """``values[i, number[i]]`` for each i."""
        return values[torch.arange(len(number), device=self._device), torch.from_numpy(number).to(self._device)]

    def _pixels(self, plan: BatchPlan) -> Pixels:
        if plan.pixels is not None:
            return mapped(plan.pixels, lambda tensor: tensor.to(self._device, non_blocking=True))
        assert self._sky is not None
        return self._sky.pixels(plan.row)

    def _psf(self, arcs: ArcPlan) -> DevicePsf:
        shape = arcs.psf_shape
        if shape is None and arcs.kernels is None and not self._from_table:
            shape = torch.zeros(len(arcs), 2, arcs.psf_fwhm_arcsec.shape[1], device=self._device)
        return DevicePsf(arcs.psf_fwhm_arcsec, shape, arcs.kernels)

    def _settle_geometry(
        self, arcs: ArcPlan, *, min_magnification: float
    ) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
        """(P,) try kept, (P, C, N, N) its image before the PSF, (P,) whether it passes the cuts."""
        queue = TryQueue(arcs.cut)
        parts, n_traced = [], 0
        place = np.zeros(len(arcs), dtype=np.int64)
        while len(queue.pending):
            owner, tried = queue.next(at_once=self._chunk)
            one, other = (torch.from_numpy(index).to(self._device) for index in (owner, tried))
            images = self._renderer.trace_there(
                arcs.source_index[one, other], lens=arcs.lens[one, other], placement=arcs.placement[one, other]
            )
            kept = queue.settle(owner, tried, weak=magnification(images) < min_magnification)
            place[owner[kept]] = n_traced + kept
            parts.append(images)
            n_traced += len(images)
        traced = torch.cat(parts)[torch.from_numpy(place).to(self._device)]
        return queue.kept, traced, queue.passes


class TryQueue:
    """Which tries are traced next, and which are kept: each arc's first that passes, its last where none does.

    Tries that fail a cut before tracing are left out, but for the last one, which may be kept as it is.
    """

    def __init__(self, cut: np.ndarray) -> None:
        """``cut`` (P, T) int8 as in `ArcPlan`."""
        is_traced = cut == 0
        is_traced[:, -1] = True
        self._order = np.argsort(~is_traced, axis=1, kind="stable")
        self._n_traced = is_traced.sum(axis=1)
        self._done = np.zeros(len(cut), dtype=np.int64)
        self._cut = cut
        self.pending = np.arange(len(cut))
        self.kept = np.full(len(cut), -1)
        self.passes = np.zeros(len(cut), dtype=bool)

    def next(self, *, at_once: int) -> tuple[np.ndarray, np.ndarray]:
        """(M,) arc and (M,) try to trace now: about ``at_once``, one of each pending arc at least."""
        each = max(1, at_once // len(self.pending))
        places = self._done[self.pending, None] + np.arange(each)
        row, column = np.nonzero(places < self._n_traced[self.pending, None])
        owner = self.pending[row]
        return owner, self._order[owner, places[row, column]]

    def settle(self, owner: np.ndarray, tried: np.ndarray, *, weak: np.ndarray) -> np.ndarray:
        """Take what `next` gave, of which the ``weak`` have too low a magnification; positions of those kept."""
        fails = self._cut[owner, tried]
        fails = np.where((fails == 0) & weak, MAGNIFICATION_CUT, fails)
        first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])  # an arc's tries stand together, in order
        ends = np.r_[first[1:], len(owner)]
        passing = np.minimum.reduceat(np.where(fails == 0, np.arange(len(owner)), len(owner)), first)
        self._done[owner[first]] += ends - first
        exhausted = self._done[owner[first]] == self._n_traced[owner[first]]
        found = passing < ends
        kept = np.where(found, passing, ends - 1)[found | exhausted]
        self.kept[owner[kept]] = tried[kept]
        self.passes[owner[kept]] = fails[kept] == 0
        self.pending = np.setdiff1d(self.pending, owner[kept], assume_unique=True)
        return kept


def settle_brightness(
    unit: torch.Tensor, flux_nmgy: torch.Tensor, *, invvar: torch.Tensor, good: torch.Tensor, min_arc_snr_sum: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the (P, T, bands) fluxes each of the (P, bands, N, N) unit arcs takes, and whether its S/N passes.

    The first that passes, the last where none does. Rounds of about P trials each: as arcs settle, those that are left
    try more fluxes at once.
    """
    n, tries = flux_nmgy.shape[:2]
    chosen, bright = np.full(n, tries - 1), np.zeros(n, dtype=bool)
    pending, start = np.arange(n), 0
    while len(pending) and start < tries:
        each = min(tries - start, max(1, n // len(pending)))
        owner = torch.from_numpy(np.repeat(pending, each)).to(unit.device)
        trial = torch.from_numpy(np.tile(np.arange(start, start + each), len(pending))).to(unit.device)
        images = unit[owner] * flux_nmgy[owner, trial][..., None, None]
        snr = arc_snr(images, invvar=invvar[owner], good=good[owner]).integrated.amax(dim=1)
        passes = (snr.cpu().numpy() >= min_arc_snr_sum).reshape(-1, each)
        found = passes.any(axis=1)
        chosen[pending[found]] = start + passes.argmax(axis=1)[found]
        bright[pending[found]] = True
        pending, start = pending[~found], start + each
    return chosen, bright
