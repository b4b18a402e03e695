"""Schema of `sky=`: where the galaxies come from, and how the sky is split."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import PerBand, PositiveFloat, Section
from dhs.config.location import Location, require_here


class SplitConfig(Section):
    """Train/val/test by sky position: the HEALPix pixel of a galaxy decides, through a SHA hash."""

    train: Annotated[float, Field(gt=0, lt=1)] = Field(0.70, description="fraction of sky pixels")
    val: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.15
    nside: Literal[8, 16, 32, 64, 128, 256, 512] = Field(128, description="HEALPix nside, nested order")
    salt: str = Field("dhs-split-1", max_length=16, description="another salt is another split")

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitConfig":
        total = self.train + self.val + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train + val + test = {total:g}: must be 1")
        return self


class ClassWeights(Section):
    """Relative frequency of each named class; they need not sum to one."""

    lrg: Annotated[float, Field(ge=0)] = 0.5
    lrg_companion: Annotated[float, Field(ge=0)] = 0.15
    spiral: Annotated[float, Field(ge=0)] = 0.1
    ring: Annotated[float, Field(ge=0)] = 0.08
    merger: Annotated[float, Field(ge=0)] = 0.09
    edge_on: Annotated[float, Field(ge=0)] = 0.08

    @model_validator(mode="after")
    def _some_lrg(self) -> "ClassWeights":
        if self.lrg <= 0:
            raise ValueError("lrg must be above 0: lenses are injected into LRGs")
        return self


class MockSky(Section):
    """A DR10-like mock survey drawn with GalSim; galaxy i is a pure function of (seed, i)."""

    name: Literal["mock"]
    n_galaxies: Annotated[int, Field(ge=20, le=10_000_000)]
    seed: Annotated[int, Field(ge=0)]
    stamp_size_px: Annotated[int, Field(ge=32, le=256)] = 64
    class_weights: ClassWeights
    neighbour_density_arcmin2: Annotated[float, Field(ge=0, le=300)] = Field(
        40.0, description="galaxies per square arcmin with r < 24.5"
    )
    star_density_arcmin2: Annotated[float, Field(ge=0, le=50)] = 2.0
    noise_correlation: Annotated[float, Field(ge=0, le=0.45)] = Field(
        0.13, description="lag-1 correlation of the pixel noise"
    )
    num_processes: Annotated[int, Field(ge=1)] | None = Field(None, description="null: one per core")
    split: SplitConfig


class FilesSky(Section):
    """Cutouts in the user's own NPZ or FITS files."""

    name: Literal["files"]
    paths: Annotated[tuple[Location, ...], Field(min_length=1)] = Field(
        description="NPZ or FITS files, paths or URLs, in order"
    )
    stamp_size_px: Annotated[int, Field(ge=32, le=256)] = 64
    pixel_scale_arcsec: PositiveFloat = Field(0.262, description="what the files must say, within 1%")
    kind: Literal["lrg", "lrg_companion", "spiral", "ring", "merger", "edge_on"] = "lrg"
    psf_fwhm_arcsec: PerBand = Field(
        (1.29, 1.18, 1.11), description="g, r, z seeing of files that carry none (DECam medians)"
    )
    split: SplitConfig

    @property
    def files(self) -> tuple[Path, ...]:
        """The files as paths; ValueError where one is a URL."""
        return tuple(require_here("sky.paths", path) for path in self.paths)


class Dr10Sky(Section):
    """The DR10 catalogue: sweep or Tractor FITS files. It has no pixels; task=targets and task=cutouts lead to some."""

    name: Literal["dr10"]
    sweep_dir: Annotated[str, Field(min_length=1)] = Field(
        description="folder or fsspec URL, searched at every depth for sweep-* and tractor-*.fits[.gz]; or one file"
    )
    photoz_dir: str | None = Field(None, description="sweep-*-pz.fits, row by row those of the sweeps")
    survey_bricks: str | None = Field(
        None, description="survey-bricks-dr10-south.fits.gz: positions in other bricks are outside the footprint"
    )
    split: SplitConfig


class StoreSky(Section):
    """A store of cutouts made by `inject.py task=cutouts`."""

    name: Literal["store"]
    path: Location = Field(description="folder of the store, path or URL")
    resident: bool = Field(False, description="true: read all pixels into memory at the start; false: map the shards")
    verify: bool = Field(False, description="true: read and judge every cutout at the start; damaged ones are left out")
    split: SplitConfig | None = Field(None, description="null: the split the store was made with")

    @property
    def folder(self) -> Path:
        """The store as a path; ValueError where it is a URL."""
        return require_here("sky.path", self.path)


class StampsSky(Section):
    """Finished stamps of `inject.py task=stamps` or `task=compact`: nothing is injected (docs/compact.md)."""

    name: Literal["stamps"]
    path: Annotated[str, Field(min_length=1)] = Field(description="folder or fsspec URL of a finished stamp set")
    stamp_size_px: Annotated[int, Field(ge=16, le=512)] = Field(64, description="what the set must have")
    verify: bool = Field(True, description="true: compare the checksum of every stamp each time it is read")


SkyConfig = Annotated[MockSky | FilesSky | Dr10Sky | StoreSky | StampsSky, Field(discriminator="name")]
