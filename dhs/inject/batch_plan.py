"""What a loader's worker does with `renderer.device=accelerator`: it decides a batch and paints none of it.

A plan holds, for each stamp, its galaxy, and for each arc every try that acceptance could ask for: the geometries and
the fluxes that `Injector.stamps` would draw one after the other, in the same order from the same generators. What an
arc looks like is not known here, so the device decides which try is kept (`dhs.inject.device_painter`). About 1.5 kB
an arc of 20 tries; no pixels, unless the sky is not resident on the device, or the noise of arcs is on (drawn here).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from dhs.config.injection import PsfConfig
from dhs.constants import BANDS
from dhs.inject.acceptance import cut_before_tracing
from dhs.inject.arc_noise import UnitNoise
from dhs.inject.colour import depend_on_geometry, magnitude_variates, magnitudes_of
from dhs.inject.injector import Injector, n_assigning, stream_keys
from dhs.inject.mix import INJECTED
from dhs.inject.painter import Pixels
from dhs.inject.prior import Geometry, geometry_of, n_variates
from dhs.inject.renderer import LENS_COLUMNS
from dhs.inject.strength import galaxies_of
from dhs.lens.photometry import flux_nmgy
from dhs.rng import Purpose, derived_index, keyed_rngs

PLACEMENT_COLUMNS = ("source_x_arcsec", "source_y_arcsec", "source_rotation_rad")
Tree = TypeVar("Tree")


@dataclass(frozen=True)
class ArcPlan:
    """P arcs of T tries each, on the CPU; a try of geometry and one of brightness are numbered apart."""

    lens: torch.Tensor
    """(P, T, 7) float32, LENS_COLUMNS."""
    placement: torch.Tensor
    """(P, T, 3) float32, PLACEMENT_COLUMNS."""
    source_index: torch.Tensor
    """(P, T) int64."""
    cut: np.ndarray
    """(P, T) int8, the cut that the try fails before a ray is traced, 0 for none."""
    flux_nmgy: torch.Tensor
    """(P, K, T, bands) float32 of each try of brightness: K = T where they depend on that of geometry, else 1."""
    psf_fwhm_arcsec: torch.Tensor
    """(P, bands) float32."""
    psf_shape: torch.Tensor | None
    """(P, 2, bands) float32 e1 and e2; None where all are round."""
    kernels: torch.Tensor | None
    """(P, bands, K, K) float32 for `psf=survey`."""
    noise: UnitNoise | None

    def __len__(self) -> int:
        return len(self.cut)


@dataclass(frozen=True)
class BatchPlan:
    """B stamps to be."""

    key: np.ndarray
    """(B, 4) int64, as in `RecipeBatch`."""
    row: np.ndarray
    """(B,) int64 galaxy."""
    origin: np.ndarray
    """(B,) int8 index into mix.ORIGINS."""
    arcs: ArcPlan
    """Of those injected, in their order."""
    min_magnification: float
    min_arc_snr_sum: float
    pixels: Pixels | None
    """Where the sky is not resident on the device."""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def injected(self) -> np.ndarray:
        """(B,) bool."""
        return self.origin == INJECTED


class Planner:
    """Plans of an injector's stamps: pure functions of the same keys."""

    def __init__(self, injector: Injector, *, psf: PsfConfig, send_pixels: bool) -> None:
        self._injector, self._send_pixels = injector, send_pixels
        self._kernels = injector.cutouts.psf_images if psf.name == "survey" else None

    def plan(self, indices: np.ndarray, *, purpose: Purpose, epoch: int = 0) -> BatchPlan:
        """The plan of the stamps (B,) ``indices``."""
        injector = self._injector
        rows, origin = injector.origins(indices, purpose=purpose, epoch=epoch)
        injected = origin == INJECTED
        pixels = injector.painter.pixels(rows) if self._send_pixels else None
        cuts = injector.acceptance(purpose)
        return BatchPlan(
            key=stream_keys(injector.seed, indices, purpose=purpose, epoch=epoch),
            row=rows,
            origin=origin,
            arcs=self._arcs(indices[injected], rows[injected], purpose=purpose, epoch=epoch),
            min_magnification=cuts.min_magnification,
            min_arc_snr_sum=cuts.min_arc_snr_sum,
            pixels=pixels,
        )

    def _arcs(self, indices: np.ndarray, rows: np.ndarray, *, purpose: Purpose, epoch: int) -> ArcPlan:
        injector, cutouts = self._injector, self._injector.cutouts
        cuts = injector.acceptance(purpose)
        n, tries = len(rows), cuts.max_tries
        owners = np.repeat(rows, tries)
        geometry = self._geometry(indices, owners, purpose=purpose, epoch=epoch, tries=tries)
        fwhm = np.asarray(cutouts.psf_fwhm_arcsec[rows])
        cut = cut_before_tracing(
            geometry.theta_e_arcsec,
            psf_fwhm_r_arcsec=np.asarray(cutouts.psf_fwhm_arcsec[owners, BANDS.index("r")]),
            lens=injector.priors.lens,
            acceptance=cuts,
        )
        return ArcPlan(
            lens=_columns(geometry, LENS_COLUMNS, shape=(n, tries)),
            placement=_columns(geometry, PLACEMENT_COLUMNS, shape=(n, tries)),
            source_index=torch.from_numpy(np.asarray(geometry.source_index, np.int64)).reshape(n, tries),
            cut=cut.reshape(n, tries),
            flux_nmgy=self._fluxes(indices, geometry, purpose=purpose, epoch=epoch, tries=tries),
            psf_fwhm_arcsec=torch.from_numpy(fwhm.astype(np.float32)),
            psf_shape=self._psf_shape(rows),
            kernels=None if self._kernels is None else torch.from_numpy(np.array(self._kernels[rows], np.float32)),
            noise=self._noise(indices, rows, purpose=purpose, epoch=epoch),
        )

    def _geometry(
        self, indices: np.ndarray, owners: np.ndarray, *, purpose: Purpose, epoch: int, tries: int
    ) -> Geometry:
        """(P * T) geometries, arc by arc."""
        priors = self._injector.priors
        n_uniforms, n_normals = n_variates(priors.strength)
        u = np.empty((len(indices), tries, n_uniforms))
        normal = np.empty((len(indices), tries, n_normals))
        before = n_assigning(purpose)
        for i, rng in enumerate(keyed_rngs(self._injector.seed, purpose, epoch, indices.tolist())):
            rng.random(before)
            for uniforms, normals in zip(u[i], normal[i], strict=True):
                rng.random(out=uniforms)
                rng.standard_normal(out=normals)
        return geometry_of(
            u.reshape(-1, n_uniforms),
            normal.reshape(-1, n_normals),
            galaxies=galaxies_of(self._injector.cutouts, owners),
            lens=priors.lens,
            strength=priors.strength,
            choose_source=priors.choose_source,
        )

    def _fluxes(
        self, indices: np.ndarray, geometry: Geometry, *, purpose: Purpose, epoch: int, tries: int
    ) -> torch.Tensor:
        """(P, K, T, bands)."""
        priors = self._injector.priors
        rngs = keyed_rngs(self._injector.seed, Purpose.PHOTOMETRY, epoch, _derived(indices, of=purpose))
        n, n_geometries = len(indices), tries if depend_on_geometry(priors.colour) else 1
        u, normal = magnitude_variates(rngs, n_draws=tries)
        u, normal = (np.repeat(values, n_geometries, axis=0) for values in (u, normal))
        # Where nothing depends on it, any try's redshift will do.
        z_source = geometry.z_source.reshape(n, tries)[:, :n_geometries].ravel()
        own_mag = None if priors.own_mag is None else priors.own_mag[geometry.source_index]
        mags = magnitudes_of(u, normal, colour=priors.colour, z_source=z_source, own_mag=own_mag)
        return torch.from_numpy(flux_nmgy(mags).astype(np.float32)).reshape(n, n_geometries, tries, len(BANDS))

    def _psf_shape(self, rows: np.ndarray) -> torch.Tensor | None:
        e1, e2 = self._injector.cutouts.psf_e1, self._injector.cutouts.psf_e2
        if e1 is None or e2 is None or self._kernels is not None:
            return None
        return torch.from_numpy(np.stack([e1[rows], e2[rows]], axis=1).astype(np.float32))

    def _noise(self, indices: np.ndarray, rows: np.ndarray, *, purpose: Purpose, epoch: int) -> UnitNoise | None:
        if self._injector.inject.arc_noise == "none" or len(rows) == 0:
            return None
        rngs = keyed_rngs(self._injector.seed, Purpose.ARC_NOISE, epoch, _derived(indices, of=purpose))
        return self._injector.painter.unit_noise(rngs, rows=rows)


def mapped(tree: Tree, change: Callable[[torch.Tensor], torch.Tensor]) -> Tree:
    """``tree`` (nested dataclasses, named tuples, dictionaries) with every tensor changed."""
    result: object = tree
    if isinstance(tree, torch.Tensor):
        result = change(tree)
    elif is_dataclass(tree) and not isinstance(tree, type):
        result = replace(tree, **{field.name: mapped(getattr(tree, field.name), change) for field in fields(tree)})
    elif isinstance(tree, Pixels):
        result = Pixels(*(change(value) for value in tree))
    elif isinstance(tree, dict):
        result = {name: mapped(value, change) for name, value in tree.items()}
    return result  # type: ignore[return-value]


def _columns(geometry: Geometry, names: tuple[str, ...], *, shape: tuple[int, int]) -> torch.Tensor:
    values = np.stack([getattr(geometry, name) for name in names], axis=-1).astype(np.float32)
    return torch.from_numpy(values).reshape(*shape, len(names))


def _derived(indices: np.ndarray, *, of: Purpose) -> list[int]:
    return [derived_index(i, of=of) for i in indices.tolist()]
