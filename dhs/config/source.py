"""Schema of `source=`: the unlensed galaxies."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Fraction, PositiveFloat, Range, Section, require_range


class SourceStamp(Section):
    """Grid of a source template; unit total flux."""

    stamp_size_px: Annotated[int, Field(ge=32, le=512, multiple_of=2)] = 96
    pixel_scale_arcsec: Annotated[float, Field(gt=0, le=0.2)] = 0.03


class SersicSource(SourceStamp):
    """Smooth Sersic profiles: the seeds' control."""

    name: Literal["sersic"]
    seed: Annotated[int, Field(ge=0)]
    n_sources: Annotated[int, Field(ge=1)] = 20_000
    sersic_index: Range = Range(low=0.5, high=2.5)
    half_light_radius_arcsec: Range = Range(low=0.10, high=0.50)
    axis_ratio: Range = Range(low=0.3, high=1.0)

    @model_validator(mode="after")
    def _physical(self) -> "SersicSource":
        require_range("sersic_index", self.sersic_index, low=0.3, high=6.0)
        require_range("half_light_radius_arcsec", self.half_light_radius_arcsec, low=0.02, high=1.0, unit="arcsec")
        require_range("axis_ratio", self.axis_ratio, low=0.1, high=1.0)
        return self


class ClumpySource(SourceStamp):
    """Sersic disc plus star-forming knots: the realistic default without a bank."""

    name: Literal["clumpy"]
    seed: Annotated[int, Field(ge=0)]
    n_sources: Annotated[int, Field(ge=1)] = 20_000
    sersic_index: Range = Range(low=0.5, high=2.0)
    half_light_radius_arcsec: Range = Range(low=0.12, high=0.50)
    axis_ratio: Range = Range(low=0.3, high=1.0)
    n_knots_max: Annotated[int, Field(ge=1, le=64)] = 12
    knot_flux_fraction: Range = Range(low=0.1, high=0.6)
    knot_sigma_arcsec: Range = Range(low=0.03, high=0.09)

    @model_validator(mode="after")
    def _physical(self) -> "ClumpySource":
        require_range("sersic_index", self.sersic_index, low=0.3, high=6.0)
        require_range("half_light_radius_arcsec", self.half_light_radius_arcsec, low=0.02, high=1.0, unit="arcsec")
        require_range("axis_ratio", self.axis_ratio, low=0.1, high=1.0)
        require_range("knot_flux_fraction", self.knot_flux_fraction, low=0.0, high=1.0)
        require_range("knot_sigma_arcsec", self.knot_sigma_arcsec, low=0.005, high=0.5, unit="arcsec")
        return self


class BankBuild(Section):
    """How `inject.py task=bank` makes a bank from a GalSim RealGalaxyCatalog."""

    catalog_dir: Path | None = Field(None, description="folder of the RealGalaxyCatalog")
    catalog_file: str | None = Field(None, description="main table; null: found by its name")
    n_sources: Annotated[int, Field(ge=1)] = 20_000
    seed: Annotated[int, Field(ge=0)] = 1337
    intrinsic_psf_fwhm_arcsec: Annotated[float, Field(gt=0.05, le=0.5)] = Field(
        0.10, description="at least this; wider where deconvolution would amplify (about 0.13 for ACS)"
    )
    denoise_sigma_px: Annotated[float, Field(ge=0, le=5)] = 0.5
    half_light_radius_arcsec: Range = Range(low=0.1, high=1.0)
    min_snr: PositiveFloat = Field(20.0, description="of the flux in the footprint")
    max_pedestal_fraction: Fraction = Field(
        0.01, description="level in the box's outer ring, times the box, over the flux"
    )
    max_tries: Annotated[int, Field(ge=1)] = 400_000


class CosmosSource(SourceStamp):
    """Real HST COSMOS galaxies from an HDF5 bank."""

    name: Literal["cosmos"]
    bank: Path = Field(description="HDF5 bank; built by inject.py task=bank")
    build: BankBuild
    build_if_missing: bool = Field(False, description="train.py builds the bank first from build.catalog_dir")


SourceConfig = Annotated[SersicSource | ClumpySource | CosmosSource, Field(discriminator="name")]
