"""Schema of `source=`: the unlensed galaxies."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.bank_build import BankBuild
from dhs.config.base import Fraction, PositiveFloat, Range, Section, require_range
from dhs.config.location import Location, require_here


class SourceStamp(Section):
    """Grid of a source template; unit total flux."""

    stamp_size_px: Annotated[int, Field(ge=32, le=512, multiple_of=2)] = 96
    pixel_scale_arcsec: Annotated[float, Field(gt=0, le=0.2)] = 0.03


class BankedSource(SourceStamp):
    """Templates read from an HDF5 bank."""

    bank: Location = Field(description="HDF5 bank, path or URL; built by inject.py task=bank")
    storage: Literal["resident", "mapped"] = Field(
        "resident",
        description="resident: unpacked into memory, which forked workers share; "
        "mapped: unpacked once into paths.cache_dir and mapped, one copy for every process of the machine",
    )

    @property
    def bank_file(self) -> Path:
        """The bank as a path; ValueError where it is a URL."""
        return require_here("source.bank", self.bank)

    @property
    def bank_is_absent(self) -> bool:
        """There is no such file. What a URL names is looked for when it is fetched."""
        return isinstance(self.bank, Path) and not self.bank.is_file()


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


class CosmosSource(BankedSource):
    """Real HST COSMOS galaxies from an HDF5 bank."""

    name: Literal["cosmos"]
    catalog_dir: Path | None = Field(None, description="folder of the GalSim RealGalaxyCatalog; only to build")
    catalog_file: str | None = Field(None, description="its main table; null: found by its name")
    build: BankBuild
    build_if_missing: bool = Field(False, description="train.py builds the bank first from catalog_dir")


Channel = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]
"""A channel of a stamp: its number, or its name (NPZ key ``bands``, FITS EXTNAME or FILTER)."""


class StampBands(Section):
    """Which channel of the stamps serves which survey band; one channel may serve several."""

    g: Channel
    r: Channel
    z: Channel


class ZeroPoints(Section):
    """AB magnitude of one count in the channel that serves each band."""

    g: float
    r: float
    z: float


class StampsSource(BankedSource):
    """The user's own galaxy stamps (FITS, NPZ), cleaned into a bank by inject.py task=bank."""

    name: Literal["stamps"]
    files: tuple[str, ...] = Field((), description="FITS and NPZ files or patterns (stamps/*.fits); only to build")
    bands: StampBands | None = Field(None, description="null: one image serves every band")
    input_pixel_scale_arcsec: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        None, description="of the files; null: what each file says (WCS, NPZ pixscale_arcsec)"
    )
    extension: Channel | None = Field(None, description="FITS image to read, EXTNAME or number; null: SCI or the only")
    background: float | None = Field(None, description="sky per input pixel; null: the file's, or the border's median")
    noise_sigma: PositiveFloat | None = Field(
        None, description="uncorrelated noise per input pixel; null: the file's, or measured on the border"
    )
    psf_fwhm_arcsec: PositiveFloat | None = Field(None, description="recorded, not removed; null: the file's")
    zero_points: ZeroPoints | float | None = Field(
        None, description="AB; one number serves every channel; null: no magnitudes in the bank"
    )
    on_nan: Literal["error", "reject"] = Field("error", description="what a stamp with NaN does to the build")
    denoise_sigma_px: Annotated[float, Field(ge=0, le=5)] = 0.5
    half_light_radius_arcsec: Range = Range(low=0.1, high=1.0)
    min_snr: PositiveFloat = Field(20.0, description="of the flux in the footprint")
    max_pedestal_fraction: Fraction = Field(
        0.01, description="level in the box's outer ring, times the box, over the flux"
    )

    @model_validator(mode="after")
    def _zero_points_have_bands(self) -> "StampsSource":
        if self.bands is None and isinstance(self.zero_points, ZeroPoints):
            raise ValueError("zero_points: one number where bands is null (one image serves every band)")
        return self


ElementarySource = Annotated[SersicSource | ClumpySource | CosmosSource | StampsSource, Field(discriminator="name")]


class MixtureComponent(Section):
    """One source of a mixture."""

    weight: PositiveFloat = Field(1.0, description="relative; the weights of a mixture are normalised")
    source: ElementarySource


class MixtureSource(Section):
    """Several sources drawn from by weight: the hybrid and domain-randomisation arms."""

    name: Literal["mixture"]
    components: Annotated[dict[str, MixtureComponent], Field(min_length=1)] = Field(
        description="label: {weight, source}; the labels are free"
    )

    @model_validator(mode="after")
    def _one_grid(self) -> "MixtureSource":
        first, *others = self.components.items()
        for label, component in others:
            grids = [(each.stamp_size_px, each.pixel_scale_arcsec) for each in (first[1].source, component.source)]
            if grids[0] != grids[1]:
                told = " and ".join(
                    f'{name} {size} px of {scale:g}"'
                    for name, (size, scale) in zip((first[0], label), grids, strict=True)
                )
                raise ValueError(f"components: different stamps, {told}; give them one stamp_size_px and pixel scale")
        return self


SourceConfig = Annotated[
    SersicSource | ClumpySource | CosmosSource | StampsSource | MixtureSource, Field(discriminator="name")
]


def elementary_sources(config: "SourceConfig") -> list[tuple[str, SersicSource | ClumpySource | BankedSource]]:
    """(key of its section, source) of ``config`` itself, or of every component of a mixture."""
    if isinstance(config, MixtureSource):
        return [(f"source.components.{label}.source", each.source) for label, each in config.components.items()]
    return [("source", config)]
