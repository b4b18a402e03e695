"""Schema of `engine=`: who renders the parts of a stamp set. The bytes of the pixels do not depend on it."""

from typing import Annotated, Literal

from pydantic import Field

from dhs.config.base import Section
from dhs.config.spark import SparkEngine


class LocalEngine(Section):
    """Processes of this machine."""

    name: Literal["local"]
    num_processes: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="null: one per core; one in all with renderer.device=cuda"
    )


EngineConfig = Annotated[LocalEngine | SparkEngine, Field(discriminator="name")]
