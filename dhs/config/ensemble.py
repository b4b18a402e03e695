"""Schema of `evaluate.py task=ensemble`: several finders saved as one."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from dhs.config.base import Section


class EnsembleTask(Section):
    """Calibrate several trained networks on the validation sky and save them as one finder."""

    name: Literal["ensemble"]
    members: tuple[Path, ...] = Field((), description="two or more run directories (their best.ckpt) or .ckpt files")
    output: Path = Field(description=".ckpt file; checkpoint=<it> then evaluates the ensemble")
