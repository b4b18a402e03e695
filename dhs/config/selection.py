"""Schema of `evaluate.selection`: cells of the selection function, bins of its curves (docs/selection.md)."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from dhs.config.base import Section
from dhs.config.manifest import Edges, SelectionDesign

Bins = Annotated[tuple[float, ...], Field(min_length=2)]


class SelectionSettings(Section):
    """Completeness over theta_E x seeing x depth; hosts are galaxies of the test sky whose own conditions fit."""

    enabled: bool = True
    per_cell: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=40, description="injections of each cell with a galaxy"
    )
    theta_e_arcsec: Annotated[tuple[float, ...], Field(min_length=1)] = (0.5, 1.0, 1.5, 2.0, 2.5)
    psfsize_r_edges_arcsec: Edges = Field(
        default=(0.9, 1.1, 1.3, 1.9), description="r-band FWHM; n+1 edges make n cells"
    )
    psfdepth_r_edges_mag: Edges = Field(
        default=(23.5, 24.2, 24.8, 26.0), description="r-band 5-sigma point-source depth, AB"
    )
    arc_snr_sum_edges: Bins = (0.0, 5.0, 10.0, 15.0, 25.0, 40.0, 60.0, 100.0, 200.0)
    source_r_mag_edges: Bins = (22.5, 23.0, 23.5, 24.0, 24.5, 25.0, 25.5, 26.0)
    lens_r_mag_edges: Bins = (16.0, 18.0, 19.0, 19.5, 20.0, 20.5, 21.0, 21.5, 22.0, 23.0)

    @model_validator(mode="after")
    def _possible(self) -> "SelectionSettings":
        _ = self.design  # the manifest's own rules of axes and edges
        for name in ("arc_snr_sum_edges", "source_r_mag_edges", "lens_r_mag_edges"):
            edges = getattr(self, name)
            if any(low >= high for low, high in pairwise(edges)):
                raise ValueError(f"{name} = {list(edges)}: must rise strictly")
        if list(self.theta_e_arcsec) != sorted(self.theta_e_arcsec):
            raise ValueError(f"theta_e_arcsec = {list(self.theta_e_arcsec)}: must rise, for completeness between them")
        return self

    @property
    def design(self) -> SelectionDesign:
        """The cells, as `inject.py task=manifest task/design=selection` has them; ValueError where there are none."""
        return SelectionDesign(
            name="selection",
            label="selection",
            per_cell=self.per_cell,
            theta_e_arcsec=self.theta_e_arcsec,
            psfsize_r_edges_arcsec=self.psfsize_r_edges_arcsec,
            psfdepth_r_edges_mag=self.psfdepth_r_edges_mag,
        )
