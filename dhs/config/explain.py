"""Schema of `evaluate.explain`: where in a stamp a finder finds its evidence, by occlusion."""

from typing import Annotated

from pydantic import Field, model_validator

from dhs.config.base import Section


class ExplainConfig(Section):
    """Occlusion maps of hits, misses and false positives (docs/explain.md)."""

    enabled: bool = True
    n_each: Annotated[int, Field(ge=1, le=50, description="stamps of each kind")] = 4
    patch_px: Annotated[int, Field(ge=2, le=32, description="side of the square that is filled")] = 8
    stride_px: Annotated[int, Field(ge=1, le=32, description="it moves by this much")] = 4

    @model_validator(mode="after")
    def _no_gaps(self) -> "ExplainConfig":
        if self.stride_px > self.patch_px:
            raise ValueError(
                f"stride_px = {self.stride_px}: must not be above patch_px = {self.patch_px}: pixels would be left out"
            )
        return self
