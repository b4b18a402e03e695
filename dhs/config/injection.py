"""Schema of `lens= psf= colour= inject= renderer=`: what is painted on a galaxy, and how."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Fraction, Range, Section, require_range

ThetaE = Annotated[float, Field(gt=0, le=6)]


class LensCommon(Section):
    """Shape, shear and position shared by every lens prior (SCIENCE section 3)."""

    axis_ratio: Range = Field(Range(low=0.5, high=1.0), description="SIE q where the light is unknown")
    follow_light: bool = Field(True, description="take q and phi from the galaxy's light, with scatter")
    axis_ratio_scatter: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    angle_scatter_deg: Annotated[float, Field(ge=0, le=90)] = 10.0
    shear_sigma: Annotated[float, Field(ge=0, le=0.3)] = Field(0.05, description="half-normal")
    centre_jitter_arcsec: Annotated[float, Field(ge=0, le=1)] = 0.05
    source_offset: Literal["caustic", "fraction"] = Field(
        "caustic", description="uniform in area inside the tangential and radial caustics, or in a disc"
    )
    source_offset_fraction: Annotated[float, Field(gt=0, le=1.5)] = Field(
        0.5, description="radius of the disc, in theta_E (source_offset=fraction)"
    )

    @model_validator(mode="after")
    def _axis_ratio_in_bounds(self) -> "LensCommon":
        require_range("axis_ratio", self.axis_ratio, low=0.2, high=1.0)
        return self


class UniformLens(LensCommon):
    name: Literal["uniform"]
    theta_e_arcsec: Range = Range(low=0.5, high=2.5)

    @model_validator(mode="after")
    def _theta_e_in_bounds(self) -> "UniformLens":
        require_range("theta_e_arcsec", self.theta_e_arcsec, low=0.05, high=6.0, unit="arcsec")
        return self


class GridLens(LensCommon):
    name: Literal["grid"]
    theta_e_arcsec: Annotated[tuple[ThetaE, ...], Field(min_length=1)] = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)


LensConfig = Annotated[UniformLens | GridLens, Field(discriminator="name")]


class PsfCommon(Section):
    """A kernel is effective (already includes the pixel, as DR10's psfsize does) or optical (does not)."""

    convention: Literal["effective", "optical"] = "effective"
    kernel_size_px: Annotated[int, Field(ge=9, le=255)] = Field(33, description="odd")

    @model_validator(mode="after")
    def _odd(self) -> "PsfCommon":
        if self.kernel_size_px % 2 == 0:
            raise ValueError(f"kernel_size_px = {self.kernel_size_px}: must be odd, or the kernel has no centre pixel")
        return self


class MoffatPsf(PsfCommon):
    name: Literal["moffat"]
    beta: Annotated[float, Field(gt=1, le=20)] = 3.5


class GaussianPsf(PsfCommon):
    name: Literal["gaussian"]


PsfConfig = Annotated[MoffatPsf | GaussianPsf, Field(discriminator="name")]


class PopulationColour(Section):
    """Unlensed source: p(r) ~ 10**(slope r), its own colours (SCIENCE section 2)."""

    name: Literal["population"]
    r_mag: Range = Range(low=22.5, high=26.0)
    r_mag_slope: Annotated[float, Field(ge=-1, le=1)] = 0.3
    g_r_mean: float = 0.3
    g_r_sigma: Annotated[float, Field(ge=0, le=1)] = 0.25
    r_z_mean: float = 0.3
    r_z_sigma: Annotated[float, Field(ge=0, le=1)] = 0.3
    red_fraction: Fraction = Field(0.15, description="share of sources in the red tail")
    red_g_r_mean: float = 1.1
    red_r_z_mean: float = 0.9

    @model_validator(mode="after")
    def _faint(self) -> "PopulationColour":
        require_range("r_mag", self.r_mag, low=18.0, high=30.0, unit="AB mag (unlensed)")
        return self


class SeedSedColour(Section):
    """The seeds' SED: g -0.30 (1 + 0.3 f), z +0.20 (1 + 0.2 f), f = clip((z_s - 1) / 2, 0, 1)."""

    name: Literal["seed_sed"]
    r_mag: Range = Range(low=22.5, high=26.0)
    r_mag_slope: Annotated[float, Field(ge=-1, le=1)] = 0.3
    source_redshift: Range = Range(low=1.0, high=3.0)


ColourConfig = Annotated[PopulationColour | SeedSedColour, Field(discriminator="name")]


class Acceptance(Section):
    """What an arc must be to serve as a training positive; rejects stay in the test set, graded."""

    min_magnification: Annotated[float, Field(ge=0)] = 3.0
    min_arc_snr_sum: Annotated[float, Field(ge=0)] = Field(10.0, description="best band, over the arc's footprint")
    min_theta_e_over_psf: Annotated[float, Field(ge=0)] = Field(0.0, description="theta_E / FWHM_r")
    max_tries: Annotated[int, Field(ge=1, le=1000)] = Field(
        20, description="draws of lens and source; the last one is kept as it is"
    )


class InjectConfig(Section):
    """Which galaxies get an arc, and how many stamps there are."""

    positive_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    controls: Literal["unpaired", "paired"] = Field(
        "unpaired", description="unpaired: a hash of the galaxy's id decides control or injection, for ever"
    )
    samples_per_epoch: Annotated[int, Field(ge=2)] = 5000
    n_val_positives: Annotated[int, Field(ge=1)] = 500
    n_test_positives: Annotated[int, Field(ge=1)] = 2000
    acceptance: Acceptance


class RendererConfig(Section):
    """torch: batched and culled. lenstronomy: the slow reference, one stamp at a time."""

    name: Literal["torch", "lenstronomy"]
    supersampling: Literal[1, 2, 4, 6, 8] = 4
    chunk_size: Annotated[int, Field(ge=1, le=4096)] = Field(16, description="stamps at once; big batches page-fault")
