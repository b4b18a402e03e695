"""Schema of `source.build`: how `inject.py task=bank` makes a bank from a GalSim RealGalaxyCatalog."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Fraction, PositiveFloat, Range, Section, require_range

Edges = Annotated[tuple[PositiveFloat, ...], Field(max_length=20)]
"""Inner boundaries of cells, ascending; none makes one cell."""


class Strata(Section):
    """Cells of redshift, size and clumpiness among which `choice=stratified` shares the bank alike.

    Redshift is the catalogue's; size and clumpiness are measured on the templates: the catalogue does not know them.
    """

    zphot: Edges = (0.5, 1.0, 1.5)
    half_light_radius_arcsec: Edges = (0.2, 0.3, 0.45)
    clumpiness: Edges = (0.05, 0.1)
    candidates_per_source: Annotated[float, Field(gt=1, le=20)] = Field(
        2.0, description="accepted galaxies to choose each source from: what the cells can be filled with"
    )

    @model_validator(mode="after")
    def _ascending(self) -> "Strata":
        for name in ("zphot", "half_light_radius_arcsec", "clumpiness"):
            edges = getattr(self, name)
            if list(edges) != sorted(set(edges)):
                raise ValueError(f"{name} = {list(edges)}: must ascend")
        return self


class BankBuild(Section):
    """What decides a bank, and with how many processes it is built."""

    n_sources: Annotated[int, Field(ge=1)] = 20_000
    seed: Annotated[int, Field(ge=0)] = 1337
    choice: Literal["uniform", "stratified"] = Field(
        "uniform", description="every acceptable galaxy alike, or the cells of `strata` alike"
    )
    strata: Strata = Field(default_factory=lambda: Strata.model_validate({}))
    intrinsic_psf_fwhm_arcsec: Annotated[float, Field(gt=0.05, le=0.5)] = Field(
        0.10, description="at least this; wider where deconvolution would amplify (about 0.13 for ACS)"
    )
    whiten: bool = Field(False, description="make the noise white (GalSim); it adds noise and takes ten times as long")
    denoise_sigma_px: Annotated[float, Field(ge=0, le=5)] = 0.5
    half_light_radius_arcsec: Range = Range(low=0.1, high=1.0)
    min_snr: PositiveFloat = Field(15.0, description="of the flux in the footprint")
    max_pedestal_fraction: Fraction = Field(
        0.01, description="level in the box's outer ring, times the box, over the flux"
    )
    max_tries: Annotated[int, Field(ge=1)] = 400_000
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="of the stored images; float16 is half the file"
    )
    num_processes: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="null: one a core; never decides the result"
    )

    @model_validator(mode="after")
    def _physical(self) -> "BankBuild":
        require_range("half_light_radius_arcsec", self.half_light_radius_arcsec, low=0.0, high=5.0, unit="arcsec")
        return self
