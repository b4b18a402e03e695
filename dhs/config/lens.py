"""Schema of `lens=`: how strong the lenses are, their shape, and where the source lies behind them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import PositiveFloat, Range, Section, require_range

ThetaE = Annotated[float, Field(gt=0, le=6)]


class LensPopulation(Section):
    """What nature offers: the law of `lens=natural`, of the sources of `lens=photometric`, of `natural_weight`."""

    lens_redshift: Range = Field(default=Range(low=0.1, high=0.9), description="lenses of constant comoving density")
    sigma_star_km_s: PositiveFloat = Field(default=161.0, description="velocity-dispersion function of Choi+2007")
    alpha: PositiveFloat = 2.32
    beta: PositiveFloat = 2.67
    source_redshift_median: Annotated[float, Field(ge=0.3, le=4)] = Field(
        default=1.1, description="n(z) ~ z^2 exp(-(1.412 z / median)^1.5), Smail+1994"
    )
    source_redshift_max: Annotated[float, Field(ge=0.5, le=8)] = 4.0

    @model_validator(mode="after")
    def _sources_behind(self) -> "LensPopulation":
        require_range("lens_redshift", self.lens_redshift, low=0.02, high=2.0)
        if self.lens_redshift.low >= self.lens_redshift.high:
            raise ValueError(f"lens_redshift: low = {self.lens_redshift.low} must be below high")
        if self.lens_redshift.high >= self.source_redshift_max:
            raise ValueError(
                f"source_redshift_max = {self.source_redshift_max}: must be above lens_redshift.high = "
                f"{self.lens_redshift.high}, or a lens has no source behind it"
            )
        return self


class LensCommon(Section):
    """Shape, shear and position shared by every lens prior (SCIENCE section 3)."""

    axis_ratio: Range = Field(Range(low=0.5, high=1.0), description="SIE q where the light is unknown")
    follow_light: bool = Field(True, description="take q and phi from the galaxy's light, with scatter")
    axis_ratio_scatter: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    angle_scatter_deg: Annotated[float, Field(ge=0, le=90)] = 10.0
    shear_sigma: Annotated[float, Field(ge=0, le=0.3)] = Field(0.05, description="half-normal")
    centre_jitter_arcsec: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="of the lens about the galaxy's own centre"
    )
    source_offset: Literal["caustic", "fraction"] = Field(
        "caustic", description="uniform in area inside the tangential and radial caustics, or in a disc"
    )
    source_offset_fraction: Annotated[float, Field(gt=0, le=1.5)] = Field(
        0.5, description="radius of the disc, in theta_E (source_offset=fraction)"
    )
    population: LensPopulation = LensPopulation()

    @model_validator(mode="after")
    def _axis_ratio_in_bounds(self) -> "LensCommon":
        require_range("axis_ratio", self.axis_ratio, low=0.2, high=1.0)
        return self


class RangedLens(LensCommon):
    """A prior with an interval of theta_E."""

    theta_e_arcsec: Range = Range(low=0.5, high=2.5)

    @model_validator(mode="after")
    def _theta_e_in_bounds(self) -> "RangedLens":
        require_range("theta_e_arcsec", self.theta_e_arcsec, low=0.05, high=6.0, unit="arcsec")
        return self


class UniformLens(RangedLens):
    name: Literal["uniform"]


class NaturalLens(RangedLens):
    """theta_E as nature has it: velocity-dispersion function, volume, n(z_s), cross-section theta_E^2."""

    name: Literal["natural"]

    @model_validator(mode="after")
    def _an_interval(self) -> "NaturalLens":
        if self.theta_e_arcsec.low >= self.theta_e_arcsec.high:
            raise ValueError(f"theta_e_arcsec.low = {self.theta_e_arcsec.low}: must be below high for a density")
        return self


class PhotometricLens(RangedLens):
    """theta_E of each galaxy from its own z magnitude and redshift: M_r -> sigma_v -> theta_E."""

    name: Literal["photometric"]
    sigma_scatter_dex: Annotated[float, Field(ge=0, le=0.3)] = Field(
        0.07, description="of log10 sigma_v at given luminosity (Bernardi+2003, Hyde & Bernardi 2009)"
    )
    redraws: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="draws of scatter and source redshift to land in theta_e_arcsec; else the lens is rejected"
    )
    unknown: Literal["error", "uniform"] = Field(
        "error", description="galaxies without z magnitude or redshift: refuse, or uniform in theta_e_arcsec"
    )


class GridLens(LensCommon):
    name: Literal["grid"]
    theta_e_arcsec: Annotated[tuple[ThetaE, ...], Field(min_length=1)] = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)


LensConfig = Annotated[UniformLens | GridLens | NaturalLens | PhotometricLens, Field(discriminator="name")]
