"""The injections of a selection function, one by one: which galaxy, which cell, which arc.

They are the rows that `inject.py task=manifest task/design=selection` would write for the same seed and cells: plan and
draws are the manifest's own functions. A host serves in the cells in which its *own* seeing and depth lie. Nothing is
blurred, nothing is made noisier: galaxy, neighbours, noise, masks and the arc's PSF are those of one real observation,
as the network sees it. A cell without such a galaxy has no injections.

theta_E is the cell's; shape, shear, source position, source and its magnitudes are drawn from the priors of the
training run, but without its acceptance cuts: faint and unresolved arcs are there as the priors give them.
Item i is a pure function of (seed, galaxy, cell, replicate).
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from dhs.config.colour import ColourConfig
from dhs.config.lens import LensConfig
from dhs.config.manifest import Controls
from dhs.config.selection import SelectionSettings
from dhs.constants import BANDS
from dhs.evaluate.selection.grid import SelectionGrid
from dhs.inject.injector import HOST_CLASSES
from dhs.inject.manifest.design import build_design
from dhs.inject.manifest.draw import Drawer
from dhs.inject.manifest.plan import CellPlan, Pool, Rows
from dhs.inject.manifest.sizes import SourceSizes
from dhs.inject.painter import Painter
from dhs.inject.stamp_batch import StampBatch
from dhs.sky.cutouts import CutoutSet

HOST_SPLIT = "test"


class NoHosts(ValueError):
    """No cell has a galaxy."""


class SelectionItems:
    """N injections; `dhs.evaluate.scored_set.StampItems`."""

    def __init__(
        self,
        painter: Painter,
        *,
        settings: SelectionSettings,
        lens: LensConfig,
        colour: ColourConfig,
        seed: int,
        calibrating: np.ndarray,
    ) -> None:
        """``calibrating``: target_ids of galaxies that set the thresholds; they are no hosts.

        Raises:
            NoHosts: no galaxy of the test sky lies in any cell.
        """
        self.cutouts: CutoutSet = painter.cutouts
        self._painter, self._settings, self.grid = painter, settings, grid_of(settings)
        design = build_design(settings.design)
        hosts = self.cutouts.rows(split=HOST_SPLIT, classes=HOST_CLASSES)
        self.hosts = hosts[~np.isin(self.cutouts.target_id[hosts], calibrating)]
        plan = CellPlan(
            self.cutouts,
            Pool(self.hosts, self.hosts[:0]),
            design=design,
            per_cell=settings.per_cell,
            controls=Controls(mode="none", fraction=0.5, rows_per_galaxy=1, kinds=None),
            seed=seed,
        )
        assert plan.cell_hosts is not None
        self.cell_hosts: np.ndarray = plan.cell_hosts
        """(n_cells,) galaxies of the test sky that each cell can choose from."""
        if not self.cell_hosts.any():
            raise NoHosts(
                f"none of the {len(self.hosts)} lens galaxies of the test sky has an r-band seeing and depth inside "
                "evaluate.selection.psfsize_r_edges_arcsec and psfdepth_r_edges_mag; widen the edges"
            )
        self._rows = plan.rows(0, plan.n_rows)
        self._drawer = Drawer(
            self.cutouts,
            design=design,
            source=painter.source,
            sizes=SourceSizes(painter.source, tolerance=0.1, n_neighbours=1),  # no axis asks for a size
            lens=lens,
            colour=colour,
            seed=seed,
        )

    @property
    def identity(self) -> str:
        """What decides the injections beside the training run's sky and priors."""
        hosts = hashlib.sha256(np.ascontiguousarray(self.cutouts.target_id[self.hosts]).tobytes()).hexdigest()
        return f"{self._settings.design.model_dump_json()}/{hosts}"

    def __len__(self) -> int:
        return len(self._rows.row)

    def stamps(self, indices: np.ndarray) -> StampBatch:
        """The stamps of (B,) ``indices``; each is the same whatever else is asked for."""
        rows = Rows(*(column[indices] for column in self._rows))
        return self._painter.stamps(self._drawer.draw(rows).recipes)

    def columns(self, stamps: StampBatch, indices: np.ndarray) -> dict[str, np.ndarray]:
        """What is stored beside the logit."""
        r, recipes = BANDS.index("r"), stamps.recipes
        cell = self._rows.cell[indices]
        return {
            "target_id": recipes.target_id,
            "cell": cell.astype(np.int32),
            "replicate": self._rows.replicate[indices].astype(np.int32),
            "hosts_available": self.cell_hosts[cell].astype(np.int64),
            "hosts_of_sky": np.full(len(indices), len(self.hosts), np.int64),
            "theta_e_arcsec": recipes.theta_e_arcsec.astype(np.float32),
            "psf_fwhm_r_arcsec": np.asarray(self.cutouts.psf_fwhm_arcsec[recipes.row, r], np.float32),
            "psf_depth_r_mag": np.asarray(self.cutouts.psf_depth_mag[recipes.row, r], np.float32),
            "magnification": stamps.magnification,
            "arc_snr_sum": stamps.arc_snr_sum.max(axis=1),
            "source_r_mag": recipes.source_mag[:, r].astype(np.float32),
            "lens_r_mag": np.asarray(self.cutouts.mag[recipes.row, r], np.float32),
        }


def grid_of(settings: SelectionSettings) -> SelectionGrid:
    """The cells as arrays."""
    edges: Sequence[tuple[float, ...]] = (
        settings.theta_e_arcsec,
        settings.psfsize_r_edges_arcsec,
        settings.psfdepth_r_edges_mag,
    )
    return SelectionGrid(*(np.array(values, np.float64) for values in edges))
