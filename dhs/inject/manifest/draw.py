"""Rows of a plan -> recipes. The one place where a manifest draws anything.

A row is a pure function of (seed, task id, galaxy): its generators are keyed by the task id's hash, lens and source
come from `dhs.inject.prior.draw_geometry` and `dhs.inject.colour.draw_magnitudes` as in training, and what the design
asks for stands in the place of what would have been drawn. The acceptance cuts need a rendered arc: they reject
nothing here, and task=stamps grades each arc with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dhs.config.colour import ColourConfig
from dhs.config.lens import GridLens, LensCommon, LensConfig
from dhs.constants import BANDS
from dhs.inject.colour import draw_magnitudes, source_magnitudes
from dhs.inject.manifest.design import Design
from dhs.inject.manifest.plan import Rows
from dhs.inject.manifest.sizes import SourceSizes
from dhs.inject.prior import POLAR, ChooseSource, Geometry, draw_geometry
from dhs.inject.recipe import RecipeBatch, controls, recipes_from
from dhs.inject.strength import Galaxies, GridStrength, Strength, StrengthPrior, build_strength, galaxies_of
from dhs.rng import Purpose, derived_index, keyed_rngs, stable_fraction, stable_hash
from dhs.sky.cutouts import CutoutSet
from dhs.source.base import Source


@dataclass(frozen=True)
class Drawn:
    """P finished rows."""

    task_id: list[str]
    rows: Rows
    recipes: RecipeBatch
    asked: dict[str, np.ndarray]
    """(P,) float64 of each axis; NaN for controls."""
    source_hlr_arcsec: np.ndarray
    """(P,) float32 of the source that is used; NaN for controls."""


class Drawer:
    """Draws the rows of one manifest; rows do not depend on each other."""

    def __init__(
        self,
        galaxies: CutoutSet,
        *,
        design: Design,
        source: Source,
        sizes: SourceSizes,
        lens: LensConfig,
        colour: ColourConfig,
        seed: int,
    ) -> None:
        self._galaxies, self._design, self._source, self._sizes = galaxies, design, source, sizes
        self._lens, self._colour, self._seed = lens, colour, seed
        self._own_mag = source_magnitudes(source, colour=colour)
        self._strength = build_strength(lens)
        self._grid = _grid_strength(design, lens=lens)
        self._require_indices()

    def draw(self, rows: Rows) -> Drawn:
        """The (P,) ``rows``."""
        target_id = self._galaxies.target_id[rows.row]
        task_id = task_ids(self._design.label, target_id, rows)
        index = [stable_hash(name) >> 1 for name in task_id]
        keys = np.empty((len(index), 4), np.int64)
        keys[:] = self._seed, int(Purpose.MANIFEST), 0, 0
        keys[:, 3] = index
        recipes = controls(self._galaxies, rows.row, keys=keys)
        where = np.flatnonzero(rows.injected)
        asked = {axis.name: np.full(len(index), np.nan) for axis in self._design.axes}
        hlr = np.full(len(index), np.nan, np.float32)
        if len(where):
            wanted = self._asked([task_id[i] for i in where], rows.cell[where])
            arcs = self._arcs(rows.row[where], rows.cell[where], [index[i] for i in where], asked=wanted)
            recipes = recipes.with_arcs(arcs, where=where)
            hlr[where] = self._sizes.hlr_arcsec[arcs.source_index]
            for name, values in wanted.items():
                asked[name][where] = values
        return Drawn(task_id, rows, recipes, asked, hlr)

    def _asked(self, task_id: list[str], cell: np.ndarray) -> dict[str, np.ndarray]:
        within = np.zeros(len(cell))
        if self._design.has_intervals:
            within = np.array([stable_fraction(name, salt=f"within{self._seed}") for name in task_id])
        return self._design.asked(cell, within=within)

    def _arcs(
        self, rows: np.ndarray, cell: np.ndarray, index: list[int], *, asked: Mapping[str, np.ndarray]
    ) -> RecipeBatch:
        """Recipes of injections into the galaxies ``rows`` (P,); their keys are zero."""
        geometry = draw_geometry(
            keyed_rngs(self._seed, Purpose.MANIFEST, 0, index),
            galaxies=galaxies_of(self._galaxies, rows),
            lens=self._lens,
            strength=self._strength_of(cell),
            choose_source=self._chooser(asked),
            given=_given(asked),
        )
        drawn = draw_magnitudes(
            keyed_rngs(self._seed, Purpose.PHOTOMETRY, 0, [derived_index(i, of=Purpose.MANIFEST) for i in index]),
            colour=self._colour,
            n_draws=1,
            z_source=geometry.z_source,
            own_mag=None if self._own_mag is None else self._own_mag[geometry.source_index],
        )[:, 0]
        lens_r_mag = np.asarray(self._galaxies.mag[rows, BANDS.index("r")], np.float64)
        source_mag = asked_magnitudes(drawn, asked=asked, lens_r_mag=lens_r_mag)
        arcs = recipes_from(self._galaxies, rows, geometry=geometry, source_mag=source_mag)
        return replace(arcs, psf_fwhm_arcsec=_asked_psf(arcs.psf_fwhm_arcsec, asked=asked))

    def _strength_of(self, cell: np.ndarray) -> StrengthPrior:
        if self._grid is None:
            return self._strength
        return GivenStrength(self._grid, place=self._design.places(cell)["theta_e_arcsec"])

    def _chooser(self, asked: Mapping[str, np.ndarray]) -> ChooseSource:
        if "source_index" in asked:
            return lambda u: asked["source_index"].astype(np.int64)
        if "source_hlr_arcsec" in asked:
            return lambda u: self._sizes.choose(u, asked_arcsec=asked["source_hlr_arcsec"])
        return self._source.choose

    def _require_indices(self) -> None:
        for axis in self._design.axes:
            if axis.name == "source_index" and axis.high.max() >= self._source.n_sources:
                raise ValueError(
                    f"task.design.axes.source_index = {axis.high.max():.0f}: source {self._source.name!r} has "
                    f"{self._source.n_sources} sources; allowed: 0 to {self._source.n_sources - 1}"
                )


class GivenStrength:
    """theta_E of a design, with the natural weight that `lens=grid` gives to the axis's values."""

    n_uniforms = n_normals = 0

    def __init__(self, grid: GridStrength, *, place: np.ndarray) -> None:
        self._grid, self._place = grid, place

    def draw(self, first: np.ndarray, u: np.ndarray, normal: np.ndarray, *, galaxies: Galaxies) -> Strength:
        """See `dhs.inject.strength.StrengthPrior`; the uniforms are not used."""
        return self._grid.of_place(self._place, galaxies=galaxies)


def task_ids(label: str, target_id: np.ndarray, rows: Rows) -> list[str]:
    """(P,) "<design>/<target_id>/<cell>/<replicate>"; the cell of a control is called control."""
    return [
        f"{label}/{target}/{'control' if cell < 0 else cell}/{replicate}"
        for target, cell, replicate in zip(target_id.tolist(), rows.cell.tolist(), rows.replicate.tolist(), strict=True)
    ]


def asked_magnitudes(drawn: np.ndarray, *, asked: Mapping[str, np.ndarray], lens_r_mag: np.ndarray) -> np.ndarray:
    """(P, bands) magnitudes ``drawn`` moved to the brightness asked for, then to the colours asked for.

    `dmag` is the seeds' "lens magnitude + dmag", in r; the source keeps colours of its own unless an axis gives them.
    """
    g, r, z = (drawn[:, BANDS.index(band)] for band in "grz")
    g_r, r_z = asked.get("source_g_r", g - r), asked.get("source_r_z", r - z)
    if "dmag" in asked:
        r = lens_r_mag + asked["dmag"]
    r = asked.get("source_r_mag", r)
    moved = {"g": r + g_r, "r": r, "z": r - r_z}
    return np.stack([moved[band] for band in BANDS], axis=1)


def _given(asked: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    elsewhere = ("theta_e_arcsec", "source_index")  # these have a prior and a chooser of their own
    known = {*Geometry.__dataclass_fields__, *POLAR}
    given = {name: values for name, values in asked.items() if name in known and name not in elsewhere}
    if "ellipticity" in asked:
        given["axis_ratio"] = (1 - asked["ellipticity"]) / (1 + asked["ellipticity"])
    return given


def _asked_psf(fwhm_arcsec: np.ndarray, *, asked: Mapping[str, np.ndarray]) -> np.ndarray:
    out = fwhm_arcsec.copy()
    for i, band in enumerate(BANDS):
        if f"psf_fwhm_{band}_arcsec" in asked:
            out[:, i] = asked[f"psf_fwhm_{band}_arcsec"]
    return out


def _grid_strength(design: Design, *, lens: LensConfig) -> GridStrength | None:
    """The grid of the design's theta_E axis; None where it has none."""
    values = next((axis.low for axis in design.axes if axis.name == "theta_e_arcsec"), None)
    if values is None:
        return None
    shared = {name: getattr(lens, name) for name in LensCommon.model_fields}
    return GridStrength(GridLens(name="grid", theta_e_arcsec=tuple(values.tolist()), **shared))
