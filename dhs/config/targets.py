"""Schema of `task=targets`: which catalogue rows become hosts, controls and negatives (SCIENCE section 4)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Fraction, PositiveFloat, Section
from dhs.constants import BAD_MASKBITS

NegativeKind = Literal["lrg_companion", "spiral", "ring", "merger", "edge_on"]
"""Classes a negative may have: constants.CLASSES without the host class."""

TractorType = Literal["REX", "DEV", "EXP", "SER"]

Bit = Annotated[int, Field(ge=0, le=30)]

RuleName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")]


class LrgSelection(Section):
    """Colour and magnitude cut of the hosts; its thresholds are in dhs.sky.lrg_cuts."""

    cut: Literal["v1", "v2", "v3", "v4", "v5"] = Field("v3", description="v3 is the seeds' v3_color_relaxed")
    magnitudes: Literal["dereddened", "observed"] = Field(
        "dereddened", description="dereddened: FLUX / MW_TRANSMISSION; observed: FLUX, as the seeds selected"
    )


class QualityCuts(Section):
    """What a catalogue row must be to count at all."""

    min_nobs: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = Field(
        (2, 2, 2), description="exposures in g, r, z: a lone exposure has no second one to reject cosmic rays with"
    )
    bad_maskbits: tuple[Bit, ...] = Field(BAD_MASKBITS, description="MASKBITS bits that reject a row")
    bad_fitbits: tuple[Bit, ...] = Field(
        (0, 2, 12),
        description="FITBITS bits that reject a row: forced point source, radius at its limit, Gaia point source",
    )
    dec_deg: tuple[float, float] = Field(
        (-90.0, 32.375), description="footprint; north of 32.375 is BASS/MzLS, another instrument"
    )

    @model_validator(mode="after")
    def _dec_ordered(self) -> "QualityCuts":
        low, high = self.dec_deg
        if not -90.0 <= low < high <= 90.0:
            raise ValueError(f"dec_deg = [{low}, {high}]: must be ascending within [-90, 90]")
        return self


class Exclusion(Section):
    """Known lenses: neither hosts nor negatives."""

    radius_arcsec: PositiveFloat = 11.0
    lenscat: bool = Field(True, description="the 32,838 lenses and candidates of the lenscat package")
    csv: tuple[Path, ...] = Field((), description="lists of your own, with columns ra and dec (or ra_deg, dec_deg)")


class CatalogueRule(Section):
    """A class of negatives from catalogue columns: every threshold that is given must hold."""

    name: RuleName = Field(description="written to the column `subclass`")
    kind: NegativeKind
    before_lrg: bool = Field(False, description="true: wins over the LRG cut, so such galaxies are no hosts")
    types: Annotated[tuple[TractorType, ...], Field(min_length=1)] = ("REX", "DEV", "EXP", "SER")
    r_mag_max: float | None = Field(None, description="dereddened or observed as lrg.magnitudes says")
    g_r_max: float | None = None
    shape_r_min_arcsec: PositiveFloat | None = Field(None, description="half-light radius (major axis)")
    axis_ratio_min: Fraction | None = None
    axis_ratio_max: Fraction | None = None
    sersic_max: PositiveFloat | None = Field(None, description="SERSIC; 1 for EXP, 4 for DEV")

    @model_validator(mode="after")
    def _says_something(self) -> "CatalogueRule":
        thresholds = self.model_dump(exclude={"name", "kind", "before_lrg", "types"}, exclude_none=True)
        if not thresholds:
            raise ValueError(f"rule {self.name} has no threshold: it would take every galaxy")
        low, high = self.axis_ratio_min, self.axis_ratio_max
        if low is not None and high is not None and low > high:
            raise ValueError(f"axis_ratio_min = {low}: must not be above axis_ratio_max = {high}")
        return self


class VoteRule(Section):
    """A class of negatives from volunteers' votes: every column must reach its minimum."""

    name: RuleName
    kind: NegativeKind
    minimum: Annotated[dict[str, float], Field(min_length=1)] = Field(description="column -> lowest value")


class MorphologyCatalogue(Section):
    """A table of votes (CSV, Parquet or FITS), matched by position; the first rule that holds decides."""

    path: Path
    ra_column: str = "ra"
    dec_column: str = "dec"
    radius_arcsec: PositiveFloat = 1.0
    rules: Annotated[tuple[VoteRule, ...], Field(min_length=1)] = (
        VoteRule(name="gz_merger", kind="merger", minimum={"merging_merger_fraction": 0.5}),
        VoteRule(name="gz_disturbed", kind="merger", minimum={"merging_major-disturbance_fraction": 0.5}),
        VoteRule(
            name="gz_edge_on",
            kind="edge_on",
            minimum={"smooth-or-featured_featured-or-disk_fraction": 0.5, "disk-edge-on_yes_fraction": 0.7},
        ),
        VoteRule(
            name="gz_spiral",
            kind="spiral",
            minimum={
                "smooth-or-featured_featured-or-disk_fraction": 0.5,
                "disk-edge-on_no_fraction": 0.5,
                "has-spiral-arms_yes_fraction": 0.7,
            },
        ),
    )


class Matching(Section):
    """Negatives of named classes thinned until depth, exposures, seeing and type are those of the positives."""

    enabled: bool = True
    variables: tuple[
        Literal[
            "psfdepth_g_mag",
            "psfdepth_r_mag",
            "psfdepth_z_mag",
            "psfsize_g_arcsec",
            "psfsize_r_arcsec",
            "psfsize_z_arcsec",
            "nobs_g",
            "nobs_r",
            "nobs_z",
        ],
        ...,
    ] = Field(("psfdepth_r_mag", "psfsize_r_arcsec", "nobs_z"), description="binned at quantiles of the positives")
    n_bins: Annotated[int, Field(ge=1, le=20)] = Field(4, description="of each variable")
    match_type: bool = Field(True, description="Tractor type too, as far as a class has the positives' types")
    coverage: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="share of the positives whose cells must have negatives enough; the rest stay short"
    )


class Negatives(Section):
    rules: tuple[CatalogueRule, ...] = Field((), description="in order: the first that holds decides")
    morphology: tuple[MorphologyCatalogue, ...] = Field((), description="votes win over rules and over the LRG cut")
    match: Matching

    @model_validator(mode="after")
    def _names_distinct(self) -> "Negatives":
        names = [r.name for r in self.rules] + [r.name for catalogue in self.morphology for r in catalogue.rules]
        own = [r.name for r in self.rules]
        if len(set(own)) != len(own):
            raise ValueError(f"rules: names must differ, got {', '.join(names)}")
        return self


class TargetsTask(Section):
    """Select hosts, controls and negatives from DR10 sweeps (sky=dr10) into one Parquet table."""

    name: Literal["targets"]
    output_dir: Path = Field(description="targets.parquet, manifest.json and the parts of a resumable run")
    lrg: LrgSelection
    quality: QualityCuts
    exclusion: Exclusion
    negatives: Negatives
    on_damaged_file: Literal["stop", "skip"] = Field(
        "stop", description="skip: go on without a file that cannot be read; the manifest names it"
    )
    rows_per_block: Annotated[int, Field(ge=1000, le=5_000_000)] = Field(100_000, description="rows in memory at once")
