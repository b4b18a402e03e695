"""Schema of `task=validate`: which set of stamps, how much of it, and what it may look like (docs/validate.md)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dhs.config.base import Fraction, PositiveFloat, Range, Section

Count = Annotated[int, Field(ge=0)]


class ValidateLimits(Section):
    """Allowed figures. Differences may exceed theirs by three standard errors, taken over galaxies, not rows."""

    min_cutout_ok: Fraction = Field(0.95, description="rows with a good cutout, in every split")
    injected_fraction: Range = Field(Range(low=0.2, high=0.8), description="of the good rows of every split")
    min_train_fraction: Fraction = Field(0.5, description="of all rows, where there is a train split and another")
    max_unreadable_fraction: Fraction = Field(0.0, description="rows without a stamp though said to be good")
    max_blank_fraction: Fraction = Field(0.0, description="stamps with a band that is dark or constant")
    max_shared_galaxies: Count = Field(0, description="galaxies in two splits, by id and within 1 arcsec")
    max_shared_sky: Count = Field(0, description="HEALPix pixels (nside 128) with rows of two splits")
    max_duplicate_fraction: Fraction = Field(0.01, description="rows of a split whose pixels an earlier row has")
    min_fraction_above_snr_1: Fraction = Field(0.5, description="injections whose brightest pixel exceeds S/N 1")
    median_arc_snr: Range = Field(Range(low=1.0, high=20.0), description="of the brightest pixel; Gen5's is 4.2")
    max_fraction_above_snr_50: Fraction = Field(0.05, description="injections whose brightest pixel exceeds S/N 50")
    max_outshining: Fraction = Field(0.25, description="arcs brighter in r than their galaxy")
    max_mag_error: PositiveFloat = Field(0.1, description="median of arc magnitude - lensed source's, mag")
    max_flux_factor: PositiveFloat = Field(1.1, description="arc light in pixels over columns, of pairs of one galaxy")
    max_snr_factor: PositiveFloat = Field(3.0, description="arc S/N in pixels over columns, of single stamps")
    min_seen: Fraction = Field(0.5, description="arcs of S/N above 5 that the pixels show")
    max_noise_factor: PositiveFloat = Field(2.0, description="noise in pixels over that of the depth: the unit")
    min_colour_scatter: PositiveFloat = Field(0.1, description="scatter of arc g-r and of r-z, mag")
    max_one_colour: Fraction = Field(0.3, description="arcs within 0.01 mag of one g-r")
    max_source_hlr_arcsec: PositiveFloat = Field(1.3, description="median; an evenly lit 2.88-arcsec box has 1.15")
    max_cohens_d: PositiveFloat = Field(0.1, description="injections against controls: normalisation, depth, seeing")
    max_core_d: PositiveFloat = Field(0.2, description="the same for the core's light in z, which arcs add to")
    max_ks: PositiveFloat = Field(0.1, description="Kolmogorov-Smirnov distance, injections against controls")
    max_unseen_d: PositiveFloat = Field(0.6, description="a set too small to show this much is not checked")


class ValidateTask(Section):
    """Is a set of stamps fit to train on? Exit 0: yes, 1: no, 3: something could not be checked, 2: no set at all."""

    name: Literal["validate"]
    input: str = Field(description="folder (or one file) of a set of stamps: a path, or an fsspec URL (s3://...)")
    output_dir: Path | None = Field(None, description="validate.html and validate.json; null: <input>_validate here")
    pixel_rows: Annotated[int, Field(ge=1)] | None = Field(
        100_000, description="rows whose pixels are read, whole row groups by a hash; null: all. Columns: all, always"
    )
    max_rows_kept: Annotated[int, Field(ge=1000)] = Field(
        2_000_000, description="rows whose figures are kept, whole galaxies by a hash; identities: all, always"
    )
    checksums: Literal["none", "read", "all"] = Field(
        "read", description="parts compared with the ledger's SHA-256: none, those whose pixels are read, all"
    )
    num_processes: Annotated[int, Field(ge=1, le=256)] | None = Field(None, description="null: one a core")
    bank: Path | None = Field(None, description="HDF5 bank of the sources: their clumpiness, by source index")
    sources_may_repeat: bool = Field(True, description="one source in train and test: true: a warning; false: fails")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(1, description="chooses row groups, rows and stamps shown")
    limits: ValidateLimits
