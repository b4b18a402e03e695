"""Schema of `task=stamps`: from a manifest to a set of finished stamps on disk or in a bucket (docs/stamps.md)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Fraction, Section
from dhs.config.cutouts import CutoutQuality

LEVELS = {"zstd": (1, 22), "gzip": (1, 9)}
"""Allowed compression levels."""


class StampsTask(Section):
    """Render every row of a manifest into Parquet parts, restartable."""

    name: Literal["stamps"]
    manifest: Annotated[str, Field(min_length=1)] = Field(description="Parquet of task=manifest; path or fsspec URL")
    output: Annotated[str, Field(min_length=1)] = Field(description="folder of the set; path or fsspec URL (s3://...)")
    rows_per_part: Annotated[int, Field(ge=1, le=100_000)] = Field(4096, description="about 170 MB at 64 px")
    row_group_size: Annotated[int, Field(ge=1, le=100_000)] = Field(512, description="rows held in memory at once")
    image_type: Literal["list", "tensor"] = Field(
        "list", description="Arrow type of `image`: fixed_size_list<float32>, or fixed_shape_tensor"
    )
    compression: Literal["zstd", "gzip", "none"] = "zstd"
    compression_level: Annotated[int, Field(ge=1, le=22)] = Field(1, description="zstd 1-22, gzip 1-9")
    measure: bool = Field(True, description="arc magnitudes, lensed and source HLR, image count")
    quality: CutoutQuality = Field(description="a cutout that fails it gets no stamp: its row says why")
    missing: Literal["refuse", "record"] = Field(
        "refuse", description="rows whose galaxy the sky does not have: stop before rendering, or keep them as failed"
    )
    other_source: Literal["refuse", "take"] = Field(
        "refuse", description="source=... is not the manifest's, so its source_index would mean other galaxies"
    )
    max_failed_fraction: Fraction = Field(0.01, description="stop where more of the rows done failed")
    skip_existing: bool = Field(True, description="false: make finished parts again")
    retry_failed: bool = Field(False, description="true: make parts again that have failed rows")
    verify: bool = Field(False, description="true: read finished parts again and compare SHA-256; false: sizes only")
    claim_expires_s: Annotated[float, Field(ge=15, le=3600)] = Field(
        120.0, description="remote output: a job that was silent for so long is taken for dead"
    )

    @model_validator(mode="after")
    def _possible(self) -> "StampsTask":
        if "://" not in self.manifest and not Path(self.manifest).is_file():
            raise ValueError(f"manifest = {self.manifest}: no such file; make one with `inject.py task=manifest`")
        if self.compression != "none":
            low, high = LEVELS[self.compression]
            if not low <= self.compression_level <= high:
                raise ValueError(
                    f"compression_level = {self.compression_level}: must be {low} to {high} with {self.compression}"
                )
        return self
