"""Schema of `task=bank_check`: which bank, and what a bank of galaxies may look like."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dhs.config.base import Fraction, PositiveFloat, Range, Section


class BankLimits(Section):
    """Allowed figures. One of a source's own figures may be exceeded by ``max_outlier_fraction`` of the sources."""

    max_outlier_fraction: Fraction = 0.05
    max_flux_error: PositiveFloat = Field(1e-5, description="|flux - 1| of every image; 2e-3 where stored as float16")
    max_hlr_column_bias: PositiveFloat = Field(0.10, description="|median of measured over stored HLR - 1|")
    max_hlr_column_scatter: PositiveFloat = Field(0.15, description="standard deviation of that ratio")
    max_catalog_hlr_bias: PositiveFloat = Field(0.10, description="the same against the catalogue's fits")
    max_catalog_hlr_scatter: PositiveFloat = 0.25
    max_hlr_of_empty_box: PositiveFloat = Field(0.6, description="median HLR over that of an evenly lit box")
    max_pedestal_fraction: PositiveFloat = Field(0.02, description="of a source's flux, either sign")
    max_frame_flux: PositiveFloat = Field(1e-3, description="of a source's flux, in the outermost two pixels")
    min_galaxy_light: Fraction = Field(0.9, description="of a source's flux, in one object above the rim's noise")
    max_speckle: PositiveFloat = Field(0.1, description="changes of sign per pair of pixels in the outer box")
    min_snr: PositiveFloat = 10.0
    max_noise_likeness: PositiveFloat = Field(
        0.35, description="clumpiness beyond the matched Sersic profile's; 1 is that of pure noise"
    )
    max_centroid_offset_half_boxes: PositiveFloat = 0.15
    max_duplicate_fraction: Fraction = 0.005
    max_support_half_boxes: PositiveFloat = Field(1.0, description="farthest lit pixel; advice only")
    max_box_fill: Fraction = Field(0.85, description="of the isophote's upright rectangle; advice only")
    max_hlr_edge_fraction: Fraction = Field(0.1, description="sources within 5% of the filter's ends; advice only")


class BankCheckTask(Section):
    """Is a source bank galaxies? Exit 0: yes, 1: no, 2: it cannot be read."""

    name: Literal["bank_check"]
    bank: Path | None = Field(None, description="HDF5 bank to check, anybody's; null: source.bank")
    output_dir: Path | None = Field(None, description="check.html and check.json; null: <bank>_check in this folder")
    seed: Annotated[int, Field(ge=0)] = Field(1, description="chooses the sources shown and matched")
    n_matched: Annotated[int, Field(ge=8, le=20_000)] = Field(400, description="sources compared with Sersic profiles")
    hlr_filter_arcsec: Range = Field(Range(low=0.1, high=1.0), description="where the file does not state its own")
    limits: BankLimits
