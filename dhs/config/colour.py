"""Schema of `colour=`: brightness and colours of the unlensed sources (SCIENCE section 2)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Fraction, Range, Section, require_range

BRIGHTEST_R_MAG = 20.0
"""AB. Brighter galaxies are as near as the lens (GAMA, r < 19.8, ends at redshift 0.5), and an arc of one outshines
its lens: the mistake of the seeds' magnitudes."""

PLAUSIBLE_R_MAG = 22.0
"""AB. Sources brighter than this unlensed are rare; a warning is logged."""

ColourMean = Annotated[float, Field(ge=-1.5, le=3.0)]


class SourceCounts(Section):
    """p(r) ~ 10**(slope r) between the limits, unlensed."""

    r_mag: Range = Range(low=22.5, high=26.0)
    r_mag_slope: Annotated[float, Field(ge=-1, le=1)] = 0.3

    @model_validator(mode="after")
    def _faint(self) -> "SourceCounts":
        if self.r_mag.low < BRIGHTEST_R_MAG:
            raise ValueError(
                f"r_mag.low = {self.r_mag.low:g}: must be at least {BRIGHTEST_R_MAG:g}: unlensed AB magnitudes of "
                "galaxies behind the lens (22.5-26), not of the arc nor of the lens"
            )
        require_range("r_mag", self.r_mag, low=BRIGHTEST_R_MAG, high=30.0, unit="AB mag (unlensed)")
        return self


class PopulationColour(SourceCounts):
    """Faint and blue, each source with colours of its own."""

    name: Literal["population"]
    g_r_mean: ColourMean = 0.3
    g_r_sigma: Annotated[float, Field(ge=0, le=1)] = 0.25
    r_z_mean: ColourMean = 0.3
    r_z_sigma: Annotated[float, Field(ge=0, le=1)] = 0.3
    red_fraction: Fraction = Field(0.15, description="share of sources in the red tail")
    red_g_r_mean: ColourMean = 1.1
    red_r_z_mean: ColourMean = 0.9


class SeedSedColour(SourceCounts):
    """The seeds' SED: g -0.30 (1 + 0.3 f), z +0.20 (1 + 0.2 f), f = clip((z_s - 1) / 2, 0, 1)."""

    name: Literal["seed_sed"]
    source_redshift: Range = Field(
        Range(low=1.0, high=3.0), description="drawn here where the lens prior draws no source redshift of its own"
    )


class BankColour(SourceCounts):
    """Each source's own measured colours: columns mag_g, mag_r, mag_z of the bank, which morphology belongs to."""

    name: Literal["bank"]
    brightness: Literal["counts", "bank"] = Field(
        "counts", description="r drawn from the counts with the source's own colours, or its own r magnitude"
    )


ColourConfig = Annotated[PopulationColour | SeedSedColour | BankColour, Field(discriminator="name")]
