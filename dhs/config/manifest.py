"""Schema of `task=manifest`: which galaxies get which lenses and sources, one row a stamp (docs/manifest.md)."""

import math
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from dhs.config.base import PositiveFloat, Section
from dhs.config.sky import SplitConfig


class Quantity(NamedTuple):
    """What an axis of a grid may vary, and between which values."""

    low: float
    high: float
    unit: str


QUANTITIES: dict[str, Quantity] = {
    "theta_e_arcsec": Quantity(0.05, 6.0, "arcsec"),
    "axis_ratio": Quantity(0.2, 1.0, "SIE q"),
    "ellipticity": Quantity(0.0, 2 / 3, "(1-q)/(1+q)"),
    "phi_rad": Quantity(-2 * math.pi, 2 * math.pi, "rad"),
    "shear": Quantity(0.0, 0.5, "in a drawn direction, or shear_angle_rad"),
    "shear_angle_rad": Quantity(-2 * math.pi, 2 * math.pi, "rad: gamma1 = shear cos, gamma2 = shear sin of it"),
    "gamma1": Quantity(-0.5, 0.5, ""),
    "gamma2": Quantity(-0.5, 0.5, ""),
    "lens_x_arcsec": Quantity(-10.0, 10.0, "arcsec"),
    "lens_y_arcsec": Quantity(-10.0, 10.0, "arcsec"),
    "source_index": Quantity(0, 2**53, "into the configured source, whole numbers"),
    "source_hlr_arcsec": Quantity(0.01, 2.0, "arcsec, half-light radius"),
    "source_offset_theta_e": Quantity(0.0, 5.0, "theta_E, in a drawn direction"),
    "source_x_arcsec": Quantity(-10.0, 10.0, "arcsec"),
    "source_y_arcsec": Quantity(-10.0, 10.0, "arcsec"),
    "source_rotation_rad": Quantity(-2 * math.pi, 2 * math.pi, "rad"),
    "source_r_mag": Quantity(14.0, 32.0, "AB mag, unlensed"),
    "dmag": Quantity(-5.0, 12.0, "mag, unlensed source minus lens galaxy, r band"),
    "source_g_r": Quantity(-2.0, 4.0, "mag"),
    "source_r_z": Quantity(-2.0, 4.0, "mag"),
    "psf_fwhm_g_arcsec": Quantity(0.3, 6.0, "arcsec, of the arc; the galaxy keeps its own"),
    "psf_fwhm_r_arcsec": Quantity(0.3, 6.0, "arcsec, of the arc; the galaxy keeps its own"),
    "psf_fwhm_z_arcsec": Quantity(0.3, 6.0, "arcsec, of the arc; the galaxy keeps its own"),
}

EXCLUSIVE: tuple[tuple[str, ...], ...] = (
    ("axis_ratio", "ellipticity"),
    ("shear", "gamma1"),
    ("shear", "gamma2"),
    ("shear_angle_rad", "gamma1"),
    ("shear_angle_rad", "gamma2"),
    ("source_index", "source_hlr_arcsec"),
    ("source_r_mag", "dmag"),
    ("source_offset_theta_e", "source_x_arcsec"),
    ("source_offset_theta_e", "source_y_arcsec"),
)
"""Two axes that would say the same thing twice."""

MAX_CELLS = 1_000_000

Count = Annotated[int, Field(ge=0)]
Edges = Annotated[tuple[float, ...], Field(min_length=2)]
ClassName = Literal["lrg", "lrg_companion", "spiral", "ring", "merger", "edge_on"]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")]


class SplitCounts(Section):
    """Galaxies of each split that are used: null for all, 0 for none."""

    train: Count | None = None
    val: Count | None = None
    test: Count | None = None

    @model_validator(mode="after")
    def _some(self) -> "SplitCounts":
        if (self.train, self.val, self.test) == (0, 0, 0):
            raise ValueError("train, val and test are all 0: at least one split must have galaxies (null: all)")
        return self


class Controls(Section):
    """Galaxies without an arc."""

    mode: Literal["unpaired", "paired", "none"] = Field(
        "unpaired",
        description="unpaired: a hash of the galaxy's id decides control or injection, for ever; "
        "paired: every host also without its arc, tied by pair_id; none",
    )
    fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="unpaired: share of the host galaxies that never get an arc; streams use 0.5"
    )
    rows_per_galaxy: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="of a control galaxy, or of a pair; more of them repeat the same pixels"
    )
    kinds: tuple[ClassName, ...] | None = Field(
        None, description="unpaired: classes that serve as controls; null: every class of the sky, as in training"
    )


class DesignSection(Section):
    """What every design has."""

    label: Label = Field(description="first part of every task id; another label is another set of draws")


class GalaxyDesign(DesignSection):
    """A design in which every host galaxy gets some rows."""

    replicates: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1, description="independent draws of the rest")


class GridDesign(GalaxyDesign):
    """Galaxies crossed with the cells of a grid; what is no axis is drawn from the priors."""

    name: Literal["grid"]
    axes: dict[str, tuple[float, ...]] = Field(description="quantity: values; cells are numbered row by row")
    cells_per_galaxy: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        1, description="different cells of each host, chosen by its id; all: the full cross"
    )
    size_tolerance: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="source_hlr_arcsec: sources within this share of the size asked for are alike"
    )
    size_neighbours: Annotated[int, Field(ge=1)] = Field(
        32, description="source_hlr_arcsec: where fewer are that near, so many of the nearest are taken"
    )

    @model_validator(mode="after")
    def _axes_possible(self) -> "GridDesign":
        if not self.axes:
            raise ValueError(f"axes = {{}}: give at least one of {', '.join(QUANTITIES)}")
        for name, values in self.axes.items():
            _check_axis(name, values)
        for pair in EXCLUSIVE:
            if set(pair) <= set(self.axes):
                raise ValueError(f"axes: {pair[0]} and {pair[1]} exclude each other; keep one")
        if self.n_cells > MAX_CELLS:
            raise ValueError(f"axes: {self.n_cells} cells; allowed: {MAX_CELLS}")
        if self.cells_per_galaxy != "all" and self.cells_per_galaxy > self.n_cells:
            raise ValueError(f"cells_per_galaxy = {self.cells_per_galaxy}: the grid has {self.n_cells} cells (or: all)")
        return self

    @property
    def n_cells(self) -> int:
        return math.prod(len(values) for values in self.axes.values())


class PriorDesign(GalaxyDesign):
    """Every host with lenses and sources from the configured priors: the functions that training draws with."""

    name: Literal["prior"]


class CellDesign(DesignSection):
    """A design in which every cell gets some galaxies."""

    per_cell: Annotated[int, Field(ge=1, le=10_000_000)] = Field(500, description="rows of each cell and split")


class BrightArcDesign(CellDesign):
    """Bins of unlensed source magnitude, uniform within each; the rest is drawn from the priors."""

    name: Literal["bright_arc"]
    r_mag_edges: Edges = Field(description="AB, unlensed; n+1 edges make n cells")

    @model_validator(mode="after")
    def _rising(self) -> "BrightArcDesign":
        _check_edges("r_mag_edges", self.r_mag_edges, low=14.0, high=32.0)
        return self


class SelectionDesign(CellDesign):
    """theta_E x r-band seeing x r-band depth: hosts are the galaxies whose own conditions lie in the cell."""

    name: Literal["selection"]
    theta_e_arcsec: Annotated[tuple[float, ...], Field(min_length=1)]
    psfsize_r_edges_arcsec: Edges
    psfdepth_r_edges_mag: Edges

    @model_validator(mode="after")
    def _cells_possible(self) -> "SelectionDesign":
        _check_axis("theta_e_arcsec", self.theta_e_arcsec)
        _check_edges("psfsize_r_edges_arcsec", self.psfsize_r_edges_arcsec, low=0.3, high=6.0)
        _check_edges("psfdepth_r_edges_mag", self.psfdepth_r_edges_mag, low=15.0, high=30.0)
        return self


DesignConfig = Annotated[GridDesign | PriorDesign | BrightArcDesign | SelectionDesign, Field(discriminator="name")]


class StampEstimate(Section):
    """Assumptions, not measurements of this machine: what the summary expects of task=stamps."""

    bytes_per_stamp: PositiveFloat = Field(46_000.0, description="on disk: 64 px, 3 bands, float32, zstd")
    stamps_per_s_per_core: PositiveFloat = 400.0
    cores: Annotated[int, Field(ge=1)] = 1


class ManifestTask(Section):
    """One Parquet row for each stamp to be made: what `task=stamps` renders, on one machine or many."""

    name: Literal["manifest"]
    output: Path = Field(description="Parquet; a summary is written beside it as .summary.json")
    targets: Path | None = Field(
        None, description="Parquet or CSV list as task=targets writes it, before any cutout exists; null: sky=..."
    )
    kind: ClassName = Field("lrg", description="of targets whose list has no column `kind`")
    split: SplitConfig = Field(description="of targets whose list has no column `split`")
    n_galaxies: SplitCounts
    controls: Controls
    design: DesignConfig
    estimate: StampEstimate
    overwrite: bool = Field(False, description="true: replace a manifest of another configuration")


def _check_axis(name: str, values: tuple[float, ...]) -> None:
    if name not in QUANTITIES:
        raise ValueError(f"axes: {name!r} is no quantity; allowed: {', '.join(QUANTITIES)}")
    low, high, unit = QUANTITIES[name]
    if not values or len(set(values)) < len(values):
        raise ValueError(f"axes.{name} = {list(values)}: must be different values, at least one")
    wrong = [value for value in values if not low <= value <= high]
    if wrong:
        raise ValueError(f"axes.{name} = {wrong[0]:g}: must lie in [{low:.4g}, {high:.4g}] ({unit or 'no unit'})")
    if name == "source_index" and any(value != int(value) for value in values):
        raise ValueError(f"axes.source_index = {list(values)}: must be whole numbers")


def _check_edges(name: str, edges: tuple[float, ...], *, low: float, high: float) -> None:
    if list(edges) != sorted(set(edges)) or edges[0] < low or edges[-1] > high:
        raise ValueError(f"{name} = {list(edges)}: must rise strictly, within [{low:g}, {high:g}]")
