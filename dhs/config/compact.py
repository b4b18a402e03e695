"""Schema of `task=compact`: many small part files of a stamp set to few large ones (docs/compact.md)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Section

MIB = 2**20
MAX_FILE_MIB = 768
"""Pixels of one output file: they are in memory once while it is written, and a process stays below 2 GB."""


class CompactTask(Section):
    """Rewrite a stamp set as few Parquet files or WebDataset shards, by split, shuffled, with an index."""

    name: Literal["compact"]
    input: Annotated[str, Field(min_length=1)] = Field(description="folder or fsspec URL of a finished stamp set")
    output: Annotated[str, Field(min_length=1)] = Field(description="folder or fsspec URL of the new stamp set")
    format: Literal["parquet", "webdataset"] = Field(
        "parquet", description="webdataset: uncompressed tar shards that sky=stamps maps, Parquet columns beside them"
    )
    rows_per_file: Annotated[int, Field(ge=1)] | None = Field(None, description="null: as mib_per_file says")
    mib_per_file: Annotated[float, Field(gt=0, le=MAX_FILE_MIB)] = Field(
        512, description="MiB of uncompressed pixels in a file at most; 512 is 10,591 stamps of 64 px"
    )
    shuffle: bool = Field(True, description="true: every split in an order drawn from `seed`; false: as the input")
    failed_rows: Literal["keep", "drop"] = Field("keep", description="rows without a stamp (cutout_ok false)")
    compression: Literal["zstd", "lz4", "snappy", "none"] = Field("zstd", description="of Parquet files")
    compression_level: Annotated[int, Field(ge=1, le=22)] | None = Field(None, description="zstd only; null: its own")
    row_group_rows: Annotated[int, Field(ge=1)] = Field(256, description="rows of a Parquet row group")
    verify: bool = Field(
        True, description="read every file back and compare each row with its input; in a rerun, checksums of files"
    )
    num_processes: Annotated[int, Field(ge=1)] | None = Field(None, description="null: one per core")
    scratch: Path | None = Field(
        None, description="local folder for the shuffle, as large as the uncompressed pixels; null: in the output"
    )

    @model_validator(mode="after")
    def _level_of_zstd(self) -> "CompactTask":
        if self.compression_level is not None and self.compression != "zstd":
            raise ValueError(
                f"compression_level = {self.compression_level}: only compression=zstd has one; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _another_folder(self) -> "CompactTask":
        if self.input.rstrip("/") == self.output.rstrip("/"):
            raise ValueError(f"output = {self.output}: must be another folder than input")
        return self
