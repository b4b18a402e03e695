"""Schema of `evaluate.py task=mine`: the negatives that a finder takes for lenses."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from dhs.config.base import Section
from dhs.config.targets import Exclusion


class MineTask(Section):
    """Score galaxies without arcs and keep the worst of each class, for the next run to train on."""

    name: Literal["mine"]
    store: Path | None = Field(
        None, description="store of cutouts (inject.py task=cutouts); null: the sky that the checkpoint was trained on"
    )
    splits: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("train",), description="train, or train and val (to look at: training leaves val out); never test"
    )
    per_class: Annotated[int, Field(ge=1)] = Field(500, description="at most so many of each class, the worst first")
    exclusion: Exclusion = Field(description="known lenses; those of slacs_bells and of the store's labels always")
    output: Path = Field(description="Parquet list; a page of the worst (HTML) is written beside it")
    n_shown: Annotated[int, Field(ge=1, le=500)] = Field(24, description="of each class on the page")

    @field_validator("splits")
    @classmethod
    def _never_test(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        for split in splits:
            if split == "test":
                raise ValueError("test is never mined: what is tested on stays unseen; allowed: train, val")
            if split not in ("train", "val"):
                raise ValueError(f"{split!r}: allowed: train, val")
        return splits

    @field_validator("output")
    @classmethod
    def _parquet(cls, output: Path) -> Path:
        if output.suffix != ".parquet":
            raise ValueError("must end in .parquet")
        return output
