"""Schema of `task=cutouts`: from a list of targets to a store of cutouts (docs/sky.md)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Fraction, PerBand, PositiveFloat, Section
from dhs.config.sky import SplitConfig
from dhs.constants import BAD_MASKBITS

Bit = Annotated[int, Field(ge=0, le=15)]


class BrickFiles(Section):
    """Coadd bricks: `<root>/<brick[:3]>/<brick>/legacysurvey-<brick>-image-g.fits.fz` and its fellows."""

    root: str | None = Field(None, description="folder or fsspec URL of the coadds, `.../dr10/south/coadd`")
    num_processes: Annotated[int, Field(ge=1)] | None = Field(None, description="null: one per core")


class CutoutService(Section):
    """The cutout service: one request at a time per host, at a polite rate."""

    urls: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("https://www.legacysurvey.org/viewer/fits-cutout",), description="one address a host; hosts share the work"
    )
    layer: str = "ls-dr10"
    invvar: bool = Field(True, description="ask for inverse variances; where none come, the border's noise is taken")
    min_interval_s: Annotated[float, Field(ge=0)] = Field(1.0, description="between two requests to one host")
    timeout_s: PositiveFloat = 60.0
    max_tries: Annotated[int, Field(ge=1, le=20)] = Field(5, description="per cutout")
    backoff_s: PositiveFloat = Field(2.0, description="wait before the second try; it doubles with each")
    max_wait_s: PositiveFloat = Field(300.0, description="longest wait; a host that asks for more stops the job")
    give_up_after: Annotated[int, Field(ge=1)] = Field(20, description="cutouts in a row that a host failed to give")
    psf_fwhm_arcsec: PerBand = Field(
        (1.29, 1.18, 1.11), description="g, r, z seeing where the list has no psfsize (DECam medians)"
    )

    @model_validator(mode="after")
    def _distinct_http_hosts(self) -> "CutoutService":
        hosts = [url.split("/")[2] if url.startswith(("http://", "https://")) else "" for url in self.urls]
        if "" in hosts:
            raise ValueError(f"urls = {self.urls[hosts.index('')]}: must start with http:// or https://")
        if len(set(hosts)) < len(hosts):
            raise ValueError(
                f"urls = {', '.join(self.urls)}: must name distinct hosts (one request at a time per host)"
            )
        return self


class CutoutQuality(Section):
    """Which cutouts are kept; the others are counted by reason in the index and never reach a shard."""

    bad_maskbits: tuple[Bit, ...] = Field(BAD_MASKBITS, description="MASKBITS bits of a bad pixel")
    centre_radius_arcsec: PositiveFloat = 1.5
    max_bad_centre: Fraction = Field(0.25, description="bad share of the pixels within centre_radius_arcsec, any band")
    max_bad_stamp: Fraction = Field(0.5, description="bad share of all pixels, any band")


class CutoutsTask(Section):
    """Cut the targets of a list from coadd bricks or the cutout service into WebDataset shards and an index."""

    name: Literal["cutouts"]
    targets: Path = Field(description="Parquet or CSV with target_id (or id), ra_deg, dec_deg")
    output: Path = Field(description="folder of the store")
    source: Literal["bricks", "service"] = "bricks"
    bricks: BrickFiles
    service: CutoutService
    quality: CutoutQuality
    stamp_size_px: Annotated[int, Field(ge=32, le=256)] = 64
    kind: Literal["lrg", "lrg_companion", "spiral", "ring", "merger", "edge_on"] = Field(
        "lrg", description="of targets whose list has no column `kind`"
    )
    split: SplitConfig = Field(description="of targets whose list has no column `split`")
    targets_per_shard: Annotated[int, Field(ge=1, le=20_000)] = Field(1000, description="106 kB each at 64 px")
    max_failed_fraction: Fraction = Field(0.2, description="stop where more of the targets done were not obtained")
    retry_failed: bool = Field(False, description="true: redo the shards that have targets not obtained")
    verify: bool = Field(True, description="true: read finished shards again and compare SHA-256; false: sizes only")

    @model_validator(mode="after")
    def _bricks_somewhere(self) -> "CutoutsTask":
        if self.source == "bricks" and self.bricks.root is None:
            raise ValueError(
                "bricks.root = null: must be the folder or URL of the coadds with source=bricks (or source=service)"
            )
        return self
